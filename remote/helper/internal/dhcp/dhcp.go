// Package dhcp gives guests their addresses by DHCP (RFC 2131), each on its own
// tap: it answers the MACs that it was told and no other, with one lease each
// that never ends, and keeps their requests off the bridge for as long as it
// serves. It also asks over a tap whether the guest answers for an address
// already, and over any link who does. What a guest's address is, and what to do where DHCP does not help,
// it leaves to others.
package dhcp

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"vxorch/remote/hostapi"
)

// Lease is what one guest is given.
type Lease struct {
	MAC      string       // of the guest's interface; nobody else is answered
	Address  netip.Prefix // IPv4, with the subnet's length
	MTU      int          // bytes; 0: not told
	Hostname string       // empty: not told
}

// self is the address that speaks for this host on a tap. The lab's subnet has
// none to spare that is surely free. RFC 3927 §2.1 keeps the first 256 link-local
// addresses from being chosen by anybody by itself. No packet is ever sent to it:
// a client asks its server again only before a lease ends.
func self(guest netip.Addr) netip.Addr {
	first := netip.AddrFrom4([4]byte{169, 254, 0, 1})
	if guest == first {
		return first.Next()
	}
	return first
}

// LinkLocal is an address of RFC 3927's, always the same for a MAC.
func LinkLocal(mac string) netip.Prefix {
	sum := sha256.Sum256([]byte(strings.ToLower(mac)))
	// §2.1: not of the first 256 nor of the last.
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{169, 254, 1 + sum[0]%254, sum[1]}), 16)
}

// check gives the MAC of l, and an error of KindInvalid if l makes no sense.
func (l Lease) check() (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(l.MAC)
	var problem string
	switch {
	case err != nil || len(mac) != 6:
		problem = "that is no Ethernet address"
	case mac[0]&1 != 0:
		problem = "that is a group's address"
	case !l.Address.IsValid() || !l.Address.Addr().Is4():
		problem = fmt.Sprintf("%s is no IPv4 address with a prefix length", l.Address)
	case l.MTU < 0 || l.MTU > 65535:
		problem = fmt.Sprintf("an mtu of %d", l.MTU)
	case len(l.Hostname) > 255:
		problem = "a host name of more than 255 bytes"
	default:
		return mac, nil
	}
	return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("lease for %q: %s", l.MAC, problem)}
}
