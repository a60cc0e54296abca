package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// at has do called at the nth moment of changing or proving on m, and gives the
// count of such moments so far.
func at(m *hosttest.Machine, n int32, do func() error) *atomic.Int32 {
	moments := &atomic.Int32{}
	m.SetFault(func(_ context.Context, at hosttest.Moment, _ *hostapi.Step) error {
		switch at {
		case hosttest.BeforeStep, hosttest.BeforeMark, hosttest.BeforeProbe:
			if moments.Add(1) == n {
				return do()
			}
		}
		return nil
	})
	return moments
}

func (b *bench) objects() map[string][]string {
	all := map[string][]string{}
	for name, m := range b.machines {
		all[name] = m.Objects()
	}
	return all
}

// knows wants those of the lab's hosts remembered.
func (b *bench) knows(want ...string) {
	b.t.Helper()
	known, err := b.history.Hosts("try")
	if got := slices.Sorted(maps.Keys(known)); err != nil || !slices.Equal(got, want) {
		b.t.Errorf("the controller remembers %q, %v; want %q", got, err, want)
	}
}

// momentsOfADeploy counts them on b of a deploy that nothing disturbs.
func momentsOfADeploy(t *testing.T) int32 {
	b := newBench(t, "a", "b")
	b.withImage()
	moments := at(b.machines["b"], -1, nil)
	if o := b.deploy(b.lab("try", twoVMs, "a", "b")); len(o.Errs) > 0 {
		t.Fatal(o.Errs)
	}
	return moments.Load()
}

func TestRollbackLeavesTheHostsAsTheyWereWhateverStepFails(t *testing.T) {
	last := momentsOfADeploy(t)
	if last < 15 {
		t.Fatalf("a deploy has only %d moments", last)
	}
	for n := range last {
		for name, cancels := range map[string]bool{"fails": false, "is interrupted": true} {
			t.Run(fmt.Sprintf("moment %d %s", n+1, name), func(t *testing.T) {
				b := newBench(t, "a", "b")
				b.withImage()
				lab := b.lab("try", twoVMs, "a", "b")
				before := b.objects()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				at(b.machines["b"], n+1, func() error {
					if cancels {
						cancel()
						return nil
					}
					return &hostapi.Error{Kind: hostapi.KindInternal, Message: "no luck"}
				})
				b.control.Rollback = true
				o := b.control.Deploy(ctx, lab, yes)
				if len(o.Errs) == 0 && !cancels { // a cancel may come when all is done
					t.Fatal("the deploy passed: the fault never came")
				}
				if len(o.Errs) == 0 {
					return
				}
				if diff := cmp.Diff(before, b.objects()); diff != "" {
					t.Errorf("the hosts are not as they were (-before +after):\n%s", diff)
				}
				if o.Result.Changed != 0 {
					t.Errorf("the result has %d objects changed, want 0", o.Result.Changed)
				}
				b.notLocked("try")
				b.knows()
			})
		}
	}
}

func TestRollbackSaysWhatItTookAwayAndKeepsWhatStoodBefore(t *testing.T) {
	b := newBench(t, "a", "b")
	b.passes(b.deploy(b.lab("try", "", "a", "b")), 2*objectsPerHost)
	before := b.objects()
	b.machines["a"].Edit("", "try-br0", func(l *hostapi.Link) { l.Up = false })
	b.machines["b"].SetFault(func(_ context.Context, at hosttest.Moment, step *hostapi.Step) error {
		if at == hosttest.BeforeStep && step.Veth != nil && step.Op == hostapi.Create {
			return &hostapi.Error{Kind: hostapi.KindInternal, Message: "no luck"}
		}
		return nil
	})
	b.control.Rollback = true
	o := b.deploy(b.lab("try", "containers: {cn: {hosts: all}, more: {hosts: all}}\n", "a", "b"))
	if len(o.Errs) != 1 || !strings.HasPrefix(o.Errs[0].Error(), "b: build: ") {
		t.Errorf("errors are %v, want b's alone", o.Errs)
	}
	// The bridge that was mended stays mended.
	if diff := cmp.Diff(before, b.objects()); diff != "" {
		t.Errorf("the hosts have other objects than before (-before +after):\n%s", diff)
	}
	b.machines["b"].SetFault(nil)
	if got := b.control.Plan(t.Context(), b.lab("try", "", "a", "b")).Plan.Changes(); got != 0 {
		t.Errorf("the earlier lab has %d changes to make, want none", got)
	}
	for _, h := range o.Result.Hosts {
		want := "taken away again: veth more-a-jcxswy4a, namespace try-more-a-1"
		if h.Name == "b" {
			want = "taken away again: namespace try-more-b-1"
		}
		last := h.Stages[len(h.Stages)-1]
		for i := range h.Stages {
			if h.Stages[i].Name == run.StageRollback {
				last = h.Stages[i]
			}
		}
		if last.Name != run.StageRollback || last.Result != report.Changed || strings.Join(last.Notes, "\n") != want {
			t.Errorf("%s ends with stage %+v, want a rollback with %q", h.Name, last, want)
		}
	}
	if o.Result.Changed != 1 {
		t.Errorf("the result has %d objects changed, want the bridge alone", o.Result.Changed)
	}
	b.knows("a", "b")
}

func TestRollbackNeedsAllHostsToBegin(t *testing.T) {
	b := newBench(t, "a", "b")
	b.dead["b"] = &hostapi.Error{Kind: hostapi.KindUnreachable, Message: "connection refused"}
	before := b.objects()
	b.control.Rollback = true
	asks := b.deploy(b.lab("try", "", "a", "b"))
	if len(asks.Errs) != 2 || !strings.Contains(asks.Errs[1].Error(), "nothing was changed") {
		t.Errorf("errors are %v, want b's and that nothing was changed", asks.Errs)
	}
	if diff := cmp.Diff(before, b.objects()); diff != "" {
		t.Errorf("something changed (-before +after):\n%s", diff)
	}
}

func TestRollbackOfAHostThatIsLostIsSaid(t *testing.T) {
	b := newBench(t, "a", "b")
	before := b.objects()
	b.machines["b"].SetFault(func(_ context.Context, at hosttest.Moment, step *hostapi.Step) error {
		if at == hosttest.BeforeStep && step.Veth != nil {
			return hosttest.ErrCut
		}
		return nil
	})
	b.control.Rollback = true
	o := b.deploy(b.lab("try", "", "a", "b"))
	if diff := cmp.Diff(before["a"], b.machines["a"].Objects()); diff != "" {
		t.Errorf("a is not as it was (-before +after):\n%s", diff)
	}
	if len(o.Errs) != 1 || !errors.Is(o.Errs[0], hostapi.ErrLost) ||
		!strings.Contains(o.Errs[0].Error(), "rollback: ") || !strings.Contains(o.Errs[0].Error(), "still there may be veth cn-b-1-753s4eph, namespace try-cn-b-1, ") {
		t.Errorf("errors are %v, want one of b that says what it may still have", o.Errs)
	}
	b.knows("b")
}
