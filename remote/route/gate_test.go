package route

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestGateLimitsWhatIsInFlight(t *testing.T) {
	g := &gate{limit: handshakes}
	var inside, most atomic.Int32
	var running sync.WaitGroup
	for range 100 {
		running.Go(func() {
			done, err := g.turn(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			n := inside.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			inside.Add(-1)
			done(false)
		})
	}
	running.Wait()
	if most.Load() > handshakes || g.inside != 0 {
		t.Errorf("%d at once, %d left inside; want at most %d and none", most.Load(), g.inside, handshakes)
	}
}

func TestADropHalvesTheLimit(t *testing.T) {
	g := &gate{limit: handshakes}
	for _, want := range []int{4, 2, 1, 1} {
		done, err := g.turn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if done(true); g.limit != want {
			t.Errorf("limit %d, want %d", g.limit, want)
		}
	}
}

func TestWhoGivesUpWaitingTakesNoPlace(t *testing.T) {
	g := &gate{limit: 1}
	done, err := g.turn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.turn(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("turn = %v, want the cancel", err)
	}
	done(false)
	if done, err = g.turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	done(false)
	if g.inside != 0 || len(g.waiting) != 0 {
		t.Errorf("%d inside, %d waiting; want none", g.inside, len(g.waiting))
	}
}
