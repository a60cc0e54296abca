package orchestrator_test

import (
	"slices"
	"strings"
	"testing"

	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
)

func TestDestroyThatLeavesSomethingFailsAndNamesIt(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	b.passes(b.deploy(lab), 2*objectsPerHost)
	b.machines["b"].PlantLeftover("try", "link vx100 in namespace theirs")
	b.machines["a"].PlantLeftover("other", "link vx200 in namespace theirs")
	check := func(when string, o []error, result string) {
		t.Helper()
		if len(o) != 1 || o[0].Error() != "b: look: still there: link vx100 in namespace theirs" || result != report.Fail {
			t.Errorf("%s: %s with errors %v, want that b still has the link", when, result, o)
		}
	}
	o := b.control.Destroy(t.Context(), lab, yes)
	check("with a lab to take away", o.Errs, o.Result.Result)
	if o.Result.Changed != 2*objectsPerHost {
		t.Errorf("%d objects changed, want %d", o.Result.Changed, 2*objectsPerHost)
	}
	o = b.control.Destroy(t.Context(), lab, func(plan.Plan) error { t.Error("asked although there is nothing to take away"); return nil })
	check("again", o.Errs, o.Result.Result)
}

func TestDestroyGoesByTheMarksWhateverTheInventorySays(t *testing.T) {
	b := newBench(t, "a", "b")
	b.passes(b.deploy(b.lab("try", "", "a", "b")), 2*objectsPerHost)
	changed := b.lab("try", "networks: {other: {vni: 7, port: 5000, subnet: 10.9.0.0/16}}\ncontainers: {x: {hosts: all, netns: \"x\"}}\n", "a", "b")
	b.passes(b.control.Destroy(t.Context(), changed, yes), 2*objectsPerHost)
	b.nothingStands()
}

func TestSecondDestroyAsksEachHostOnce(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	b.deploy(lab)
	b.control.Destroy(t.Context(), lab, yes)
	b.events = nil
	b.passes(b.control.Destroy(t.Context(), lab, yes), 0)
	var stages []string
	for _, e := range b.events {
		if e.Done && e.Host == "a" {
			stages = append(stages, e.Stage)
		}
	}
	if want := []string{"connect", "observe"}; !slices.Equal(stages, want) {
		t.Errorf("stages of a are %s, want %s", strings.Join(stages, ", "), strings.Join(want, ", "))
	}
}
