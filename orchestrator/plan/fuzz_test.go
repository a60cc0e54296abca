package plan_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

// said is what two hosts say of themselves.
type said struct {
	Host1 hostapi.Facts `json:"host1"`
	Host2 hostapi.Facts `json:"host2"`
}

// FuzzPlanOfAnyFacts plans with hosts that say anything at all.
func FuzzPlanOfAnyFacts(f *testing.F) {
	lab, err := inventory.Parse("lab.yaml", []byte(seedWithVMs))
	if err != nil {
		f.Fatal(err)
	}
	hosts := withLibvirt(bareHosts())
	text, err := json.Marshal(said{hosts["host1"], hosts["host2"]})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var hosts said
		if json.Unmarshal(text, &hosts) != nil {
			return // the wire refuses it
		}
		facts := map[string]hostapi.Facts{"host1": hosts.Host1, "host2": hosts.Host2}
		p, problems := plan.Deploy(lab, facts, inputs())
		for _, problem := range problems {
			if lab.Host(problem.Host).Name == "" {
				t.Errorf("a problem of %q, which is no host", problem.Host)
			}
		}
		for _, p := range []plan.Plan{p, plan.Destroy(lab.Name, facts)} {
			checkRemovals(t, p, facts)
			var out bytes.Buffer
			if err := p.WriteText(&out); err != nil {
				t.Error(err)
			}
			if i := strings.IndexFunc(out.String(), func(r rune) bool { return unicode.IsControl(r) && r != '\n' }); i >= 0 {
				t.Errorf("a control character in the plan: %q", out.String()[i:])
			}
			if err := p.WriteJSON(&out, nil, nil); err != nil {
				t.Error(err)
			}
		}
		for _, f := range facts {
			_ = plan.Remains(lab.Name, f)
		}
	})
}

// checkRemovals: what is taken away is what the host itself said to be the lab's.
func checkRemovals(t *testing.T, p plan.Plan, facts map[string]hostapi.Facts) {
	t.Helper()
	for _, phase := range p.Phases {
		for host, steps := range phase.Steps {
			for _, s := range steps {
				kind, name := s.Object()
				if s.Op == hostapi.Remove && s.Address == nil && !saidOurs(facts[host], name) {
					t.Errorf("%s %q is to be removed from %s, which did not call it the lab's", kind, name, host)
				}
			}
		}
	}
}

func saidOurs(f hostapi.Facts, name string) bool {
	ours := func(n string, m *hostapi.Mark) bool { return n == name && m != nil && m.Lab == "lu" }
	for _, l := range f.Links {
		if ours(l.Name, l.Mark) {
			return true
		}
	}
	for _, n := range f.Namespaces {
		if ours(n.Name, n.Mark) {
			return true
		}
	}
	if f.Virt != nil {
		for _, n := range f.Virt.Networks {
			if ours(n.Name, n.Mark) {
				return true
			}
		}
		for _, d := range f.Virt.Domains {
			if ours(d.Name, d.Mark) {
				return true
			}
		}
	}
	return false
}
