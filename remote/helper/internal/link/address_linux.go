package link

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// address gives a link of the lab's a temporary address, or takes it away.
func (b *Batch) address(w hostapi.Address, remove bool) (changed bool, err error) {
	if !w.Prefix.IsValid() || !remove && w.Lifetime < time.Second {
		return false, invalid("want an address and a lifetime of at least a second, not %s for %v", w.Prefix, w.Lifetime)
	}
	d, err := b.look(w.Link)
	switch {
	case err != nil:
		return false, err
	case d == nil && remove:
		return false, nil
	case d == nil:
		return false, invalid("link %s does not exist", w.Link)
	}
	all, err := b.host.addresses()
	if err != nil {
		return false, err
	}
	var current *netlink.Addr
	for _, a := range all[d.Index] {
		if prefixOf(a) == w.Prefix {
			current = &a
		}
	}
	if remove {
		if current == nil {
			return false, nil
		}
		err := b.host.library.AddrDel(byIndex(d.Index), current)
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			return false, nil // its time has just come
		}
		if err == nil {
			err = b.dropPrefixRoute(d.Index, w.Prefix, all[d.Index])
		}
		return true, err
	}
	seconds := int(w.Lifetime / time.Second)
	if current != nil && current.ValidLft <= seconds && current.ValidLft > seconds/2 {
		return false, nil // at least half of its time is left
	}
	a := addressOf(w.Prefix)
	a.ValidLft, a.PreferedLft = seconds, seconds
	if err := b.host.library.AddrReplace(byIndex(d.Index), a); err != nil {
		return false, fmt.Errorf("for %d seconds: %w", seconds, err)
	}
	return true, nil
}

// dropPrefixRoute takes away the route to prefix that came with a temporary
// IPv6 address. The kernel keeps it until its time is up (ipv6_del_addr in
// net/ipv6/addrconf.c looks after permanent addresses only), and until then it
// would draw the next proof's packets to the wrong link. before is what the link
// had: an address in the same prefix still needs the route.
func (b *Batch) dropPrefixRoute(index int, prefix netip.Prefix, before []netlink.Addr) error {
	if prefix.Addr().Is4() {
		return nil
	}
	for _, a := range before {
		if other := prefixOf(a); other != prefix && other.Masked() == prefix.Masked() {
			return nil
		}
	}
	err := b.host.library.RouteDel(&netlink.Route{
		LinkIndex: index, Dst: addressOf(prefix.Masked()).IPNet, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_KERNEL,
	})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove its route: %w", err)
	}
	return nil
}
