// Package probe sends ICMP echo requests from this machine, from its own
// network namespace or from inside named ones, and says what was answered. What
// an answer proves, and which probes a lab needs, it leaves to others.
package probe

import "time"

const (
	defaultBytes = 56 // of ICMP payload, as ping sends
	maxBytes     = 65535 - 20 - 8
	maxTries     = 3

	// patience is how long a request waits for its reply.
	patience = time.Second
)

// tryAfter is when each request of a probe leaves, counted from the first one:
// a lost one is repeated soon, since most are lost to a neighbour or a port
// that was not ready, then later, for what takes longer to be.
var tryAfter = [maxTries]time.Duration{0, 300 * time.Millisecond, time.Second}
