package orchestrator_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
	"vxorch/orchestrator/history"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// only has the controller work on hosts alone and fail the test where it
// contacts another.
func (b *bench) only(hosts ...string) {
	b.control.Part = hosts
	dial := b.control.Dial
	b.control.Dial = func(ctx context.Context, h inventory.Host) (hostapi.Host, error) {
		if !slices.Contains(b.control.Part, h.Name) && len(b.control.Part) > 0 {
			b.t.Errorf("%s was contacted", h.Name)
		}
		return dial(ctx, h)
	}
}

func hostNames(r *report.Result) []string {
	var names []string
	for _, h := range r.Hosts {
		names = append(names, h.Name)
	}
	return names
}

func TestHostsThatAreLeftOutAreNotContacted(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	lab := b.lab("try", "", "a", "b", "c")
	before := b.objects()
	b.only("a", "c")
	planned := b.control.Plan(t.Context(), lab)
	o := b.deploy(lab)
	b.passes(o, 2*objectsPerHost)
	if diff := cmp.Diff(planned.Plan.Phases, o.Plan.Phases, cmp.Comparer(func(x, y netip.Addr) bool { return x == y }), cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })); diff != "" {
		t.Errorf("deploy ran another plan (-planned +run):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "c"}, hostNames(o.Result)); diff != "" {
		t.Errorf("hosts of the result (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"vtep pass": 2, "container pass": 2}, stages(o)); diff != "" {
		t.Errorf("probes by stage (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before["b"], b.machines["b"].Objects()); diff != "" {
		t.Errorf("b changed (-before +after):\n%s", diff)
	}
	verified := b.control.Verify(t.Context(), lab)
	b.passes(verified, 0)
	if diff := cmp.Diff(map[string]int{"container pass": 2}, stages(verified)); diff != "" {
		t.Errorf("verify's probes by stage (-want +got):\n%s", diff)
	}

	standing := b.control.Status(t.Context(), lab)
	b.passes(standing, 0)
	checked := b.control.Check(t.Context(), lab)
	for verb, r := range map[string]*report.Result{"status": standing.Result, "check": checked.Result} {
		if diff := cmp.Diff([]string{"a", "c"}, hostNames(r)); diff != "" {
			t.Errorf("hosts of %s (-want +got):\n%s", verb, diff)
		}
	}

	// The whole of it then goes on from there, and a part of it can go.
	b.control.Part = nil
	b.passes(b.deploy(lab), objectsPerHost)
	b.control.Part = []string{"b"}
	b.passes(b.control.Destroy(t.Context(), lab, yes), objectsPerHost)
	if diff := cmp.Diff(before["b"], b.machines["b"].Objects()); diff != "" {
		t.Errorf("b is not as it was (-before +after):\n%s", diff)
	}
	b.control.Part = []string{"a", "c"}
	b.passes(b.deploy(lab), 0)
}

// bridgeMTU is that of lab try's bridge on a machine.
func bridgeMTU(t *testing.T, m *hosttest.Machine) int {
	t.Helper()
	host := m.Open()
	defer host.Close()
	facts, err := host.Observe(t.Context(), hostapi.ObserveRequest{Lab: "try"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range facts.Links {
		if l.Name == "try-br0" {
			return l.MTU
		}
	}
	t.Fatal("there is no bridge")
	return 0
}

func TestWhatWasLastKnownStandsInForAHostThatIsNotAtHand(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	lab := b.lab("try", "", "a", "b", "c")
	b.machines["c"].Edit("", "eth0", func(l *hostapi.Link) { l.MTU = 1400 })
	b.passes(b.deploy(lab), 3*objectsPerHost)

	// Without c, whether it is left out or out of reach, its underlay counts still.
	for name, absent := range map[string]func(){
		"left out":     func() { b.control.Part = []string{"a", "b"} },
		"out of reach": func() { b.dead["c"] = &hostapi.Error{Kind: hostapi.KindUnreachable, Message: "connection refused"} },
	} {
		t.Run(name, func(t *testing.T) {
			b.control.Part = nil
			clear(b.dead)
			// By another's hand: one's own destroy is remembered.
			other := b.controller("bob")
			other.History = history.Store{Root: t.TempDir()}
			if o := other.Destroy(t.Context(), lab, yes); len(o.Errs) > 0 {
				t.Fatal(o.Errs)
			}
			absent()
			o := b.deploy(lab)
			if diff := cmp.Diff([]string{"c"}, o.Plan.StandIns); diff != "" {
				t.Errorf("stand-ins (-want +got):\n%s", diff)
			}
			if got := bridgeMTU(t, b.machines["a"]); got != 1350 {
				t.Errorf("the bridge's mtu is %d, want 1350, since c's underlay has 1400", got)
			}
		})
	}
}
