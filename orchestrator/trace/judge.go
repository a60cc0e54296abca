package trace

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"vxorch/orchestrator/packets"
	"vxorch/remote/hostapi"
)

// Version is that of the JSON result.
const Version = 1

// Verdicts.
const (
	Answered = "answered"
	Lost     = "lost"
)

// What a flight is.
const (
	whatRequest = "echo request"
	whatReply   = "echo reply"
	whatAsk     = "neighbour request" // ARP's or that of neighbour discovery
	whatAnswer  = "neighbour reply"
)

// Result is what came of a trace.
type Result struct {
	Version int        `json:"version"`
	Lab     string     `json:"lab"`
	Verb    string     `json:"verb"`
	Result  string     `json:"result"`
	Network string     `json:"network"`
	From    End        `json:"from"`
	To      End        `json:"to"`
	RTT     float64    `json:"rtt_us,omitempty"` // as the sender measured it; a VM's through its console
	Clocks  []HostTime `json:"clocks"`
	Hops    []HopState `json:"hops"`
	Flights []Flight   `json:"flights"`
	// Of a ping that was lost: where what went last was seen last, where it should
	// have come next, and what that says.
	LastSeen *Hop   `json:"last_seen,omitempty"`
	NotSeen  *Hop   `json:"not_seen,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Hint     string `json:"hint,omitempty"`
	Missed   int64  `json:"missed,omitempty"` // packets that hosts could not copy in time
}

// HostTime is a host's clock against the controller's.
type HostTime struct {
	Host   string  `json:"host"`
	Ahead  float64 `json:"ahead_us"`
	Within float64 `json:"within_us"` // either way
}

// HopState is a hop and what keeps it from being listened at.
type HopState struct {
	Hop
	Error string `json:"error,omitempty"`
}

// Flight is one packet on its way.
type Flight struct {
	What string `json:"what"`
	From string `json:"from"`
	To   string `json:"to"`
	// Back: against the order of the hops.
	Back bool       `json:"back,omitempty"`
	Seen []Sighting `json:"seen"` // in the order of its way
}

// Sighting is a packet at a hop.
type Sighting struct {
	Hop int `json:"hop"` // its place
	// At is when, after the first sighting of all; its host's clock is known within
	// that much, either way, against that of the first one's host.
	At     float64         `json:"at_us"`
	Within float64         `json:"within_us"`
	Tunnel *packets.Tunnel `json:"tunnel,omitempty"`

	time time.Time // by the controller's clock
}

// Evidence is what was seen of a trace.
type Evidence struct {
	Lab     string
	Mark    []byte
	Probe   hostapi.ProbeResult
	Clocks  map[string]Clock
	Errors  map[int]*hostapi.Error // of hops that were not listened at, by place
	Packets []Copy
	Missed  int64
}

// Copy is a packet at a hop, by the host's clock.
type Copy struct {
	Hop int
	hostapi.Packet
}

// Judge tells what became of the ping.
func Judge(p *Path, e Evidence) *Result {
	r := &Result{
		Version: Version, Lab: e.Lab, Verb: "trace", Result: Lost, Network: p.Network.Name, From: p.From, To: p.To,
		RTT: micro(e.Probe.RTT), Clocks: []HostTime{}, Hops: []HopState{}, Flights: []Flight{}, Missed: e.Missed,
	}
	for _, host := range p.Hosts() {
		if c, ok := e.Clocks[host]; ok {
			r.Clocks = append(r.Clocks, HostTime{host, micro(c.Ahead), micro(c.Within)})
		}
	}
	for i, h := range p.Hops {
		state := HopState{Hop: h}
		if err := e.Errors[i]; err != nil {
			state.Error = err.Message
		}
		r.Hops = append(r.Hops, state)
	}
	f := p.follow(e)
	r.Flights = f.all()
	timed(p, e.Clocks, r.Flights)
	if e.Probe.Received > 0 {
		r.Result = Answered
		return r
	}
	r.explain(p, e, f)
	return r
}

// flights are the packets of one ping, in the order in which they leave.
type flights struct{ ask, answer, request, backAsk, backAnswer, reply *Flight }

func (f *flights) ordered() []*Flight {
	return []*Flight{f.ask, f.answer, f.request, f.backAsk, f.backAnswer, f.reply}
}

// all are those that were seen.
func (f *flights) all() []Flight {
	all := []Flight{}
	for _, flight := range f.ordered() {
		if len(flight.Seen) > 0 {
			all = append(all, *flight)
		}
	}
	return all
}

// follow puts copies together to flights: of each the first one at every hop that
// goes its way.
func (p *Path) follow(e Evidence) *flights {
	a, b := p.From, p.To
	forth := func(what string) *Flight { return &Flight{What: what, From: a.Name, To: b.Name} }
	back := func(what string) *Flight { return &Flight{What: what, From: b.Name, To: a.Name, Back: true} }
	f := &flights{forth(whatAsk), back(whatAnswer), forth(whatRequest), back(whatAsk), forth(whatAnswer), back(whatReply)}
	type entry struct {
		Copy
		packets.Packet
	}
	var entries []entry
	for _, c := range e.Packets {
		if c.Hop < 0 || c.Hop >= len(p.Hops) {
			continue
		}
		c.Time = c.Time.Add(-e.Clocks[p.Hops[c.Hop].Host].Ahead)
		entries = append(entries, entry{c, packets.Parse(c.Data)})
	}
	slices.SortStableFunc(entries, func(x, y entry) int { return x.Time.Compare(y.Time) })
	// Of a ping that bears no mark: the first one that left. Where clocks differ it
	// may seem to have arrived before.
	left := slices.IndexFunc(entries, func(x entry) bool {
		return x.Hop == 0 && x.Kind == packets.Request && x.From == a.Address && x.To == b.Address
	})
	for _, x := range entries {
		hop := p.Hops[x.Hop]
		echo := func() bool {
			if p.From.guest == nil {
				return bytes.HasPrefix(x.Payload, e.Mark)
			}
			return left >= 0 && x.ID == entries[left].ID && x.Seq == entries[left].Seq
		}
		var flight *Flight
		switch between := [2]netip.Addr{x.From, x.To}; {
		case between == [2]netip.Addr{a.Address, b.Address}:
			flight = map[packets.Kind]*Flight{packets.Ask: f.ask, packets.Answer: f.backAnswer, packets.Request: f.request}[x.Kind]
		case between == [2]netip.Addr{b.Address, a.Address}:
			flight = map[packets.Kind]*Flight{packets.Ask: f.backAsk, packets.Answer: f.answer, packets.Reply: f.reply}[x.Kind]
		}
		switch {
		case flight == nil, (flight == f.request || flight == f.reply) && !echo():
			continue
		case x.Outgoing != (hop.out != flight.Back): // a copy that was flooded, or the other way
			continue
		case slices.ContainsFunc(flight.Seen, func(s Sighting) bool { return s.Hop == x.Hop }):
			continue
		}
		flight.Seen = append(flight.Seen, Sighting{Hop: x.Hop, Tunnel: x.Tunnel, time: x.Time})
	}
	for _, flight := range f.ordered() {
		slices.SortFunc(flight.Seen, func(x, y Sighting) int {
			if flight.Back {
				x, y = y, x
			}
			return cmp.Compare(x.Hop, y.Hop)
		})
	}
	return f
}

// timed gives sightings their times after the first one of all.
func timed(p *Path, clocks map[string]Clock, all []Flight) {
	var first *Sighting
	for i := range all {
		for j := range all[i].Seen {
			// What the sender's host saw: between hosts, times are not exact.
			s := &all[i].Seen[j]
			if p.Hops[s.Hop].Host == p.From.Host && (first == nil || s.time.Before(first.time)) {
				first = s
			}
		}
	}
	if first == nil {
		return
	}
	for i := range all {
		for j := range all[i].Seen {
			s := &all[i].Seen[j]
			s.At = micro(s.time.Sub(first.time))
			if host := p.Hops[s.Hop].Host; host != p.From.Host {
				s.Within = micro(clocks[host].Within + clocks[p.From.Host].Within)
			}
		}
	}
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// explain says where a ping was lost.
func (r *Result) explain(p *Path, e Evidence, f *flights) {
	last, words := f.furthest(p, e)
	if last == nil {
		r.Reason = fmt.Sprintf("nothing left %s", p.From.Name)
		if err := e.Probe.Error; err != nil {
			r.Reason, r.Hint = fmt.Sprintf("nothing left %s: %s", p.From.Name, err.Message), err.Hint
		}
		if len(p.Hops) > 0 {
			r.NotSeen = &p.Hops[0]
			if err := e.Errors[0]; err != nil {
				r.Reason, r.Hint = fmt.Sprintf("%s of %s cannot be listened at: %s", p.Hops[0].Link, p.From.Name, err.Message), "vxorch deploy"
			}
		}
		return
	}
	seen := last.Seen[len(last.Seen)-1]
	at := p.Hops[seen.Hop]
	r.LastSeen = &at
	next := seen.Hop + 1
	if last.Back {
		next = seen.Hop - 1
	}
	if next < 0 || next >= len(p.Hops) {
		r.Reason, r.Hint = arrived(p, f, last, at)
		return
	}
	to := p.Hops[next]
	r.NotSeen = &to
	r.Reason, r.Hint = p.gap(e, last.What, at, to, next, seen)
	r.Reason = words + r.Reason
}

// furthest is the packet that went last, and words for one that is not the ping.
// What its target says of neighbours follows from the ping only if that arrived:
// kernels ask again by themselves, too, whether a neighbour is still there.
func (f *flights) furthest(p *Path, e Evidence) (*Flight, string) {
	came := p.ended(f.request, e)
	switch {
	case len(f.reply.Seen) > 0:
		return f.reply, "the reply "
	case came && len(f.backAnswer.Seen) > 0:
		return f.backAnswer, fmt.Sprintf("%s's answer to who has its address ", f.backAnswer.From)
	case came && len(f.backAsk.Seen) > 0:
		return f.backAsk, fmt.Sprintf("%s's question who has %s's address ", f.backAsk.From, f.backAsk.To)
	case len(f.request.Seen) > 0:
		return f.request, "the ping "
	case len(f.answer.Seen) > 0:
		return f.answer, fmt.Sprintf("%s's answer to who has its address ", f.answer.From)
	case len(f.ask.Seen) > 0:
		return f.ask, fmt.Sprintf("the question who has %s's address ", f.ask.To)
	}
	return nil, ""
}

// ended tells whether a packet that goes forth was seen at the last hop that was
// listened at.
func (p *Path) ended(flight *Flight, e Evidence) bool {
	for i := len(p.Hops) - 1; i >= 0; i-- {
		if e.Errors[i] == nil {
			return slices.ContainsFunc(flight.Seen, func(s Sighting) bool { return s.Hop == i })
		}
	}
	return false
}

// arrived is the reason where a packet came to its end and nothing came of it.
func arrived(p *Path, f *flights, last *Flight, at Hop) (reason, hint string) {
	switch {
	case last == f.reply:
		return fmt.Sprintf("the reply came back to %s, which did not take it", last.To), "is there a packet filter in it, or was it too late?"
	case p.To.Host == "":
		return fmt.Sprintf("left %s's %s; no endpoint of the lab has the address %s", at.Host, at.Link, p.To.Address), "trace to a name of the inventory, or look where that address is"
	case last.What == whatAnswer:
		return fmt.Sprintf("%s was told who has the address, and sent nothing", last.To), "is there a packet filter in it, or a full neighbour table?"
	case last.What == whatAsk:
		return fmt.Sprintf("the question who has its address reached %s, which did not answer", last.To), "has it that address, and is its link up?"
	}
	return fmt.Sprintf("the ping reached %s, which did not answer", last.To), "is there a packet filter in it, or another's address?"
}
