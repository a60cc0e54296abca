package survey

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/packetsock"
	"vxorch/remote/hostapi"
)

// maxPatience bounds how long Heard waits.
const maxPatience = 5 * time.Second

// Listener hears a try's datagrams: a packet socket where they come in from the
// underlay, before any firewall, and a raw socket where they are delivered,
// behind it. Neither takes the UDP port, which may be another's.
type Listener struct {
	token []byte
	files []*os.File
	group int // socket that is a member of the groups
	ended sync.WaitGroup

	mu    sync.Mutex
	heard map[uint32]bool // by number: delivered
	news  chan struct{}   // closed, and made anew, when something was heard
}

// Listen begins to listen. Close ends it.
func Listen(l hostapi.Listen) (*Listener, error) {
	token, err := parseToken(l.Token)
	if err != nil {
		return nil, err
	}
	device, err := net.InterfaceByName(l.Device)
	if err != nil {
		return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("underlay device %s: %v", l.Device, err)}
	}
	out := &Listener{token: token, group: -1, heard: map[uint32]bool{}, news: make(chan struct{})}
	six := l.Local.Is6()
	if err := errors.Join(out.incoming(device.Index, six), out.delivered(six), out.join(device.Index, six, l.Groups)); err != nil {
		out.Close()
		return nil, fmt.Errorf("listen on %s: %w", l.Device, err)
	}
	return out, nil
}

// incoming opens the packet socket.
func (l *Listener) incoming(device int, six bool) error {
	protocol := uint16(unix.ETH_P_IP)
	if six {
		protocol = unix.ETH_P_IPV6
	}
	program, err := wanted(l.token, sizeIPv6, !six)
	if err != nil {
		return err
	}
	// Of no protocol until it is bound, so that it gets nothing from elsewhere.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	err = packetsock.Attach(fd, program)
	if err == nil {
		err = packetsock.Bind(fd, device, protocol)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	l.hear(fd, false, !six, sizeIPv6)
	return nil
}

// delivered opens the raw socket.
func (l *Listener) delivered(six bool) error {
	family := unix.AF_INET
	if six {
		family = unix.AF_INET6
	}
	// The kernel gives raw sockets the IPv4 header and keeps the IPv6 one.
	program, err := wanted(l.token, 0, !six)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return fmt.Errorf("open a raw socket: %w", err)
	}
	if err := packetsock.Attach(fd, program); err != nil {
		unix.Close(fd)
		return err
	}
	l.hear(fd, true, !six, 0)
	return nil
}

// join makes the host a member of groups on the device for as long as a socket
// stands that receives nothing itself. What the host has joined is delivered to
// raw sockets, too.
func (l *Listener) join(device int, six bool, groups []netip.Addr) error {
	if len(groups) == 0 {
		return nil
	}
	family := unix.AF_INET
	if six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	l.group = fd
	for _, g := range groups {
		switch {
		case g.Is6() != six || !g.IsMulticast():
			return &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("%s is no group of the underlay's", g)}
		case six:
			err = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: g.As16(), Interface: uint32(device)})
		default:
			err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: g.As4(), Ifindex: int32(device)})
		}
		if err != nil {
			return fmt.Errorf("join %s: %w", g, err)
		}
	}
	return nil
}

// hear notes what comes to a socket until it is closed.
func (l *Listener) hear(fd int, delivered, withIPv4 bool, begin int) {
	// A burst of a few hundred full packets must not be lost here. Best effort:
	// only root may.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	file := os.NewFile(uintptr(fd), "socket")
	l.files = append(l.files, file)
	l.ended.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			n, err := file.Read(buffer)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if errors.Is(err, unix.ENETDOWN) { // said once
				continue
			}
			if err != nil {
				return
			}
			packet := buffer[:n]
			at := begin
			if withIPv4 && n > 0 {
				at = int(packet[0]&0xf) * 4
			}
			if at > n {
				continue
			}
			if id, ok := datagramNumber(l.token, packet[at:]); ok {
				l.note(id, delivered)
			}
		}
	})
}

func (l *Listener) note(id uint32, delivered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard[id] = l.heard[id] || delivered
	close(l.news)
	l.news = make(chan struct{})
}

// Heard tells which of the datagrams came, and waits for those that were not
// delivered until the request's patience or ctx ends.
func (l *Listener) Heard(ctx context.Context, req hostapi.HeardRequest) []hostapi.Heard {
	up := time.After(min(max(req.Patience, 0), maxPatience))
	for {
		out, all, news := l.now(req.IDs)
		if all {
			return out
		}
		select {
		case <-news:
		case <-up:
			return out
		case <-ctx.Done():
			return out
		}
	}
}

// now tells which of the datagrams came up to now, whether all were delivered,
// and what is closed when there is more.
func (l *Listener) now(ids []uint32) (out []hostapi.Heard, all bool, news <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all = true
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		delivered, ok := l.heard[id]
		if ok {
			out = append(out, hostapi.Heard{ID: id, Delivered: delivered})
		}
		all = all && delivered
	}
	return out, all, l.news
}

// Close ends the listening and leaves the groups.
func (l *Listener) Close() {
	for _, f := range l.files {
		f.Close()
	}
	if l.group >= 0 {
		unix.Close(l.group)
		l.group = -1
	}
	l.ended.Wait()
}
