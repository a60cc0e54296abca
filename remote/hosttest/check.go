package hosttest

import (
	"context"
	"slices"
	"time"

	"vxorch/remote/hostapi"
)

var _ hostapi.Checker = (*Session)(nil)

// Firewall is a machine's own, for a try's datagrams. Probes do not meet it.
type Firewall struct {
	DropsIn  bool
	DropsOut bool
}

// SetFirewall gives the machine that firewall.
func (m *Machine) SetFirewall(f Firewall) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.firewall = f
}

// SetCheck has Check tell f from now on, but what it knows itself: time and
// machine id, unless f has one.
func (m *Machine) SetCheck(f hostapi.CheckFacts) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.check = f
}

// SetPathMTU has the fabric drop larger datagrams of a try than that many bytes.
func (f *Fabric) SetPathMTU(bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pathMTU = bytes
}

// StopMulticast has the fabric drop a try's multicast.
func (f *Fabric) StopMulticast() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noGroups = true
}

// enter begins a call and gives what ends it.
func (s *Session) enter(ctx context.Context, at Moment) (leave func(), err error) {
	ctx, stop := s.during(ctx)
	if err := s.moment(ctx, at, nil); err != nil {
		stop()
		return nil, err
	}
	s.machine.fabric.mu.Lock()
	if err := s.ended(ctx); err != nil {
		s.machine.fabric.mu.Unlock()
		stop()
		return nil, err
	}
	return func() {
		s.machine.fabric.mu.Unlock()
		stop()
	}, nil
}

// Check is hostapi.Checker's.
func (s *Session) Check(ctx context.Context, req hostapi.CheckRequest) (hostapi.CheckFacts, error) {
	leave, err := s.enter(ctx, BeforeCheck)
	if err != nil {
		return hostapi.CheckFacts{}, err
	}
	defer leave()
	m := s.machine
	facts := m.check
	if facts.MachineID == "" {
		facts.MachineID = "machine-" + m.name
	}
	if facts.Time.IsZero() {
		facts.Time = time.Now()
	}
	if l := req.Listen; l != nil {
		if m.links[l.Device] == nil || len(l.Token) != 16 {
			facts.Deaf = hostapi.AsError(invalid("cannot listen: %+v", *l))
			return facts, nil
		}
		s.listen, s.heard = l, map[uint32]bool{}
	}
	return facts, nil
}

// Send is hostapi.Checker's.
func (s *Session) Send(ctx context.Context, req hostapi.SendRequest) (unsent []hostapi.Unsent, err error) {
	leave, err := s.enter(ctx, BeforeSend)
	if err != nil {
		return nil, err
	}
	defer leave()
	m := s.machine
	device := m.links[req.Device]
	if device == nil || len(req.Token) != 16 {
		return nil, invalid("cannot send: %+v", req)
	}
	for _, d := range req.Datagrams {
		switch {
		case d.To.Is6() != req.Local.Is6():
			return unsent, invalid("no datagram: %+v", d)
		case m.firewall.DropsOut:
			unsent = append(unsent, hostapi.Unsent{ID: d.ID, Error: &hostapi.Error{Kind: hostapi.KindPermission, Message: "operation not permitted"}})
		case d.Size > device.MTU:
			unsent = append(unsent, hostapi.Unsent{ID: d.ID, Error: &hostapi.Error{Kind: hostapi.KindInvalid, Message: "message too long"}})
		default:
			m.carry(req.Token, d)
		}
	}
	return unsent, nil
}

// carry takes a datagram from m to whoever listens for it.
func (m *Machine) carry(token string, d hostapi.Datagram) {
	f := m.fabric
	if f.pathMTU > 0 && d.Size > f.pathMTU {
		return
	}
	for _, to := range f.machines {
		if f.apart[[2]*Machine{m, to}] || d.To.IsMulticast() && (f.noGroups || to == m) {
			continue
		}
		for s := range to.sessions {
			l := s.listen
			if l == nil || l.Token != token || l.Local != d.To && !slices.Contains(l.Groups, d.To) || d.Size > to.links[l.Device].MTU {
				continue
			}
			s.heard[d.ID] = s.heard[d.ID] || !to.firewall.DropsIn
		}
	}
}

// Heard is hostapi.Checker's. It waits for nothing: here, what comes is there at
// once.
func (s *Session) Heard(ctx context.Context, req hostapi.HeardRequest) (out []hostapi.Heard, err error) {
	leave, err := s.enter(ctx, BeforeHeard)
	if err != nil {
		return nil, err
	}
	defer leave()
	if s.listen == nil {
		return nil, invalid("nothing was listened for")
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(req.IDs))) {
		if delivered, ok := s.heard[id]; ok {
			out = append(out, hostapi.Heard{ID: id, Delivered: delivered})
		}
	}
	return out, nil
}
