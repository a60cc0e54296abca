package inventory

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"gopkg.in/yaml.v3"
)

// How the addresses of a subnet are given out, counted from its first usable
// one (offset 0, .1 of 192.168.100.0/24). The order depends on the subnet and
// the hosts alone, and an address once given stays: whatever workloads are
// appended to a file, those before them keep theirs.
//
//   - A VTEP without an address of its own in `vteps` prefers a fixed place: the
//     first ten hosts .1 to .10, the others the last addresses of the subnet,
//     downwards. A workload's auto never takes such a place. VTEPs come after
//     the workloads, so one leaves its place only where a workload was
//     written onto it, for the highest address that is free; that renumbers
//     nobody, for VTEPs have their addresses during a proof only.
//   - A container's auto takes the next free place from .11 upwards, a VM's from
//     .101 (in a subnet that is no /24 or /25: from its middle). Where the one
//     comes to the other's beginning it goes on at the far end: both walk the
//     same round, in opposite directions. So they meet only where the subnet is
//     full, and a container appended moves no VM.
//   - Auto does not look at what later workloads have written, nor a VM's at what
//     containers have: who has an address written that is taken gets an error.
const (
	lowVTEPs = 10
	firstVM  = 100 // of a /24 or a /25
)

// autoAddresses bounds what is given out of an IPv6 subnet, so that the VTEPs at
// its end stay readable and clear of the anycast addresses of RFC 2526.
const autoAddresses = 1 << 20

// pool gives out the addresses of one subnet.
type pool struct {
	subnet   netip.Prefix // zero: unknown, for it was wrong
	used     map[netip.Addr]use
	reserved func(host int) bool // whether the place of the VTEP of that host is kept free
	hosts    int
	// Steps of the round that auto made, from either side.
	containers, machines uint64
}

// size is the number of addresses to give out.
func (s *pool) size() uint64 {
	width := s.subnet.Addr().BitLen() - s.subnet.Bits()
	if s.subnet.Addr().Is4() {
		return 1<<width - 2
	}
	if width > 20 {
		return autoAddresses
	}
	return 1<<width - 1
}

// place is the address at an offset from the subnet's first usable one.
func (s *pool) place(offset uint64) netip.Addr {
	return addressIn(s.subnet, offset+1)
}

// addressIn is the address number n of a subnet, from 0; n must be below 2³².
func addressIn(subnet netip.Prefix, n uint64) netip.Addr {
	b := subnet.Addr().AsSlice()
	tail := b[len(b)-4:]
	binary.BigEndian.PutUint32(tail, binary.BigEndian.Uint32(tail)+uint32(n))
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// vtepOffset is the place that the VTEP of a host prefers.
func (s *pool) vtepOffset(host int) uint64 {
	if host < lowVTEPs {
		return uint64(host)
	}
	return s.size() - 1 - uint64(host-lowVTEPs)
}

// keptForVTEP tells whether the place is some host's preferred one.
func (s *pool) keptForVTEP(offset uint64) bool {
	host := offset
	if offset >= lowVTEPs {
		host = s.size() - 1 - offset + lowVTEPs
	}
	return host < uint64(s.hosts) && s.reserved(int(host))
}

// auto gives the next address for a workload. That of a VM may be one that a
// container has written.
func (s *pool) auto(k kind) (netip.Addr, bool) {
	steps := &s.containers
	if k == machine {
		steps = &s.machines
	}
	for size := s.size(); *steps < size; {
		step := *steps
		if k == machine {
			step = size - 1 - step
		}
		*steps++
		offset := s.round(step)
		if s.keptForVTEP(offset) {
			continue
		}
		addr := s.place(offset)
		if first := s.used[addr]; first.at == nil || k == machine && first.kind == container && !first.auto {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// round is the way of the containers' auto through all places: from .11 up to
// where the VMs begin, .1 to .10, and from the end down to where the VMs begin.
// Read backwards it is that of the VMs.
func (s *pool) round(step uint64) uint64 {
	size, low := s.size(), uint64(0)
	if size > lowVTEPs {
		low = lowVTEPs
	}
	middle := uint64(firstVM)
	switch {
	case size <= firstVM:
		middle = (size + low) / 2
	case size > 254:
		middle = 1 << (bits.Len64(size-1) - 1) // 10.1.128.1 of 10.1.0.0/16
	}
	switch {
	case step < middle-low:
		return low + step
	case step < middle:
		return step - (middle - low)
	}
	return size - 1 - (step - middle)
}

// subnetProblem says why no lab can live in a subnet.
func subnetProblem(subnet netip.Prefix) string {
	addr, length := subnet.Addr(), subnet.Bits()
	switch {
	case addr.Is4In6():
		return "is IPv4-mapped: write the IPv4 subnet"
	case addr.Is4() && length < 8 || addr.Is6() && length < 16:
		return "is too large"
	case addr.Is4() && length > 30 || addr.Is6() && length > 126:
		return "is too small for two machines"
	case addr.IsMulticast() || addr.IsLoopback() || addr.Is4() && (addr.As4()[0] == 0 || addr.As4()[0] == 127 || addr.As4()[0] >= 240):
		return "has no addresses for machines"
	case addr.Is6() && addr.IsLinkLocalUnicast():
		return "is link-local: every interface has addresses of it already"
	}
	return ""
}

// plainAddr reads an address that is not an IPv4-mapped one and needs no zone.
func (p *parser) plainAddr(n *yaml.Node, what, text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		p.errorf(n, "%s %q is not an IP address", what, text)
	case addr.Is4In6():
		p.errorf(n, "%s %q is an IPv4-mapped IPv6 address", what, text).Hint = fmt.Sprintf("write %s", addr.Unmap())
	case addr.Zone() != "":
		p.errorf(n, "%s %q has a zone", what, text).Hint = fmt.Sprintf("write %s", addr.WithZone(""))
	default:
		return addr, true
	}
	return netip.Addr{}, false
}

// subnetAddr reads an address of the network's subnet, with or without the
// prefix length.
func (p *parser) subnetAddr(n *yaml.Node, what string, s *segment) (netip.Addr, bool) {
	text, ok := p.str(n, what)
	if !ok {
		return netip.Addr{}, false
	}
	text, length, hasLength := strings.Cut(text, "/")
	addr, ok := p.plainAddr(n, what, text)
	if !ok || !s.pool.subnet.IsValid() {
		return netip.Addr{}, false
	}
	subnet := s.pool.subnet
	switch {
	case hasLength && length != fmt.Sprint(subnet.Bits()):
		p.errorf(n, "%s %s/%s: the prefix length of network %q is %d", what, text, length, s.Name, subnet.Bits()).Hint =
			"leave the prefix length out"
	case !subnet.Contains(addr):
		p.errorf(n, "%s %s is outside subnet %s of network %q", what, addr, subnet, s.Name).Hint =
			fmt.Sprintf("choose one between %s and %s", s.pool.place(0), lastAddress(subnet))
	case addr == subnet.Addr() && addr.Is4():
		p.errorf(n, "%s %s is the network address of %s", what, addr, subnet)
	case addr == subnet.Addr():
		p.errorf(n, "%s %s is the routers' anycast address of %s", what, addr, subnet) // RFC 4291 §2.6.1
	case addr.Is4() && addr == lastAddress(subnet).Next():
		p.errorf(n, "%s %s is the broadcast address of %s", what, addr, subnet)
	default:
		return addr, true
	}
	return netip.Addr{}, false
}

// lastAddress is the highest one that a machine can have.
func lastAddress(subnet netip.Prefix) netip.Addr {
	b := subnet.Addr().AsSlice()
	for i := range b {
		ones := min(max(subnet.Bits()-8*i, 0), 8)
		b[i] |= 0xff >> ones
	}
	addr, _ := netip.AddrFromSlice(b)
	if addr.Is4() {
		return addr.Prev()
	}
	return addr
}

// take notes who has an address, written at n, unless somebody else does.
func (p *parser) take(n *yaml.Node, s *segment, addr netip.Addr, u use) bool {
	first, found := s.pool.used[addr]
	if !found {
		u.at = n
		s.pool.used[addr] = u
		return true
	}
	if first.auto {
		p.errorf(n, "address %s was given to %s (%s) by auto", addr, first.who, p.at(first.at)).Hint =
			"choose another, or write the address of the other down too"
	} else {
		p.errorf(n, "address %s is already that of %s (%s)", addr, first.who, p.at(first.at)).Hint = "choose another, or leave it to auto"
	}
	return false
}

func familyOf(addr netip.Addr) string {
	if addr.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
