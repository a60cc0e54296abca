package link

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// veth makes the pair, its inner end at once in its namespace under its name, so
// that the host's own namespace never sees it. Only the outer end bears a mark:
// neither end lives without the other.
func (b *Batch) veth(w hostapi.Veth) (changed bool, err error) {
	if err := checkName(w.Inner); err != nil {
		return false, err
	}
	innerMAC, err := parseMAC(w.InnerMAC)
	if err != nil {
		return false, err
	}
	s, err := b.lookSpace(w.Netns)
	if err != nil {
		return false, err
	}
	if s == nil {
		return false, invalid("namespace %q does not exist", w.Netns)
	}
	o := outer{kind: hostapi.KindVeth, name: w.Name, usedBy: w.For, mac: w.MAC, mtu: w.MTU, bridge: w.Bridge}
	o.diff = func(d *device) (bool, bool, error) {
		inner, err := s.inner.get(w.Inner)
		if err != nil {
			return false, false, err
		}
		if inner == nil || inner.PeerIndex != d.Index {
			return true, true, nil // indices repeat between namespaces: both have to fit
		}
		addresses, err := s.inner.addresses()
		if err != nil {
			return false, false, err
		}
		inner.Addresses = prefixes(given(addresses[inner.Index]))
		return differs(w.Diff(b.named(d), &inner.Link))
	}
	o.create = func(mac net.HardwareAddr) error {
		inner, err := s.inner.get(w.Inner)
		if err != nil {
			return err
		}
		if inner != nil {
			return foreign("link %s exists already in namespace %s and is not the other end", w.Inner, w.Netns)
		}
		link := netlink.NewVeth(attributes(w.Name, mac))
		link.MTU = w.MTU
		link.PeerName = w.Inner
		link.PeerHardwareAddr = innerMAC
		link.PeerMTU = uint32(w.MTU)
		link.PeerNamespace = netlink.NsFd(s.file.Fd())
		return b.host.library.LinkAdd(link)
	}
	o.more = func(*device) error {
		if err := s.adjustInner(w, innerMAC); err != nil {
			return fmt.Errorf("%s in namespace %s: %w", w.Inner, w.Netns, err)
		}
		return nil
	}
	return b.ensure(o)
}

// adjustInner brings the inner end to what is wanted.
func (s *space) adjustInner(w hostapi.Veth, mac net.HardwareAddr) error {
	d, err := s.inner.get(w.Inner)
	if err != nil {
		return err
	}
	if d == nil {
		return fmt.Errorf("it vanished")
	}
	if changes := d.properties(mac, w.MTU); len(changes) > 0 {
		if err := s.inner.set(d.Index, changes...); err != nil {
			return fmt.Errorf("set mac %s and mtu %d: %w", mac, w.MTU, err)
		}
	}
	if err := s.inner.setAddresses(d.Index, w.Addresses); err != nil {
		return err
	}
	if !d.Up {
		if err := s.inner.up(d.Index, true); err != nil {
			return fmt.Errorf("set it up: %w", err)
		}
	}
	return nil
}

// setAddresses gives a link exactly these addresses, beside those that IPv6
// makes itself.
func (c *conn) setAddresses(index int, want []netip.Prefix) error {
	all, err := c.addresses()
	if err != nil {
		return err
	}
	has := given(all[index])
	removed := false
	for _, a := range has {
		if !slices.Contains(want, prefixOf(a)) {
			if err := c.library.AddrDel(byIndex(index), &a); err != nil {
				return fmt.Errorf("remove address %s: %w", prefixOf(a), err)
			}
			removed = true
		}
	}
	if removed {
		// With its primary address the kernel removes a subnet's others.
		if all, err = c.addresses(); err != nil {
			return err
		}
		has = given(all[index])
	}
	present := prefixes(has)
	for _, p := range want {
		if slices.Contains(present, p) {
			continue
		}
		if err := c.library.AddrReplace(byIndex(index), addressOf(p)); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	return nil
}

// addressOf gives p as the library takes it. Duplicate address detection is off:
// every address of a lab is planned, and a tentative one answers nothing.
func addressOf(p netip.Prefix) *netlink.Addr {
	ip := p.Addr().AsSlice()
	a := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(p.Bits(), 8*len(ip))}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// byIndex is a link as the library takes it where only the index matters.
func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}
