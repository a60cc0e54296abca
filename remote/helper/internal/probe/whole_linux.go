package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// What stands before an echo request's payload: the IP header and the ICMP
// header, in bytes.
const (
	beforePayloadIPv4 = 20 + 8
	beforePayloadIPv6 = 40 + 8
)

// fill sizes the requests to what the way to their targets carries in one
// packet, and keeps the kernel from sending them in several. The calling thread
// is in the sender's namespace.
func (s *sender) fill() error {
	for _, e := range s.exchanges {
		mtu, err := mtuTowards(e.target)
		if err != nil {
			e.failed = err // as the requests will
			continue
		}
		e.bytes = mtu - beforePayloadIPv4
		if s.v6 {
			e.bytes = mtu - beforePayloadIPv6
		}
		e.result.Bytes = e.bytes
	}
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		// PROBE and not DO: with what the path was found to carry before, the next
		// try would go out smaller or not at all (ip(7)).
		if s.v6 {
			set = errors.Join(
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1))
		} else {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		}
	})
	return errors.Join(err, set)
}

// mtuTowards is what the kernel sends to target in one packet, in bytes. It sends
// nothing.
func mtuTowards(target netip.Addr) (int, error) {
	family, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
	var address unix.Sockaddr
	if target.Is6() {
		family, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU
		address = &unix.SockaddrInet6{Port: 9, Addr: target.As16()}
	} else {
		address = &unix.SockaddrInet4{Port: 9, Addr: target.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, address); err != nil {
		return 0, err
	}
	return unix.GetsockoptInt(fd, level, option)
}

// exceeds tells whether a request with a byte more than fits leaves all the same.
func (s *sender) exceeds(e *exchange) bool {
	message := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: s.id ^ 0xffff, Data: s.payload[:e.bytes+1]}}
	if s.v6 {
		message.Type = ipv6.ICMPTypeEchoRequest
	}
	packet, err := message.Marshal(nil)
	if err != nil {
		return false
	}
	_, err = s.conn.WriteToIP(packet, &net.IPAddr{IP: e.target.AsSlice()})
	return err == nil
}

func tooMuch(e *exchange) *hostapi.Error {
	return &hostapi.Error{
		Kind:    hostapi.KindInternal,
		Message: fmt.Sprintf("a packet to %s with %d bytes, one more than its link should carry, was sent in one piece", e.target, e.bytes+1),
		Hint:    "the link's mtu is not what the lab gave it: deploy again",
	}
}
