package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

func TestOfTwoDeploysStartedAtOnceExactlyOneGoesOn(t *testing.T) {
	hosts := []string{"a", "b", "c", "d"}
	for round := range 40 {
		b := newBench(t, hosts...)
		// The second calls the same machines by other names, so that its first
		// host is the first one's last.
		mirrored := "lab: try\nhosts:\n"
		for i, h := range hosts {
			mirrored += fmt.Sprintf("  %s: {address: %s}\n", hosts[len(hosts)-1-i], b.machines[h].Local())
		}
		labs := []*inventory.Lab{b.lab("try", "", hosts...), b.lab("try", "", hosts...)}
		controls := []*orchestrator.Controller{b.controller("alice"), b.controller("bob")}
		if round%2 == 1 {
			lab, err := inventory.Parse("mirrored.yaml", []byte(mirrored))
			if err != nil {
				t.Fatal(err)
			}
			labs[1] = lab
			controls[1].Dial = func(_ context.Context, h inventory.Host) (hostapi.Host, error) {
				return b.machines[hosts[len(hosts)-1-strings.Index("abcd", h.Name)]].Open(), nil
			}
		}
		outcomes := make([]orchestrator.Outcome, 2)
		var wg sync.WaitGroup
		hold := make(chan struct{})
		for i, control := range controls {
			wg.Go(func() {
				<-hold
				outcomes[i] = control.Deploy(t.Context(), labs[i], yes)
			})
		}
		close(hold)
		wg.Wait()
		passed := 0
		for _, o := range outcomes {
			switch {
			case len(o.Errs) == 0 && o.Result.Result == report.Pass:
				passed++
			case len(o.Errs) > 0 && errors.Is(o.Errs[0], hostapi.ErrLocked):
				if o.Result.Changed != 0 {
					t.Errorf("the loser changed %d objects", o.Result.Changed)
				}
			default:
				t.Errorf("the loser failed with %v, want that the lab is locked", o.Errs)
			}
		}
		// The second may also have started after the first was done.
		if passed == 0 {
			t.Fatalf("round %d: neither went on: %v and %v", round, outcomes[0].Errs, outcomes[1].Errs)
		}
	}
}

// slowly delays the dialling of one host by a controller until free is closed.
func slowly(c *orchestrator.Controller, host string, free <-chan struct{}) *orchestrator.Controller {
	dial := c.Dial
	c.Dial = func(ctx context.Context, h inventory.Host) (hostapi.Host, error) {
		if h.Name == host {
			<-free
		}
		return dial(ctx, h)
	}
	return c
}

// TestYoungerRunGivesItsLocksBackToTheElder has each of two runs hold the host
// that the other needs, and the younger wait for a third that does not answer.
func TestYoungerRunGivesItsLocksBackToTheElder(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	lab := b.lab("try", "", "a", "b", "c")
	bHeld, aHeld, free := make(chan struct{}), make(chan struct{}), make(chan struct{})
	elder := slowly(b.controller("alice"), "b", bHeld)
	younger := slowly(slowly(b.controller("bob"), "a", aHeld), "c", free)
	began := time.Now()
	elder.Now = func() time.Time { return began }
	younger.Now = func() time.Time { return began.Add(time.Millisecond) }
	locked := func(host string, then chan struct{}) {
		for !b.machines[host].Locked("try") {
			time.Sleep(time.Millisecond)
		}
		close(then)
	}
	var first, second orchestrator.Outcome
	var wg sync.WaitGroup
	wg.Go(func() { locked("b", bHeld) })
	wg.Go(func() { second = younger.Deploy(t.Context(), lab, yes) })
	<-bHeld
	wg.Go(func() { locked("a", aHeld) })
	wg.Go(func() {
		defer close(free)
		first = elder.Deploy(t.Context(), lab, yes)
	})
	wg.Wait()
	if len(first.Errs) > 0 || first.Result.Result != report.Pass {
		t.Errorf("the elder: %v, want it to go on", first.Errs)
	}
	if len(second.Errs) == 0 || !errors.Is(second.Errs[0], hostapi.ErrLocked) || second.Result.Changed != 0 {
		t.Errorf("the younger: %v with %d changes, want it locked out", second.Errs, second.Result.Changed)
	}
	b.notLocked("try")
}
