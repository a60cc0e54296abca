package orchestrator

import (
	"context"
	"errors"
	"sync"
	"time"

	"vxorch/remote/hostapi"
)

const (
	// yieldTimeout is how long the elder of two runs waits for the younger to give
	// its locks back.
	yieldTimeout = 3 * time.Second
	yieldPause   = 50 * time.Millisecond
)

// election settles which of two runs goes on that were started in the same
// instant and hold the lock of some hosts each: the elder. Both know by the
// holder that a refusal names, whatever they call the hosts. The younger gives
// its locks back at once, and the elder waits for that.
type election struct {
	s    *session
	mine *hostapi.Holder // nil: takes no locks

	once sync.Once
	lost chan struct{} // closed when this run is not to go on
	err  error         // why; set before lost is closed
}

func (s *session) newElection(mine *hostapi.Holder) *election {
	return &election{s: s, mine: mine, lost: make(chan struct{})}
}

// observe asks the host, again while a younger run holds its lock.
func (e *election) observe(ctx context.Context, host hostapi.Host, req hostapi.ObserveRequest) (hostapi.Facts, error) {
	var deadline <-chan time.Time
	for {
		if e.isLost() {
			return hostapi.Facts{}, e.err
		}
		facts, err := host.Observe(ctx, req)
		if e.isLost() {
			_ = host.Close() // it may have given us its lock meanwhile
			return hostapi.Facts{}, e.err
		}
		if e.mine == nil || !errors.Is(err, hostapi.ErrLocked) {
			return facts, err
		}
		if other := hostapi.AsError(err).Holder; other == nil || !e.mine.Before(*other) {
			return hostapi.Facts{}, e.lose(err)
		}
		if deadline == nil {
			deadline = time.After(yieldTimeout)
		}
		select {
		case <-time.After(yieldPause):
		case <-deadline:
			return hostapi.Facts{}, e.lose(err)
		case <-e.lost:
		case <-ctx.Done():
			return hostapi.Facts{}, err
		}
	}
}

func (e *election) isLost() bool {
	select {
	case <-e.lost:
		return true
	default:
		return false
	}
}

// lose ends the election for this run and gives back the locks that it has.
func (e *election) lose(err error) error {
	e.once.Do(func() {
		e.err = err
		close(e.lost)
		e.s.close()
	})
	return e.err
}
