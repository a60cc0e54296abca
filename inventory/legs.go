package inventory

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// leg is an interface as a definition has it.
type leg struct {
	segment   *segment
	addresses []*yaml.Node // at most one a subnet; where there is none: auto
	mac       *yaml.Node   // nil: derived
}

// readLegs reads one network and address, or a list of interfaces.
func (p *parser) readLegs(k kind, e entry, f fields) []leg {
	what := k.what(e.key.Value)
	list, several := f["interfaces"]
	if !several {
		if l, ok := p.readLeg(e.key, f, what); ok {
			return []leg{l}
		}
		return nil
	}
	for _, key := range []string{"network", "address", "mac"} {
		if single, found := f[key]; found {
			p.errorf(single.key, "%s and interfaces are both given (%s)", key, p.at(list.key)).Hint = "put it into the list of interfaces"
		}
	}
	if list.value.Kind != yaml.SequenceNode {
		p.wrongType(list.value, "interfaces", "a list")
		return nil
	}
	if len(list.value.Content) == 0 {
		p.errorf(list.value, "interfaces is empty").Hint = fmt.Sprintf("a %s needs an interface: `interfaces: [{network: NAME}]`", k)
	}
	var legs []leg
	seen := map[*segment]*yaml.Node{}
	for _, item := range list.value.Content {
		l, ok := p.readLeg(item, p.fields(item, "an interface", "network", "address", "mac"), what)
		if !ok {
			continue
		}
		if first, found := seen[l.segment]; found {
			// A machine with two addresses of one subnet answers on either
			// interface, so no probe could tell them apart.
			p.errorf(item, "%s has an interface in %s already (%s)", what, l.segment.what(), p.at(first)).Hint = "one interface a network"
			continue
		}
		seen[l.segment] = item
		legs = append(legs, l)
	}
	return legs
}

// readLeg reads an interface that begins at n.
func (p *parser) readLeg(n *yaml.Node, f fields, what string) (leg, bool) {
	var l leg
	if e, found := f["address"]; found && !(e.value.Kind == yaml.ScalarNode && e.value.Value == "auto") {
		l.addresses = []*yaml.Node{e.value}
		if e.value.Kind == yaml.SequenceNode && len(e.value.Content) > 0 {
			l.addresses = e.value.Content
		}
	}
	if e, found := f["mac"]; found {
		l.mac = e.value
	}
	e, found := f["network"]
	if !found {
		if len(p.segments) == 1 {
			l.segment = p.segments[0]
			return l, true
		}
		if len(p.segments) > 1 {
			p.errorf(n, "%s does not say in which of the %d networks it is", what, len(p.segments)).Hint = "write `network: NAME`"
		}
		return leg{}, false
	}
	name, ok := p.str(e.value, "network")
	if !ok {
		return leg{}, false
	}
	if l.segment, ok = p.segmentOf[name]; ok {
		return l, true
	}
	var known []string
	for _, s := range p.segments {
		known = append(known, s.Name)
	}
	p.errorf(e.value, "there is no network %q", name).Hint = p.suggest(name, known)
	return leg{}, false
}

// interfaces makes those of one workload of a definition.
func (p *parser) interfaces(d definition, workload string) []Interface {
	var list []Interface
	for i, l := range d.legs {
		inner := "eth" + strconv.Itoa(i)
		list = append(list, Interface{
			Network: l.segment.Name,
			Inner:   inner,
			Link:    p.nameLeg(d, workload, inner),
			Address: p.addressOf(d, l, l.segment, workload),
			MAC:     p.macOf(d, l, workload),
		})
		if twin := l.segment.twin; twin != nil {
			list[i].Second = p.addressOf(d, l, twin, workload)
		}
		p.checkAddresses(l)
	}
	return list
}

// nameLeg names the outer end, other than all links so far.
func (p *parser) nameLeg(d definition, workload, inner string) string {
	base := workload
	if d.kind == machine && strings.HasPrefix(base, "vnet") {
		base = "tap-" + base // libvirt takes vnet… for a name of its own making and drops it
	}
	for attempt := 0; ; attempt++ {
		name := linkName(p.lab.Name, base, inner, attempt)
		if _, taken := p.links[name]; !taken {
			p.links[name] = use{who: d.kind.what(workload), at: d.key}
			return name
		}
	}
}

// addressOf gives the workload's address in one subnet of the leg's network.
func (p *parser) addressOf(d definition, l leg, s *segment, workload string) netip.Addr {
	who := d.kind.what(workload)
	if n := l.writtenFor(s); n != nil {
		addr, ok := p.subnetAddr(n, "address", s)
		if ok {
			p.take(n, s, addr, use{who: who, kind: d.kind})
		}
		return addr
	}
	if !s.pool.subnet.IsValid() {
		return netip.Addr{}
	}
	addr, ok := s.pool.auto(d.kind)
	switch first := s.pool.used[addr]; {
	case !ok && !s.full:
		s.full = true
		p.errorf(d.key, "subnet %s of %s has no address left for %s", s.Subnet, s.what(), who).Hint = "choose a larger subnet"
	case ok && first.at != nil:
		p.errorf(d.key, "auto gives %s to %s, but it is already the address of %s (%s)", addr, who, first.who, p.at(first.at)).Hint =
			"write another address for one of them"
	case ok:
		s.pool.used[addr] = use{who: who, kind: d.kind, at: d.key, auto: true}
	}
	return addr
}

// writtenFor is the address that the file has for a subnet: in a network with two,
// the one of the subnet's IP version; nil: auto.
func (l leg) writtenFor(s *segment) *yaml.Node {
	for _, n := range l.addresses {
		if l.segment.twin == nil || isIPv4(n) == s.Subnet.Addr().Is4() {
			return n
		}
	}
	return nil
}

// isIPv4 tells the IP version that an address is written in.
func isIPv4(n *yaml.Node) bool { return !strings.Contains(n.Value, ":") }

// checkAddresses finds addresses that no subnet is there for.
func (p *parser) checkAddresses(l leg) {
	for i, n := range l.addresses {
		if i == 0 {
			continue
		}
		switch {
		case l.segment.twin == nil:
			p.errorf(n, "%s has one subnet, so an interface has one address in it", l.segment.what()).Hint = "give the network a second subnet, of the other IP version, or take the address out"
		case i > 1 || isIPv4(n) == isIPv4(l.addresses[0]):
			p.errorf(n, "a second %s address of one interface", map[bool]string{true: "IPv4", false: "IPv6"}[isIPv4(n)]).Hint = "one of each IP version"
		}
	}
}

func (p *parser) macOf(d definition, l leg, workload string) string {
	who := d.kind.what(workload)
	if l.mac != nil {
		mac, ok := p.readMAC(l.mac)
		if first, found := l.segment.macs[mac]; found && ok {
			p.errorf(l.mac, "mac %s is already that of %s (%s)", mac, first.who, p.at(first.at)).Hint = "choose another, or leave it out"
			return mac
		}
		l.segment.macs[mac] = use{who: who, at: l.mac}
		return mac
	}
	for attempt := 0; ; attempt++ {
		mac := DeriveMAC(p.lab.Name, string(d.kind), workload, l.segment.Name, strconv.Itoa(attempt))
		if _, taken := l.segment.macs[mac]; !taken {
			l.segment.macs[mac] = use{who: who, at: d.key}
			return mac
		}
	}
}

func (p *parser) readMAC(n *yaml.Node) (string, bool) {
	text, ok := p.str(n, "mac")
	if !ok {
		return "", false
	}
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != 6:
		p.errorf(n, "mac %q is not an Ethernet address", text).Hint = "write it as in 02:00:00:00:00:01"
	case mac[0]&1 != 0:
		p.errorf(n, "mac %s is a multicast address", mac).Hint = "the first byte must be even, as in 02:00:00:00:00:01"
	case mac.String() == "00:00:00:00:00:00":
		p.errorf(n, "mac %s is no interface's", mac)
	default:
		return mac.String(), true
	}
	return "", false
}
