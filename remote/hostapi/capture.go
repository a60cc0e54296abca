package hostapi

import (
	"context"
	"time"
)

// Capturer is a Host that hands over copies of the packets that pass its links.
// It needs no lock and changes nothing: no link is made promiscuous, and what it
// opens ends with the session.
type Capturer interface {
	// Capture begins to copy packets, in place of what it copied before; when it
	// returns, none is missed. It gives one result a point, in their order: why
	// nothing is copied there, nil where it is.
	Capture(ctx context.Context, req CaptureRequest) ([]*Error, error)
	// Packets hands over what was copied since it was last asked, each point's in
	// their order. Where that is nothing it waits for the first one for as long as
	// req.Patience, 5 s at most. What has passed the points before the call is among
	// it, or among what the next one hands over. Without Capture before it is ErrInvalid.
	Packets(ctx context.Context, req PacketsRequest) (Packets, error)
	// Clock reads the host's clock, which packets' times are by.
	Clock(ctx context.Context) (time.Time, error)
}

// MostPoints is how many points one Capture may have.
const MostPoints = 256

// CaptureRequest says what to copy.
type CaptureRequest struct {
	Points []CapturePoint `json:"points"`
	// Filter is a classic BPF program over the frame from its Ethernet header on,
	// which gives how many bytes of it are wanted; none: all of all.
	Filter  []FilterOp    `json:"filter,omitempty"`
	Snaplen int           `json:"snaplen"`         // bytes of a frame to copy at most; 0 is 65535, which is also the most
	Count   int           `json:"count,omitempty"` // end after as many packets; 0: no such bound
	Bytes   int64         `json:"bytes,omitempty"` // end after as many copied bytes; 0: no such bound
	For     time.Duration `json:"for,omitempty"`   // end after that time; 0: with the session
}

// CapturePoint is a link to copy packets at.
type CapturePoint struct {
	Netns string `json:"netns,omitempty"` // named namespace; empty: the host's own
	Link  string `json:"link"`
}

// FilterOp is one instruction of classic BPF.
type FilterOp struct {
	Op   uint16 `json:"op"`
	Jt   uint8  `json:"jt,omitempty"`
	Jf   uint8  `json:"jf,omitempty"`
	Data uint32 `json:"k,omitempty"`
}

// PacketsRequest says how long to wait for the first packet.
type PacketsRequest struct {
	Patience time.Duration `json:"patience"`
}

// Packets is what was copied.
type Packets struct {
	Packets []Packet `json:"packets,omitempty"`
	// Lost is how many more there were, since Capture, than were copied in time.
	Lost int64 `json:"lost,omitempty"`
	// Ended: a bound was reached, and all that there will be is handed over.
	Ended bool `json:"ended,omitempty"`
}

// Packet is a copy of a frame.
type Packet struct {
	Point    int       `json:"point"`              // its place in the request
	Time     time.Time `json:"time"`               // when the kernel had it, by the host's clock
	Outgoing bool      `json:"outgoing,omitempty"` // it left by the link; else it came in
	Length   int       `json:"length"`             // bytes of the frame
	Data     []byte    `json:"data"`               // from its Ethernet header on, cut to the snaplen
}
