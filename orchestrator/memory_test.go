package orchestrator_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
)

func left(o orchestrator.Outcome) []string {
	var names []string
	for _, l := range o.Result.Left {
		names = append(names, l.Name+" "+l.Address)
	}
	return names
}

func TestHostThatLeftTheInventoryIsNamedUntilItIsDestroyed(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.control.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	b.passes(b.deploy(b.lab("try", "ssh: {user: lab, port: 2222, identity: /my keys/id, known_hosts: ~/kh}\n", "a", "b", "c")), 3*objectsPerHost)
	smaller := b.lab("try", "ssh: {port: 2222}\n", "a", "b")
	for verb, o := range map[string]orchestrator.Outcome{"plan": b.control.Plan(t.Context(), smaller), "deploy": b.deploy(smaller)} {
		want := []report.Left{{
			Name: "c", Address: "192.0.2.13", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			Destroy: "vxorch destroy --lab try --host c=lab@192.0.2.13:2222 --identity '/my keys/id' --known-hosts ~/kh",
		}}
		if diff := cmp.Diff(want, o.Result.Left); diff != "" {
			t.Errorf("%s: left (-want +got):\n%s", verb, diff)
		}
		if len(o.Errs) > 0 || len(o.Warnings) != 1 || o.Warnings[0].Hint != want[0].Destroy || !strings.Contains(o.Warnings[0].Message, "host c (192.0.2.13)") {
			t.Errorf("%s: errors %v, warnings %v; want one of c with the command", verb, o.Errs, o.Warnings)
		}
	}
	gone := b.lab("try", "ssh: {port: 2222}\n", "c")
	b.passes(b.control.Destroy(t.Context(), gone, yes), objectsPerHost)
	if got := left(b.deploy(smaller)); got != nil {
		t.Errorf("after its destroy %v left, want none", got)
	}
}

func TestHostThatCouldNotBeDestroyedStaysKnown(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	b.deploy(lab)
	b.dead["b"] = os.ErrDeadlineExceeded
	b.control.Destroy(t.Context(), lab, yes)
	if got := left(b.deploy(b.lab("try", "", "a"))); !slices.Equal(got, []string{"b 192.0.2.12"}) {
		t.Errorf("%v left, want b", got)
	}
}

func TestRefusedDeployRemembersNothing(t *testing.T) {
	b := newBench(t, "a", "b")
	b.machines["b"].PlantNamespace("try-cn-b-1")
	b.deploy(b.lab("try", "", "a", "b"))
	if known, err := b.history.Hosts("try"); len(known) > 0 || err != nil {
		t.Errorf("known are %v, %v; want none", known, err)
	}
}

// TestHostsAreKnownByTheirAddress follows hosts through what may become of them
// in an inventory.
func TestHostsAreKnownByTheirAddress(t *testing.T) {
	for name, c := range map[string]struct {
		later map[string]string // name to machine
		want  []string
	}{
		"the same":           {map[string]string{"a": "a", "b": "b"}, nil},
		"renamed":            {map[string]string{"a": "a", "other": "b"}, nil},
		"names exchanged":    {map[string]string{"a": "b", "b": "a"}, nil},
		"name taken":         {map[string]string{"a": "a", "b": "c"}, []string{"b 192.0.2.12"}},
		"both names taken":   {map[string]string{"a": "c", "b": "d"}, []string{"a 192.0.2.11", "b 192.0.2.12"}},
		"gone":               {map[string]string{"a": "a"}, []string{"b 192.0.2.12"}},
		"renamed, one taken": {map[string]string{"b": "c", "x": "a"}, []string{"b 192.0.2.12"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "a", "b", "c", "d")
			b.deploy(b.lab("try", "containers: {}\nnetworks: {n: {}}\n", "a", "b"))
			text := "lab: try\nnetworks: {n: {}}\nhosts:\n"
			for _, host := range slices.Sorted(maps.Keys(c.later)) {
				text += "  " + host + ": {address: " + b.machines[c.later[host]].Local().String() + "}\n"
			}
			lab, err := inventory.Parse("lab.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			byName := maps.Clone(b.machines)
			for host, machine := range c.later {
				b.machines[host] = byName[machine]
			}
			// The second time what was remembered meanwhile has its say.
			for range 2 {
				if diff := cmp.Diff(c.want, left(b.control.Deploy(t.Context(), lab, func(plan.Plan) error { return nil }))); diff != "" {
					t.Errorf("left (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestUnreadableMemoryIsAWarning(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	b.passes(b.deploy(lab), 2*objectsPerHost)
	if err := os.WriteFile(filepath.Join(b.history.Root, "vxorch", "try", "hosts.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := b.deploy(lab)
	b.passes(o, 0)
	if len(o.Warnings) == 0 || !strings.Contains(o.Warnings[0].Message, "hosts.json is damaged") {
		t.Errorf("warnings are %v, want that hosts.json is damaged", o.Warnings)
	}
}
