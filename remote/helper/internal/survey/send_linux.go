package survey

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// Send sends datagrams from the tunnel address out of the underlay device, as a
// tunnel end would, and tells which the host did not let out.
func Send(ctx context.Context, req hostapi.SendRequest) ([]hostapi.Unsent, error) {
	token, err := parseToken(req.Token)
	if err != nil {
		return nil, err
	}
	device, err := net.InterfaceByName(req.Device)
	if err != nil {
		return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("underlay device %s: %v", req.Device, err)}
	}
	fd, err := sender(device, req.Local)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	headers := sizeIPv4
	if req.Local.Is6() {
		headers = sizeIPv6
	}
	var out []hostapi.Unsent
	for _, d := range req.Datagrams {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		body, err := payload(token, d, headers)
		if err != nil {
			return out, err
		}
		to, err := socketAddress(d.To, req.Local, d.Port, device.Index)
		if err != nil {
			return out, err
		}
		err = unix.Sendto(fd, body, 0, to)
		if errors.Is(err, unix.ECONNREFUSED) {
			err = unix.Sendto(fd, body, 0, to) // told of an earlier one, and not sent for that
		}
		if err != nil {
			out = append(out, hostapi.Unsent{ID: d.ID, Error: refusal(err)})
		}
	}
	return out, nil
}

// sender opens the socket that datagrams are sent from.
func sender(device *net.Interface, local netip.Addr) (fd int, err error) {
	family, level, option, value := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
	if local.Is6() {
		family, level, option, value = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	steps := []error{
		// Don't fragment, and don't believe what earlier packets found out.
		unix.SetsockoptInt(fd, level, option, value),
		unix.BindToDevice(fd, device.Name),
	}
	if local.Is6() {
		steps = append(steps,
			unix.SetsockoptInt(fd, level, unix.IPV6_DONTFRAG, 1),
			unix.SetsockoptInt(fd, level, unix.IPV6_MULTICAST_IF, device.Index),
			unix.SetsockoptInt(fd, level, unix.IPV6_MULTICAST_LOOP, 0))
	} else {
		steps = append(steps,
			unix.SetsockoptIPMreqn(fd, level, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(device.Index)}),
			unix.SetsockoptInt(fd, level, unix.IP_MULTICAST_LOOP, 0))
	}
	from, err := socketAddress(local, local, 0, device.Index)
	if err == nil {
		steps = append(steps, unix.Bind(fd, from))
	}
	if err := errors.Join(append(steps, err)...); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("send from %s on %s: %w", local, device.Name, err)
	}
	return fd, nil
}

// socketAddress is a as the kernel takes it; it is of local's family.
func socketAddress(a, local netip.Addr, port, device int) (unix.Sockaddr, error) {
	switch {
	case !a.IsValid() || a.Is6() != local.Is6() || port < 0 || port > 1<<16-1:
		return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("a datagram from %s to %s, port %d", local, a, port)}
	case a.Is4():
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}, nil
	}
	s := &unix.SockaddrInet6{Addr: a.As16(), Port: port}
	if a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() {
		s.ZoneId = uint32(device)
	}
	return s, nil
}

// refusal gives the kernel's refusal to send its kind.
func refusal(err error) *hostapi.Error {
	e := &hostapi.Error{Kind: hostapi.KindInternal, Message: err.Error()}
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		e.Kind = hostapi.KindPermission
	case errors.Is(err, unix.EMSGSIZE):
		e.Kind = hostapi.KindInvalid
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		e.Kind = hostapi.KindUnreachable
	}
	return e
}
