package orchestrator_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
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

// crowded is a host on which other sessions of the lab are seen the first times.
type crowded struct {
	hostapi.Host
	looks int
}

func (c *crowded) Observe(ctx context.Context, req hostapi.ObserveRequest) (hostapi.Facts, error) {
	facts, err := c.Host.Observe(ctx, req)
	if c.looks > 0 && req.Thorough {
		c.looks--
		facts.Sessions = []string{"process 7 (vxhelper of another session)"}
	}
	return facts, err
}

func TestDestroyNamesOtherSessionsUnlessTheyEndAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		looks int
		want  string
	}{
		"ends at once": {3, ""},
		"stays":        {1000, "a: look: still there: process 7 (vxhelper of another session)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "a")
			lab := b.lab("try", "", "a")
			b.deploy(lab)
			dial := b.control.Dial
			b.control.Dial = func(ctx context.Context, h inventory.Host) (hostapi.Host, error) {
				host, err := dial(ctx, h)
				return &crowded{host, c.looks}, err
			}
			o := b.control.Destroy(t.Context(), lab, yes)
			got := ""
			if len(o.Errs) > 0 {
				got = o.Errs[0].Error()
			}
			if got != c.want || len(o.Errs) > 1 {
				t.Errorf("errors %v, want %q", o.Errs, c.want)
			}
		})
	}
}
