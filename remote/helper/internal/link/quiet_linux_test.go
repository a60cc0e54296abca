package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv6"

	"vxorch/remote/internal/ns"
)

// advertisement is a router advertisement (RFC 4861 §4.2): a default router for
// half an hour, and a prefix to make addresses from (§4.6.2).
func advertisement(prefix netip.Prefix) []byte {
	ra := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	option := []byte{3, 4, byte(prefix.Bits()), 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0}
	address := prefix.Addr().As16()
	return append(append(ra, option...), address[:]...)
}

// advertise sends one advertisement from the link of that name in the calling
// thread's namespace to all nodes on it.
func advertise(name string, prefix netip.Prefix) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return err
	}
	defer conn.Close()
	p := ipv6.NewPacketConn(conn)
	// Receivers drop one that could have come through a router (RFC 4861 §6.1.2).
	if err := errors.Join(p.SetMulticastHopLimit(255), p.SetMulticastInterface(link)); err != nil {
		return err
	}
	_, err = p.WriteTo(advertisement(prefix), nil, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: name})
	return err
}

// learned lists what a link of the host made of advertisements or by itself:
// IPv6 addresses, and routes over it.
func learned(name string) (found []string, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		found = append(found, "address "+a.IPNet.String())
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_V6)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		if r.Dst == nil || !r.Dst.IP.IsMulticast() {
			found = append(found, fmt.Sprintf("route to %v", r.Dst))
		}
	}
	return found, nil
}

func TestHostLearnsNothingFromARouterInTheLab(t *testing.T) {
	m := newMachine(t)
	m.must(wholeLab()...)
	// The control: a port of the bridge whose other end is an ordinary link of
	// this host, as a link is by default.
	control := netlink.NewVeth(attributes("port0", nil))
	control.PeerName = "plain0"
	m.add(control)
	defer m.delete("port0")
	if err := errors.Join(
		netlink.LinkSetMaster(control, m.link("br100")), netlink.LinkSetUp(control), netlink.LinkSetUp(m.link("plain0")),
	); err != nil {
		t.Fatal(err)
	}
	prefix := netip.MustParsePrefix("2001:db8:1::/64")
	m.settle(func() error { // the container needs its link-local address, the control too
		if err := ns.Do("lu-cn1", func() error { return advertise("eth0", prefix) }); err != nil {
			return err
		}
		link := m.link("plain0")
		addresses, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if prefix.Contains(addrOf(a.IP)) {
				return nil
			}
		}
		return errors.New("the control has no address of the advertised prefix: nothing was advertised")
	})
	if got, err := learned("plain0"); err != nil || len(got) < 3 {
		t.Errorf("the control learned %q, %v; want addresses and a default route", got, err)
	}
	// The bridge passes a frame to all its ports and to itself at once: what
	// the control has heard, the others have.
	for _, name := range []string{"br100", "vx100", "vcn1"} {
		if got, err := learned(name); err != nil || len(got) > 0 {
			t.Errorf("%s learned %q, %v; want nothing", name, got, err)
		}
	}
	// What the container makes itself of its own router is no drift.
	if n := m.must(wholeLab()...); n != 0 {
		t.Errorf("%d changes afterwards, want none", n)
	}
	m.must(wholeLabAway()...)
}

func TestAddressThatAContainerLearnedIsNoDrift(t *testing.T) {
	m := newMachine(t)
	m.must(wholeLab()...)
	if err := ns.Do("lu-cn1", func() error {
		link, err := netlink.LinkByName("eth0")
		address := addressOf(netip.MustParsePrefix("2001:db8:1::99/64"))
		address.ValidLft, address.PreferedLft = 600, 600
		return errors.Join(err, netlink.AddrAdd(link, address))
	}); err != nil {
		t.Fatal(err)
	}
	if n := m.must(wholeLab()...); n != 0 {
		t.Errorf("%d changes, want none", n)
	}
	m.must(wholeLabAway()...)
}
