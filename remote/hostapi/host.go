// Package hostapi is the vocabulary that the controller and the helper share:
// what a host of a lab can be asked (Host), what is wanted on it (steps), what
// was seen on it (facts), and how it fails (error kinds). It does nothing by
// itself and imports the standard library only.
package hostapi

import (
	"context"
	"io"
	"net/netip"
	"time"
)

// Host is one machine of a lab, with the helper running on it. All methods are
// safe for concurrent use; every error is or wraps an *Error. Close gives the
// lab's lock back and ends the helper; what was built stays.
type Host interface {
	Observer
	Applier
	Prober
	ImageStore
	io.Closer
}

// Observer reads the host.
type Observer interface {
	// Observe takes the lab's lock if req asks for it, then reads the host. It
	// changes nothing else. The error is ErrLocked if another holds the lock.
	Observe(ctx context.Context, req ObserveRequest) (Facts, error)
}

// Applier changes the host.
type Applier interface {
	// Apply runs the steps of b in order and stops at the first that fails or
	// when ctx ends, between steps. Steps that follow each other and wait for
	// guests run together, each to its own end. The result lists the steps that
	// were begun, each with its error, also where the error is not nil, which has
	// the text of all. A step that finds its object as wanted
	// changes nothing. An object that does not carry the lab's mark is never
	// changed or removed: ErrForeign. Apply needs the lock: ErrNotLocked.
	Apply(ctx context.Context, b Batch) (BatchResult, error)
}

// Prober sends probes from the host.
type Prober interface {
	// Probe runs all probes at once and returns one result a probe, in their
	// order. A lost reply is a result, not an error.
	Probe(ctx context.Context, probes []Probe) ([]ProbeResult, error)
}

// Holder says who holds, or wants, a lab's lock.
type Holder struct {
	User       string    `json:"user"`       // login name on the controller
	Controller string    `json:"controller"` // the controller's host name
	Verb       string    `json:"verb"`       // deploy, destroy, …
	Since      time.Time `json:"since"`      // by the controller's clock
	Run        string    `json:"run"`        // random, tells runs of the same instant apart
}

// ObserveRequest says what to read. Links that carry this lab's mark or intent,
// every VXLAN link, and the devices of the routes to Peers are always reported.
type ObserveRequest struct {
	Lab        string       `json:"lab"`
	Lock       *Holder      `json:"lock,omitempty"`       // take the lab's lock first; nil: read only
	Links      []string     `json:"links,omitempty"`      // names in the host's own namespace to report, whoever owns them
	Namespaces []string     `json:"namespaces,omitempty"` // names to report, whoever owns them; ours are reported anyway
	Peers      []netip.Addr `json:"peers,omitempty"`      // look the route to each up
	Virt       *VirtQuery   `json:"virt,omitempty"`       // read libvirt too; nil: only if VMs of the lab were made here
	FRR        *FRRQuery    `json:"frr,omitempty"`        // read FRR too; nil: only if the lab has one here
	Thorough   bool         `json:"thorough,omitempty"`   // look everywhere for what is left of the lab, into Leftovers

	Ports   []int          `json:"ports,omitempty"`   // UDP ports; who holds one is reported
	Subnets []netip.Prefix `json:"subnets,omitempty"` // the host's routes that overlap one are reported
}

// Batch is what one Apply runs: one round trip.
type Batch struct {
	Lab        string `json:"lab"`
	User       string `json:"user"`       // goes into the marks
	Controller string `json:"controller"` // goes into the marks
	Steps      []Step `json:"steps"`
}

// BatchResult lists the steps that were begun, in order.
type BatchResult struct {
	Steps []StepResult `json:"steps"`
}

// StepResult is what came of one step. Of the last one Error may be set, and of
// those that ran together with it.
type StepResult struct {
	Changed  bool          `json:"changed"`
	Note     string        `json:"note,omitempty"` // what a person should know of it
	Duration time.Duration `json:"duration"`
	Error    *Error        `json:"error,omitempty"`
}

// Probe is an ICMP echo exchange: up to Tries requests, ended by the first
// reply. Each request is given up after a second.
type Probe struct {
	Netns  string     `json:"netns,omitempty"` // named namespace to send from; empty: the host's own
	Guest  *Guest     `json:"guest,omitempty"` // send from inside this VM, through its console; only Domain, Login and Deadline count
	Target netip.Addr `json:"target"`          // IPv4 or IPv6
	Bytes  int        `json:"bytes"`           // ICMP payload; 0 is 56, as ping sends
	Tries  int        `json:"tries"`           // 0 is 3, which is also the most
	// Whole: as many bytes as the sender's link carries in one packet, instead of
	// Bytes, and never in fragments; a byte more must not leave. Not from a Guest.
	Whole bool `json:"whole,omitempty"`
	// Mark is what the payload begins with, to know the packet by; the rest of it is
	// random. At most Bytes. Not from a Guest.
	Mark []byte `json:"mark,omitempty"`
	// TCP: an exchange of data over TCP in place of an echo; nil: an echo. Only
	// Netns, Target and Tries count then, each try being a second: for so long
	// either side waits for the other. Not from a Guest.
	TCP *TCPExchange `json:"tcp,omitempty"`
	// Solicit: a question who has Target in place of an echo; nil: an echo. Only Netns
	// and Target count then. Not from a Guest.
	Solicit *Solicitation `json:"solicit,omitempty"`
}

// Solicitation is a question into the segment behind a link who has an address: by
// ARP or, for an IPv6 one, by neighbour solicitation, so that it is heard whatever
// subnets there are. It is given up when the pings of the same call are done and
// then nothing comes for as long as the slowest of them took: what would answer it
// is no farther away.
type Solicitation struct {
	Link string `json:"link"` // in Netns
	MAC  string `json:"mac"`  // whose answer counts, lower case
}

// TCPExchange is one side of an exchange: one side sends data, the other answers
// with how much came, and its checksum. Both sides' probes run at the same time.
type TCPExchange struct {
	Port  int  `json:"port"`            // of the serving side
	Bytes int  `json:"bytes"`           // at most 1 MiB
	Serve bool `json:"serve,omitempty"` // serve at Target, which is this side's own address
	// For: the Bytes again and again for so long, to see how fast they come; 0: once.
	// At most 10 s. A serving side that is asked for both has it set.
	For time.Duration `json:"for,omitempty"`
	// Clients is how many exchanges to serve, in place of requests sent; 0 is 1.
	Clients int `json:"clients,omitempty"`
}

// ProbeResult is what came of one probe.
type ProbeResult struct {
	Sent     int           `json:"sent"`
	Received int           `json:"received"`
	RTT      time.Duration `json:"rtt"`             // of the reply; 0 without one
	Bytes    int           `json:"bytes,omitempty"` // ICMP payload of a Whole probe; of an exchange, what came
	// BitRate is in bits a second, of an exchange For a time: what came in the second
	// half of it, since a connection takes a while to find out what it can have. A
	// serving side leaves it out.
	BitRate int64 `json:"bit_rate,omitempty"`
	// Error is why nothing could be sent, or why an exchange did not come about. It
	// is of KindUnreachable where there is no route, or nobody took the connection.
	Error *Error `json:"error,omitempty"`
}
