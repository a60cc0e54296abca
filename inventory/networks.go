package inventory

import (
	"fmt"
	"net/netip"
	"slices"

	"gopkg.in/yaml.v3"
)

// What a network has that says nothing else.
const (
	firstVNI    = 100
	maxVNI      = 1<<24 - 1
	defaultPort = 4789 // IANA
	minMTU      = 68   // RFC 791
	minIPv6MTU  = 1280 // RFC 8200 §5
)

// segment is a network in the making.
type segment struct {
	Network
	key    *yaml.Node // or what stands for it
	fields fields
	pool   pool
	macs   map[string]use
	full   bool // the pool, and said so
	// twin is the second subnet, of the other IP version, with a pool of its own;
	// nil: there is none.
	twin *segment
}

// subnets are the segment and its twin.
func (s *segment) subnets() []*segment {
	if s.twin != nil {
		return []*segment{s, s.twin}
	}
	return []*segment{s}
}

func (s *segment) what() string { return fmt.Sprintf("network %q", s.Name) }

// node is the value of a key, or where the network begins.
func (s *segment) node(key string) *yaml.Node {
	if e, found := s.fields[key]; found {
		return e.value
	}
	return s.key
}

func (p *parser) readNetworks(n *yaml.Node) {
	list, ok := p.entries(n, "networks")
	if ok && len(n.Content) == 0 {
		p.errorf(n, "networks is empty").Hint = "leave it out altogether for one network with every default"
	}
	for _, e := range list {
		if len(p.segments) == maxNetworks {
			p.errorf(e.key, "there are more than %d networks", maxNetworks)
			return
		}
		if (len(p.segments)+1)*len(p.lab.Hosts) > maxVTEPs {
			p.errorf(e.key, "with this network there are more than %d VTEPs (networks × hosts)", maxVTEPs)
			return
		}
		s := &segment{Network: Network{Name: e.key.Value}, key: e.key}
		s.fields = p.fields(e.value, s.what(), "vni", "port", "vxlan", "flood", "group", "subnet", "mtu", "vteps")
		if problem := linkProblem(s.Name); problem != "" {
			p.errorf(e.key, "network name %q %s", s.Name, problem).Hint =
				"it is the bridge's name too: at most 15 letters, digits, '.', '-' and '_'"
		}
		p.readNetwork(s)
		p.addSegment(s)
	}
}

func (p *parser) addSegment(s *segment) {
	s.macs = map[string]use{}
	s.pool.used = map[netip.Addr]use{}
	p.segments = append(p.segments, s)
	p.segmentOf[s.Name] = s
}

// readNetwork reads what a network says of itself.
func (p *parser) readNetwork(s *segment) {
	if e, found := s.fields["vni"]; found {
		s.VNI, _ = p.integer(e.value, "vni", 1, maxVNI)
	}
	if e, found := s.fields["port"]; found {
		s.Port, _ = p.integer(e.value, "port", 1, 65535)
	}
	if e, found := s.fields["vxlan"]; found {
		s.VXLAN, _ = p.str(e.value, "vxlan")
		if problem := linkProblem(s.VXLAN); problem != "" && s.VXLAN != "" {
			p.errorf(e.value, "vxlan %q %s", s.VXLAN, problem).Hint = "a link's name has at most 15 letters, digits, '.', '-' and '_'"
		}
	}
	if e, found := s.fields["flood"]; found {
		s.Flood = p.readFlood(e.value)
	}
	if e, found := s.fields["group"]; found {
		s.Group = p.readGroup(e.value)
		if s.Flood == FloodUnicast || s.Flood == FloodStatic || s.Flood == FloodEVPN {
			p.errorf(e.key, "flood: %s has no group", s.Flood).Hint = "leave group out, or take flood: multicast"
		}
	}
	if e, found := s.fields["subnet"]; found {
		p.readSubnets(s, e.value)
	}
	if e, found := s.fields["mtu"]; found {
		s.MTU = p.readMTU(e.value, s)
	}
}

func (p *parser) readFlood(n *yaml.Node) Flood {
	mode, ok := p.str(n, "flood")
	modes := []string{string(FloodMulticast), string(FloodUnicast), string(FloodStatic), string(FloodEVPN), string(FloodAuto)}
	switch {
	case !ok:
	case slices.Contains(modes, mode):
		return Flood(mode)
	default:
		p.errorf(n, "flood %q is unknown", mode).Hint = p.suggest(mode, modes)
	}
	return ""
}

func (p *parser) readGroup(n *yaml.Node) netip.Addr {
	text, ok := p.str(n, "group")
	if !ok {
		return netip.Addr{}
	}
	group, ok := p.plainAddr(n, "group", text)
	if ok && !group.IsMulticast() {
		p.errorf(n, "group %s is not a multicast address", group).Hint = "choose one such as 239.0.0.1, or ff05::1:1 for an IPv6 underlay"
	}
	if ok && p.firstVTEP().IsValid() && p.firstVTEP().Is4() != group.Is4() {
		p.errorf(n, "group %s is %s, but the hosts' vtep addresses are %s", group, familyOf(group), familyOf(p.firstVTEP())).Hint =
			"the group belongs to the underlay: use its IP version"
	}
	return group
}

func (p *parser) firstVTEP() netip.Addr {
	for _, host := range p.lab.Hosts {
		if host.VTEP.IsValid() {
			return host.VTEP
		}
	}
	return netip.Addr{}
}

// readSubnets reads one subnet, or a list of one of each IP version.
func (p *parser) readSubnets(s *segment, n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		s.Subnet = p.readSubnet(n)
		return
	}
	if len(n.Content) == 0 || len(n.Content) > 2 {
		p.errorf(n, "subnet is a list of %d", len(n.Content)).Hint = "one subnet, or an IPv4 and an IPv6 one: `subnet: [192.168.100.0/24, 'fd00:100::/64']`"
		return
	}
	s.Subnet = p.readSubnet(n.Content[0])
	if len(n.Content) == 1 {
		return
	}
	second := n.Content[1]
	s.twin = &segment{Network: Network{Name: s.Name, Subnet: p.readSubnet(second)}, key: second}
	s.twin.pool.used = map[netip.Addr]use{}
	if s.Subnet.IsValid() && s.twin.Subnet.IsValid() && s.Subnet.Addr().Is4() == s.twin.Subnet.Addr().Is4() {
		p.errorf(second, "subnets %s and %s are both %s", s.Subnet, s.twin.Subnet, familyOf(s.Subnet.Addr())).Hint = "one of each IP version; make two networks of two subnets"
		s.twin = nil
	}
}

func (p *parser) readSubnet(n *yaml.Node) netip.Prefix {
	text, ok := p.str(n, "subnet")
	if !ok {
		return netip.Prefix{}
	}
	subnet, err := netip.ParsePrefix(text)
	if err != nil {
		p.errorf(n, "subnet %q is not an address with a prefix length", text).Hint = "write it as in 192.168.100.0/24"
		return netip.Prefix{}
	}
	if problem := subnetProblem(subnet); problem != "" {
		p.errorf(n, "subnet %s %s", subnet, problem)
		return netip.Prefix{}
	}
	if subnet != subnet.Masked() {
		p.errorf(n, "subnet %s is the address of a machine in it", subnet).Hint = fmt.Sprintf("write %s", subnet.Masked())
	}
	return subnet.Masked()
}

func (p *parser) readMTU(n *yaml.Node, s *segment) int {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		if n.Value != "auto" {
			p.errorf(n, "mtu %q is neither auto nor a number of bytes", n.Value)
		}
		return 0
	}
	mtu, ok := p.integer(n, "mtu", minMTU, 65535)
	six := slices.ContainsFunc(s.subnets(), func(s *segment) bool { return s.Subnet.IsValid() && s.Subnet.Addr().Is6() })
	if ok && mtu < minIPv6MTU && six {
		p.errorf(n, "mtu %d is below %d, which IPv6 needs", mtu, minIPv6MTU)
	}
	return mtu
}

// completeNetworks fills the defaults in, once it is known what is taken, and
// holds the networks against each other.
func (p *parser) completeNetworks() {
	for _, s := range p.segments {
		if s.Flood == "" {
			s.Flood = FloodMulticast
		}
		if _, given := s.fields["port"]; !given {
			s.Port = defaultPort
		}
	}
	p.completeVNIs()
	p.claimLinks()
	p.completeSubnets()
	for _, s := range p.segments {
		p.readVTEPs(s)
	}
}

// completeVNIs gives 100 to the first that has none, then what is free above. A
// VNI is one network's also where the ports differ: everything that names a
// VNI, the default VTEP's name first, would mean two.
func (p *parser) completeVNIs() {
	taken := map[int]*segment{}
	for _, s := range p.segments {
		if s.VNI == 0 {
			continue
		}
		if first, found := taken[s.VNI]; found {
			p.errorf(s.node("vni"), "vni %d is already used by %s (%s)", s.VNI, first.what(), p.at(first.node("vni"))).Hint =
				"give one of them another vni"
			s.VNI = 0 // makes no name that would clash too
			continue
		}
		taken[s.VNI] = s
	}
	next := firstVNI
	for _, s := range p.segments {
		if _, given := s.fields["vni"]; given {
			continue
		}
		for taken[next] != nil {
			next++
		}
		s.VNI = next
		taken[next] = s
	}
}

// claimLinks names the VTEPs that have no name and finds names given twice.
func (p *parser) claimLinks() {
	for _, host := range p.lab.Hosts {
		if _, found := p.links[host.Underlay]; !found && host.Underlay != "" {
			p.links[host.Underlay] = use{who: fmt.Sprintf("the underlay of host %q", host.Name), at: p.hosts[host.Name].key}
		}
	}
	for _, s := range p.segments {
		p.claimLink(s.key, s.Name, s.what())
	}
	for _, s := range p.segments {
		if _, given := s.fields["vxlan"]; !given && s.VNI != 0 {
			s.VXLAN = fmt.Sprintf("vx%d", s.VNI)
		}
		if s.VXLAN != "" {
			p.claimLink(s.node("vxlan"), s.VXLAN, "the VTEP of "+s.what())
		}
	}
}

func (p *parser) claimLink(n *yaml.Node, name, who string) {
	if first, found := p.links[name]; found {
		p.errorf(n, "link name %q of %s is already that of %s (%s)", name, who, first.who, p.at(first.at)).Hint =
			"the names of a host's links must differ: give one of them another"
		return
	}
	p.links[name] = use{who: who, at: n}
}

// completeSubnets gives 192.168.100.0/24 or the next free one to those that
// have none, and finds subnets that would take each other's traffic or a host's.
func (p *parser) completeSubnets() {
	var taken []*segment
	overlapping := func(subnet netip.Prefix) *segment {
		for _, s := range taken {
			if s.Subnet.Overlaps(subnet) {
				return s
			}
		}
		return nil
	}
	for _, s := range p.allSubnets() {
		if !s.Subnet.IsValid() {
			continue
		}
		if first := overlapping(s.Subnet); first != nil {
			p.errorf(s.node("subnet"), "subnet %s overlaps with %s of %s (%s)", s.Subnet, first.Subnet, first.what(), p.at(first.node("subnet"))).Hint =
				"give one of them another subnet"
		} else if host, addr, found := p.hostIn(s.Subnet); found {
			p.errorf(s.node("subnet"), "subnet %s holds %s of host %q (%s)", s.Subnet, addr, host, p.at(p.hosts[host].key)).Hint =
				"the lab would take over the way to that host: choose another subnet"
		}
		taken = append(taken, s)
	}
	for _, s := range p.segments {
		if _, given := s.fields["subnet"]; !given {
			subnet, ok := freeSubnet(func(subnet netip.Prefix) bool {
				_, _, inUse := p.hostIn(subnet)
				return inUse || overlapping(subnet) != nil
			})
			if !ok {
				p.errorf(s.key, "%s needs a subnet: all default ones are taken", s.what()).Hint = "give it one: `subnet: 10.1.2.0/24`"
				continue
			}
			s.Subnet = subnet
			taken = append(taken, s)
		}
	}
	for _, s := range p.segments {
		s.pool.subnet, s.pool.hosts = s.Subnet, len(p.lab.Hosts)
		if s.Subnet.IsValid() && s.pool.size() < uint64(len(p.lab.Hosts)) {
			p.errorf(s.node("subnet"), "subnet %s is too small: %d hosts need an address each", s.Subnet, len(p.lab.Hosts)).Hint =
				"give the network a larger one, as in `subnet: 10.100.0.0/16`"
			s.pool.subnet = netip.Prefix{}
		}
		if s.twin != nil {
			// The VTEPs' proof takes addresses of the first subnet only.
			s.twin.pool.subnet, s.Second = s.twin.Subnet, s.twin.Subnet
		}
	}
}

// allSubnets are those of all networks.
func (p *parser) allSubnets() []*segment {
	var all []*segment
	for _, s := range p.segments {
		all = append(all, s.subnets()...)
	}
	return all
}

// freeSubnet is the first of 192.168.100.0/24 to 192.168.255.0/24 that is not in use.
func freeSubnet(inUse func(netip.Prefix) bool) (netip.Prefix, bool) {
	for third := 100; third < 256; third++ {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(third), 0}), 24)
		if !inUse(subnet) {
			return subnet, true
		}
	}
	return netip.Prefix{}, false
}

// hostIn finds a host whose address, as far as the file tells it, is in subnet.
func (p *parser) hostIn(subnet netip.Prefix) (host, addr string, found bool) {
	for _, h := range p.lab.Hosts {
		if a, err := netip.ParseAddr(h.Address); err == nil && subnet.Contains(a.Unmap()) {
			return h.Name, "address " + h.Address, true
		}
		if subnet.Contains(h.VTEP) {
			return h.Name, "vtep " + h.VTEP.String(), true
		}
	}
	return "", "", false
}
