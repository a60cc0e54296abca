package hosttest

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"vxorch/remote/hostapi"
)

// probe answers p at once.
func (m *Machine) probe(p hostapi.Probe) hostapi.ProbeResult {
	links := m.links
	if p.Guest != nil {
		d, err := m.virt.console(*p.Guest)
		if err != nil || p.Netns != "" {
			return hostapi.ProbeResult{Error: hostapi.AsError(cmp.Or(err, invalid("a probe is sent from one place")))}
		}
		links = d.inside.links
	}
	if p.Netns != "" {
		n := m.namespaces[p.Netns]
		if n == nil {
			return hostapi.ProbeResult{Error: hostapi.AsError(invalid("no network namespace %q", p.Netns))}
		}
		links = n.links
	}
	if p.TCP != nil {
		return m.exchange(links, p)
	}
	if p.Solicit != nil {
		return m.solicit(links, p)
	}
	tries := p.Tries
	if tries == 0 {
		tries = 3
	}
	if tries < 0 || tries > 3 || p.Bytes < 0 || len(p.Mark) > cmp.Or(p.Bytes, 56) || !p.Target.IsValid() {
		return hostapi.ProbeResult{Error: hostapi.AsError(invalid("no probe: %+v", p))}
	}
	from, source := m.route(links, p.Target)
	if from == nil {
		return hostapi.ProbeResult{Error: &hostapi.Error{
			Kind: hostapi.KindUnreachable, Message: fmt.Sprintf("send to %v: network is unreachable", p.Target),
		}}
	}
	result := hostapi.ProbeResult{Sent: tries}
	if p.Whole {
		result.Bytes = from.MTU - headers(p.Target)
	}
	if source == p.Target || m.reaches(from, source, p.Target) {
		result.Sent, result.Received, result.RTT = 1, 1, 100*time.Microsecond+m.latency
	}
	return result
}

// BitRate is how many bits a second pass between any two workloads.
const BitRate = 1e9

// exchange takes the other side to be there if it is reached.
func (m *Machine) exchange(links map[string]*link, p hostapi.Probe) hostapi.ProbeResult {
	result := hostapi.ProbeResult{Sent: max(p.TCP.Clients, 1), Bytes: p.TCP.Bytes}
	from, source := m.route(links, p.Target)
	switch {
	case p.TCP.Port < 1 || p.TCP.Bytes < 1 || p.TCP.For < 0:
		return hostapi.ProbeResult{Error: hostapi.AsError(invalid("no TCP exchange: %+v", *p.TCP))}
	case from != nil && (source == p.Target) == p.TCP.Serve && (p.TCP.Serve || m.reaches(from, source, p.Target)):
		result.Received, result.RTT = result.Sent, 100*time.Microsecond+m.latency
		if p.TCP.For > 0 && !p.TCP.Serve {
			result.BitRate = BitRate
			result.Bytes = int(p.TCP.For.Seconds() * BitRate / 8)
		}
	case from == nil:
		result.Sent = 0
		result.Error = &hostapi.Error{Kind: hostapi.KindUnreachable, Message: "TCP: network is unreachable"}
	default:
		result.Error = &hostapi.Error{Kind: hostapi.KindUnreachable, Message: "TCP: i/o timeout"}
	}
	return result
}

// solicit asks all who share a layer 2 with a link.
func (m *Machine) solicit(links map[string]*link, p hostapi.Probe) hostapi.ProbeResult {
	from := links[p.Solicit.Link]
	if from == nil || !from.Up {
		return hostapi.ProbeResult{Error: hostapi.AsError(invalid("no link %q to ask from", p.Solicit.Link))}
	}
	result := hostapi.ProbeResult{Sent: 1}
	for _, station := range m.segment(from) {
		if station.MAC == p.Solicit.MAC && slices.ContainsFunc(station.prefixes(), func(at netip.Prefix) bool { return at.Addr() == p.Target }) {
			result.Received = 1
		}
	}
	return result
}

// headers are the bytes of a ping's IP and ICMP headers.
func headers(target netip.Addr) int {
	if target.Is6() {
		return 40 + 8
	}
	return 20 + 8
}

// reaches tells whether a frame that leaves from for target finds it, and
// whether that one's answer finds its way back to source.
func (m *Machine) reaches(from *link, source, target netip.Addr) bool {
	for _, station := range m.segment(from) {
		for _, p := range station.prefixes() {
			if p.Addr() == target && p.Contains(source) {
				return true
			}
		}
	}
	return false
}

// hub is where frames meet: a bridge, a VTEP that stands alone, or an underlay
// device. A frame does not leave by the port it came in by.
type hub struct {
	machine *Machine
	at      *link
	by      *link // VTEP it was entered by; nil: by a station
}

// segment gives the links with which from, a link of m, shares a layer 2.
func (m *Machine) segment(from *link) []*link {
	first := m.attachment(from)
	if first == nil {
		return nil
	}
	var stations []*link
	seen := map[hub]bool{}
	queue := []hub{{m, first, nil}}
	for len(queue) > 0 {
		h := queue[0]
		queue = queue[1:]
		if seen[h] {
			continue
		}
		seen[h] = true
		stations = append(stations, h.at)
		switch {
		case h.at.Kind == "bridge":
			for _, port := range h.machine.links {
				if port.Master != h.at.Name || !port.Up {
					continue
				}
				if port.peer != nil && port.peer.Up {
					stations = append(stations, port.peer)
				}
				if port != h.by {
					queue = append(queue, h.machine.tunnel(port)...)
				}
			}
		case h.at.VXLAN != nil:
			if h.by == nil {
				queue = append(queue, h.machine.tunnel(h.at)...)
			}
		default:
			for _, other := range h.machine.neighbours() {
				if l := other.links[other.underlay]; l != nil && l.Up {
					stations = append(stations, l)
				}
			}
		}
	}
	return stations
}

// attachment gives the link whose frames l sends and gets, nil if it is cut off.
func (m *Machine) attachment(l *link) *link {
	if l.peer != nil {
		l = l.peer
		if !l.Up || l.Master == "" {
			return nil
		}
	} else if l.VXLAN != nil && l.Master != "" {
		return nil // what comes in belongs to the bridge, an address here answers nothing
	}
	if l.Master != "" {
		l = m.links[l.Master]
	}
	if l == nil || !l.Up {
		return nil
	}
	return l
}

// tunnel gives the hubs at the far ends of v, none if v is no VTEP.
func (m *Machine) tunnel(v *link) []hub {
	if v.VXLAN == nil || !m.carried(v) {
		return nil
	}
	var hubs []hub
	for _, other := range m.neighbours() {
		for _, l := range other.links {
			if l.VXLAN == nil || !l.Up || !other.carried(l) || !sameTunnel(l, v) && !slices.Contains(m.learnt(v), l.VXLAN.Local) {
				continue
			}
			at := l
			if l.Master != "" {
				at = other.links[l.Master]
			}
			if at.Up {
				hubs = append(hubs, hub{other, at, l})
			}
		}
	}
	return hubs
}

// sameTunnel tells whether two VTEPs send each other frames: by their group, or
// by what both were told. Which endpoints they were told of is not looked at.
func sameTunnel(a, b *link) bool {
	if a.VXLAN.VNI != b.VXLAN.VNI || a.VXLAN.Port != b.VXLAN.Port {
		return false
	}
	return a.VXLAN.Group.IsValid() && a.VXLAN.Group == b.VXLAN.Group || a.knows(b) && b.knows(a)
}

// knows tells whether a VTEP was told about the tunnel end of another.
func (l *link) knows(other *link) bool {
	end := other.VXLAN.Local
	return slices.Contains(l.forwarding.Flood, end) ||
		slices.ContainsFunc(l.forwarding.Remotes, func(r hostapi.Remote) bool { return r.Via == end })
}

// carried tells whether v's underlay device is there and up.
func (m *Machine) carried(v *link) bool {
	device := m.links[v.VXLAN.Device]
	return device != nil && device.Up
}

// neighbours are the machines that m's packets reach.
func (m *Machine) neighbours() []*Machine {
	var ms []*Machine
	for _, other := range m.fabric.machines {
		if other != m && !m.fabric.apart[[2]*Machine{m, other}] {
			ms = append(ms, other)
		}
	}
	return ms
}
