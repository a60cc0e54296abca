package inventory

import (
	"fmt"
	"net/netip"
)

// readVTEPs reads the temporary addresses that are given.
func (p *parser) readVTEPs(s *segment) {
	s.VTEPs = make(map[string]netip.Addr, len(p.lab.Hosts))
	s.pool.reserved = func(host int) bool {
		_, given := s.VTEPs[p.lab.Hosts[host].Name]
		return !given
	}
	e, found := s.fields["vteps"]
	if !found {
		return
	}
	list, _ := p.entries(e.value, "vteps of "+s.what())
	for _, vtep := range list {
		host, known := p.knownHost(vtep.key, "host")
		addr, ok := p.subnetAddr(vtep.value, "vtep address", s)
		if known && ok && p.take(vtep.value, s, addr, use{who: fmt.Sprintf("the VTEP of host %q", host)}) {
			s.VTEPs[host] = addr
		}
	}
}

// completeVTEPs gives the other hosts their temporary addresses, after the
// workloads have theirs.
func (p *parser) completeVTEPs(s *segment) {
	if !s.pool.subnet.IsValid() {
		return
	}
	var displaced []string
	for i, host := range p.lab.Hosts {
		if _, given := s.VTEPs[host.Name]; given {
			continue
		}
		addr := s.pool.place(s.pool.vtepOffset(i))
		if _, used := s.pool.used[addr]; used {
			displaced = append(displaced, host.Name)
			continue
		}
		s.VTEPs[host.Name] = addr
		s.pool.used[addr] = use{who: fmt.Sprintf("the VTEP of host %q", host.Name), at: s.key, auto: true}
	}
	offset := s.pool.size()
	for _, host := range displaced {
		for ; offset > 0; offset-- {
			addr := s.pool.place(offset - 1)
			if _, used := s.pool.used[addr]; !used {
				s.VTEPs[host] = addr
				s.pool.used[addr] = use{who: fmt.Sprintf("the VTEP of host %q", host), at: s.key, auto: true}
				break
			}
		}
		if offset == 0 {
			p.errorf(s.node("subnet"), "subnet %s of %s has no address left for the VTEP of host %q", s.Subnet, s.what(), host).Hint =
				"choose a larger subnet"
			return
		}
	}
}
