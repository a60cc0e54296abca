package hosttest

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"vxorch/remote/hostapi"
)

var _ hostapi.Inspector = (*Session)(nil)

// SetInspection has Inspect tell the counters and the drops of i from now on; the
// rest it knows itself.
func (m *Machine) SetInspection(i hostapi.Inspection) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.inspection = i
}

// Inspect is hostapi.Inspector's. No link of a fake machine counts, and its bridges
// know no MACs: its VTEPs have what they were told, and a neighbour is known where
// it would be reached.
func (s *Session) Inspect(ctx context.Context, req hostapi.InspectRequest) (hostapi.Inspection, error) {
	leave, err := s.enter(ctx, BeforeInspect)
	if err != nil {
		return hostapi.Inspection{}, err
	}
	defer leave()
	m := s.machine
	out := hostapi.Inspection{Drops: m.inspection.Drops, Counters: m.inspection.Counters}
	for name, l := range m.links {
		if !slices.Contains(req.Links, name) {
			continue
		}
		state := hostapi.LinkState{Name: name, Running: l.Up && (l.peer == nil || l.peer.Up)}
		if l.Master != "" {
			state.Port = "disabled"
			if state.Running && m.links[l.Master].Up {
				state.Port = "forwarding"
			}
		}
		out.Links = append(out.Links, state)
		if l.VXLAN == nil {
			continue
		}
		if l.VXLAN.Group.IsValid() {
			out.Entries = append(out.Entries, hostapi.FDBEntry{Link: name, MAC: "00:00:00:00:00:00", Via: l.VXLAN.Group, Static: true})
		}
		for _, e := range l.forwarding.Entries() {
			switch {
			case e.Kind == hostapi.EntryFlood:
				out.Entries = append(out.Entries, hostapi.FDBEntry{Link: name, MAC: "00:00:00:00:00:00", Via: e.Addr, Static: true})
			case e.Kind == hostapi.EntryRemote && slices.Contains(req.MACs, e.MAC):
				out.Entries = append(out.Entries, hostapi.FDBEntry{Link: name, MAC: e.MAC, Via: e.Addr, Static: true})
			case e.Kind == hostapi.EntryPort && slices.Contains(req.MACs, e.MAC):
				out.Entries = append(out.Entries, hostapi.FDBEntry{Link: name, MAC: e.MAC, Static: true})
			}
		}
	}
	for _, name := range req.Namespaces {
		if n := m.namespaces[name]; n != nil {
			out.Neighbours = append(out.Neighbours, m.neighboursIn(n, req.Addresses)...)
		}
	}
	if req.BGP != nil {
		out.BGP = m.bgp(*req.BGP)
	}
	slices.SortFunc(out.Links, func(a, b hostapi.LinkState) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// neighboursIn are those of the addresses that a namespace's links reach.
func (m *Machine) neighboursIn(n *namespace, addresses []netip.Addr) (out []hostapi.Neighbour) {
	for _, inner := range n.links {
		for _, station := range m.segment(inner) {
			for _, p := range station.prefixes() {
				if station != inner && slices.Contains(addresses, p.Addr()) {
					out = append(out, hostapi.Neighbour{Netns: n.name, Address: p.Addr(), MAC: station.MAC})
				}
			}
		}
	}
	return out
}
