package orchestrator_test

import (
	"context"
	"testing"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// auto is a network whose flooding the hosts decide.
const auto = "networks: {n: {flood: auto}}\n"

// groupOf is the group that a lab's VTEPs were planned with; empty: none.
func groupOf(t *testing.T, o orchestrator.Outcome) string {
	t.Helper()
	if len(o.Plan.Networks) != 1 {
		t.Fatalf("networks of the plan: %+v, errors %v; want one", o.Plan.Networks, o.Errs)
	}
	return o.Plan.Networks[0].Group
}

func TestFloodAutoAsksWhetherMulticastPasses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b *bench, f *hosttest.Fabric)
		want   string
	}{
		"it does":                   {func(*bench, *hosttest.Fabric) {}, "239.0.0.1"},
		"it does not":               {func(_ *bench, f *hosttest.Fabric) { f.StopMulticast() }, ""},
		"one host's firewall is in": {func(b *bench, _ *hosttest.Fabric) { b.machines["c"].SetFirewall(hosttest.Firewall{DropsIn: true}) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, f := fabricOf(t, "a", "b", "c")
			c.change(b, f)
			lab := b.lab("lu", auto, "a", "b", "c")
			for what, o := range map[string]orchestrator.Outcome{"plan": b.control.Plan(t.Context(), lab), "deploy": b.deploy(lab)} {
				if got := groupOf(t, o); got != c.want {
					t.Errorf("%s: group %q, want %q; errors %v", what, got, c.want, o.Errs)
				}
			}
		})
	}
}

// What stands is kept: then nothing is sent and no further round trip is made.
func TestFloodThatStandsOrIsGivenIsNotAskedAbout(t *testing.T) {
	listens := 0
	b, f := fabricOf(t, "a", "b")
	deploy := func(more string) {
		t.Helper()
		if o := b.deploy(b.lab("lu", more, "a", "b")); len(o.Errs) > 0 {
			t.Fatal(o.Errs)
		}
	}
	deploy(auto)
	for _, m := range b.machines {
		m.SetFault(func(_ context.Context, at hosttest.Moment, _ *hostapi.Step) error {
			if at == hosttest.BeforeCheck {
				listens++
			}
			return nil
		})
	}
	f.StopMulticast()
	deploy(auto)
	deploy("networks: {n: {flood: " + string(inventory.FloodUnicast) + "}}\n")
	if listens > 0 {
		t.Errorf("hosts were asked %d times", listens)
	}
}
