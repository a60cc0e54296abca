package hosttest

import (
	"cmp"
	"context"
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"

	"vxorch/remote/hostapi"
)

var _ hostapi.Capturer = (*Session)(nil)

// copying is a Capture of a session.
type copying struct {
	hostapi.CaptureRequest
	wants *bpf.VM // nil: everything
	held  []hostapi.Packet
	count int
	bytes int64
	ends  time.Time // zero: with the session
	over  bool
}

// SetClock has the machine's clock be ahead by that much.
func (m *Machine) SetClock(ahead time.Duration) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.ahead = ahead
}

// Capture is hostapi.Capturer's.
func (s *Session) Capture(ctx context.Context, req hostapi.CaptureRequest) ([]*hostapi.Error, error) {
	leave, err := s.enter(ctx, BeforeCapture)
	if err != nil {
		return nil, err
	}
	defer leave()
	c := &copying{CaptureRequest: req}
	if len(req.Points) == 0 || len(req.Points) > hostapi.MostPoints || req.Snaplen < 0 || req.Snaplen > 1<<16-1 || req.Count < 0 || req.Bytes < 0 || req.For < 0 {
		return nil, invalid("no capture: %+v", req)
	}
	if len(req.Filter) > 0 {
		var program []bpf.Instruction
		for _, op := range req.Filter {
			program = append(program, bpf.RawInstruction{Op: op.Op, Jt: op.Jt, Jf: op.Jf, K: op.Data}.Disassemble())
		}
		if c.wants, err = bpf.NewVM(program); err != nil {
			return nil, invalid("no filter: %v", err)
		}
	}
	if req.For > 0 {
		c.ends = time.Now().Add(req.For)
	}
	failed := make([]*hostapi.Error, len(req.Points))
	for i, p := range req.Points {
		links := s.machine.links
		if p.Netns != "" {
			n := s.machine.namespaces[p.Netns]
			if n == nil {
				failed[i] = hostapi.AsError(invalid("no network namespace %q", p.Netns))
				continue
			}
			links = n.links
		}
		if links[p.Link] == nil {
			failed[i] = hostapi.AsError(invalid("no link %q", p.Link))
		}
	}
	s.copying = c
	return failed, nil
}

// Packets is hostapi.Capturer's. It waits for nothing but the end: here, what
// passes is there at once.
func (s *Session) Packets(ctx context.Context, req hostapi.PacketsRequest) (hostapi.Packets, error) {
	leave, err := s.enter(ctx, BeforePackets)
	if err != nil {
		return hostapi.Packets{}, err
	}
	defer leave()
	c := s.copying
	if c == nil {
		return hostapi.Packets{}, invalid("no packets are being copied")
	}
	over := c.over || !c.ends.IsZero() && !time.Now().Add(req.Patience).Before(c.ends)
	out := hostapi.Packets{Packets: c.held, Ended: over}
	c.held, c.over = nil, over
	return out, nil
}

// Clock is hostapi.Capturer's.
func (s *Session) Clock(ctx context.Context) (time.Time, error) {
	leave, err := s.enter(ctx, BeforeClock)
	if err != nil {
		return time.Time{}, err
	}
	defer leave()
	return time.Now().Add(s.machine.ahead).UTC(), nil
}

// show shows a ping over IPv4 to who copies at its ends; what is between them, a
// fake machine does not have.
func (m *Machine) show(p hostapi.Probe, r hostapi.ProbeResult) {
	n := m.namespaces[p.Netns]
	if n == nil || p.Whole || !p.Target.Is4() || r.Sent == 0 {
		return
	}
	from, source := m.route(n.links, p.Target)
	if from == nil || !source.Is4() {
		return
	}
	m.leaves(from, echo(8, source, p.Target, p))
	if r.Received == 0 {
		return
	}
	for _, other := range m.fabric.machines {
		for _, n := range other.namespaces {
			for _, l := range n.links {
				for _, prefix := range l.prefixes() {
					if prefix.Addr() == p.Target {
						other.arrives(l, echo(8, source, p.Target, p))
						other.leaves(l, echo(0, p.Target, source, p))
					}
				}
			}
		}
	}
	m.arrives(from, echo(0, p.Target, source, p))
}

// leaves has a frame leave l, the inner end of a veth.
func (m *Machine) leaves(l *link, frame []byte) {
	m.passes(l, frame, true)
	if l.peer != nil {
		m.passes(l.peer, frame, false)
	}
}

// arrives has a frame arrive at l, the inner end of a veth.
func (m *Machine) arrives(l *link, frame []byte) {
	if l.peer != nil {
		m.passes(l.peer, frame, true)
	}
	m.passes(l, frame, false)
}

func (m *Machine) passes(l *link, frame []byte, outgoing bool) {
	netns := ""
	if l.netns != nil {
		netns = l.netns.name
	}
	for s := range m.sessions {
		c := s.copying
		if c == nil || c.over {
			continue
		}
		for i, p := range c.Points {
			if p.Link != l.Name || p.Netns != netns || c.over {
				continue
			}
			if c.wants != nil {
				if n, err := c.wants.Run(frame); err != nil || n == 0 {
					continue
				}
			}
			data := frame[:min(len(frame), cmp.Or(c.Snaplen, len(frame)))]
			c.held = append(c.held, hostapi.Packet{
				Point: i, Time: time.Now().Add(m.ahead).UTC(), Outgoing: outgoing, Length: len(frame), Data: data,
			})
			c.count++
			c.bytes += int64(len(data))
			c.over = c.Count > 0 && c.count >= c.Count || c.Bytes > 0 && c.bytes >= c.Bytes
		}
	}
}

// echo is a frame with an ICMP echo message, without checksums.
func echo(kind byte, from, to netip.Addr, p hostapi.Probe) []byte {
	size := cmp.Or(p.Bytes, 56)
	f := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0}
	f = binary.BigEndian.AppendUint16(f, uint16(20+8+size))
	f = append(f, 0, 0, 0, 0, 64, 1, 0, 0)
	f = append(append(f, from.AsSlice()...), to.AsSlice()...)
	f = append(f, kind, 0, 0, 0, 0, 1, 0, 1)
	payload := make([]byte, size)
	copy(payload, p.Mark)
	return append(f, payload...)
}
