package trace

import "time"

// Clock is how far a host's clock is ahead of the controller's, which was measured
// over the wire: the host read its own somewhere within the round trip.
type Clock struct {
	Ahead  time.Duration
	Within time.Duration // of Ahead, either way: half the round trip
}

// Reading is one look at a host's clock.
type Reading struct {
	Asked, Answered, Host time.Time
}

// Settle makes the best of readings: the one of the shortest round trip.
func Settle(readings []Reading) Clock {
	var best Clock
	for i, r := range readings {
		half := r.Answered.Sub(r.Asked) / 2
		if i == 0 || half < best.Within {
			best = Clock{r.Host.Sub(r.Asked.Add(half)), half}
		}
	}
	return best
}
