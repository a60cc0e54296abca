package plan_test

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
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
		checkPlans(t, lab, map[string]hostapi.Facts{"host1": hosts.Host1, "host2": hosts.Host2})
	})
}

// FuzzPlanOfLikelyFacts plans with hosts that say what is thrown together from
// the lab's own names, marks and addresses: what their structure lets through
// and makes no sense.
func FuzzPlanOfLikelyFacts(f *testing.F) {
	var labs []*inventory.Lab
	for _, text := range []string{seedWithVMs, strings.Replace(seedWithVMs, "    vxlan: vxlan0\n", "    vxlan: vxlan0\n    flood: evpn\n", 1)} {
		lab, err := inventory.Parse("lab.yaml", []byte(text))
		if err != nil {
			f.Fatal(err)
		}
		labs = append(labs, lab)
	}
	for seed := range uint64(500) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		dice := rand.New(rand.NewPCG(seed, 0))
		facts := map[string]hostapi.Facts{}
		for host, seen := range withLibvirt(bareHosts()) {
			var thrown hostapi.Facts
			throw(dice, reflect.ValueOf(&thrown).Elem())
			// With the underlay in order the plan gets further.
			if dice.IntN(4) > 0 {
				thrown.Links = append(seen.Links, thrown.Links...)
				thrown.Routes = seen.Routes
			}
			facts[host] = thrown
		}
		for _, lab := range labs {
			checkPlans(t, lab, facts)
		}
	})
}

// throw sets v to something.
func throw(dice *rand.Rand, v reflect.Value) {
	words := []string{
		"", "lu", "lu", "lu-br0", "vxlan0", "eth0", "lo", "container0", "cn1", "cn2", "vm1", "testlu-vm", "vxlan", "bridge", "veth", "running", "undefined",
		"alice", "\x1b[31m", "\u009b2J\n", "10.0.0.1", strings.Repeat("x", 300),
	}
	addresses := []string{"0.0.0.0", "10.0.0.1", "10.0.0.2", "192.168.100.1", "192.168.100.11", "239.0.0.1", "::", "fe80::1%eth0", "::ffff:10.0.0.1"}
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		if dice.IntN(5) > 0 {
			*p = netip.MustParseAddr(addresses[dice.IntN(len(addresses))])
		}
		return
	case *netip.Prefix:
		if dice.IntN(5) > 0 {
			*p = netip.PrefixFrom(netip.MustParseAddr(addresses[dice.IntN(len(addresses))]).WithZone(""), dice.IntN(140))
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(words[dice.IntN(len(words))])
	case reflect.Bool:
		v.SetBool(dice.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{-1 << 31, -1, 0, 1, 2, 100, 1450, 4789, 1 << 31, math.MaxInt64}[dice.IntN(10)])
	case reflect.Uint8:
		v.SetUint(uint64(dice.IntN(256)))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), dice.IntN(6), 6))
		for i := range v.Len() {
			throw(dice, v.Index(i))
		}
	case reflect.Pointer:
		if dice.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			throw(dice, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				throw(dice, v.Field(i))
			}
		}
	}
}

// checkPlans plans a deploy and a destroy and holds them to what never changes.
func checkPlans(t *testing.T, lab *inventory.Lab, facts map[string]hostapi.Facts) {
	t.Helper()
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
}

// checkRemovals: what is taken away is what the host itself said to be the lab's.
func checkRemovals(t *testing.T, p plan.Plan, facts map[string]hostapi.Facts) {
	t.Helper()
	for _, phase := range p.Phases {
		for host, steps := range phase.Steps {
			for _, s := range steps {
				kind, name := s.Object()
				if s.FRR != nil && s.Op != hostapi.Remove {
					checkFRR(t, *s.FRR)
				}
				if s.Op == hostapi.Remove && s.Address == nil && !saidOurs(facts[host], name) {
					t.Errorf("%s %q is to be removed from %s, which did not call it the lab's", kind, name, host)
				}
			}
		}
	}
}

// checkFRR: no word of a host's gets into a configuration.
func checkFRR(t *testing.T, w hostapi.FRR) {
	t.Helper()
	if strings.ContainsFunc(w.Config, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) || strings.Contains(w.Config, "invalid") || strings.Contains(w.Config, "%") {
		t.Errorf("configuration of bgpd:\n%q", w.Config)
	}
}

func saidOurs(f hostapi.Facts, name string) bool {
	ours := func(n string, m *hostapi.Mark) bool { return n == name && m != nil && m.Lab == "lu" }
	if f.FRR != nil && ours(hostapi.FRRName, f.FRR.Mark) {
		return true
	}
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
