// Package wire carries a hostapi.Host over one byte stream: Client is a Host at
// the controller's end, Serve answers for a Host at the helper's. It speaks
// JSON-RPC 2.0 in frames of a 4-byte big-endian length and a body of at most
// 16 MiB. How the stream comes about, and that its two ends agree on the
// protocol, is left to the one who hands it in.
//
// Every call is one request and one answer: one round trip, however many steps
// or probes it carries. Close is one more. Heartbeats and cancels are not
// answered.
package wire

import "time"

// The methods of the protocol. Those that are not answered are notifications.
const (
	methodObserve   = "observe"
	methodApply     = "apply"
	methodProbe     = "probe"
	methodPutImage  = "putImage"
	methodMissing   = "missing"
	methodPrepare   = "prepare"
	methodClean     = "clean"
	methodCheck     = "check"
	methodSend      = "send"
	methodHeard     = "heard"
	methodCapture   = "capture"
	methodPackets   = "packets"
	methodClock     = "clock"
	methodInspect   = "inspect"
	methodClose     = "close"
	methodCancel    = "cancel"    // not answered
	methodHeartbeat = "heartbeat" // not answered
)

const (
	defaultHeartbeat = 5 * time.Second
	defaultLease     = 15 * time.Second // three heartbeats, so that a late one is no loss

	// grace is how long either end waits for something that should come at
	// once: the host's own end, the end of a closed stream.
	grace = 2 * time.Second
	// cancelGrace is how long a Client waits for a cancelled call to say how far
	// it came. Somebody has pressed Ctrl-C and expects an end within a second.
	cancelGrace = 500 * time.Millisecond

	// maxCalls is how many calls a Client has under way; more wait their turn.
	// The server refuses none of them.
	maxCalls    = 64
	concurrency = 2 * maxCalls
)
