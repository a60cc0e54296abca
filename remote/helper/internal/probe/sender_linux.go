package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

const (
	protocolICMPv4 = 1
	protocolICMPv6 = 58

	// maxExchanges is what one sender can tell apart: a request's sequence
	// number, 16 bits, says which exchange and which try it is of.
	maxExchanges = (1 << 16) / maxTries

	// echoRoom is what an echo reply takes around its payload at most: an IPv4
	// header with options and the ICMP header.
	echoRoom = 60 + 8
)

// sender runs all exchanges of one namespace and address family over one
// socket.
type sender struct {
	netns     string
	v6        bool
	whole     bool // sends as much as fits into one packet
	mark      []byte
	exchanges []*exchange

	conn     *net.IPConn
	id       int
	payload  []byte        // random behind the mark; a request carries the beginning of it
	finished chan struct{} // closed when every exchange is done

	mu   sync.Mutex // guards the exchanges and what follows
	left int        // exchanges not done
}

// exchange is the state of one probe.
type exchange struct {
	target netip.Addr
	bytes  int
	tries  int
	result *hostapi.ProbeResult

	begun  time.Time           // when the first request was tried
	sentAt [maxTries]time.Time // zero: not sent
	failed error               // why the last one could not be sent
	done   bool
}

// open opens the socket in the namespace of the calling thread.
func (s *sender) open() error {
	network, address := fmt.Sprintf("ip4:%d", protocolICMPv4), net.IPv4zero
	if s.v6 {
		network, address = fmt.Sprintf("ip6:%d", protocolICMPv6), net.IPv6zero
	}
	conn, err := net.ListenIP(network, &net.IPAddr{IP: address})
	if err != nil {
		return err
	}
	s.conn = conn
	if err := s.prepare(); err != nil {
		s.conn.Close()
		s.conn = nil
		return err
	}
	return nil
}

func (s *sender) prepare() error {
	if s.whole {
		if err := s.fill(); err != nil {
			return err
		}
	}
	size := 0
	for _, e := range s.exchanges {
		size = max(size, e.bytes+1) // a whole packet's is tried with a byte more
	}
	s.payload = make([]byte, size)
	var id [2]byte
	rand.Read(s.payload)
	copy(s.payload, s.mark)
	rand.Read(id[:])
	s.id = int(binary.BigEndian.Uint16(id[:]))

	// Room for all at once, both ways: replies come while requests are being
	// sent, and requests stay in the send buffer while their neighbour is being
	// looked for. A kilobyte is what the kernel counts for a small packet.
	room := min(max(1<<20, len(s.exchanges)*maxTries*(size+1024)), 64<<20)
	return errors.Join(s.repliesOnly(), s.bufferSize(room))
}

// repliesOnly keeps everything but echo replies off the socket.
func (s *sender) repliesOnly() error {
	if s.v6 {
		var filter ipv6.ICMPFilter
		filter.SetAll(true)
		filter.Accept(ipv6.ICMPTypeEchoReply)
		return ipv6.NewPacketConn(s.conn).SetICMPFilter(&filter)
	}
	var filter ipv4.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv4.ICMPTypeEchoReply)
	return ipv4.NewPacketConn(s.conn).SetICMPFilter(&filter)
}

func (s *sender) bufferSize(size int) error {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	var forced error
	err = raw.Control(func(fd uintptr) {
		forced = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size))
	})
	if err != nil || forced == nil {
		return err
	}
	// Without CAP_NET_ADMIN, as much as the system's limits allow.
	return errors.Join(s.conn.SetReadBuffer(size), s.conn.SetWriteBuffer(size))
}

// run runs all exchanges to their end or until ctx ends.
func (s *sender) run(ctx context.Context) {
	var receiving sync.WaitGroup
	receiving.Go(s.receive)
	// A deadline in the past ends both a blocked send and the receiver.
	stop := context.AfterFunc(ctx, func() { s.conn.SetDeadline(time.Unix(1, 0)) })
	s.send(ctx)
	stop()
	s.conn.SetDeadline(time.Unix(1, 0))
	receiving.Wait()
}

// send sends the requests as they fall due and waits for the last replies.
func (s *sender) send(ctx context.Context) {
	for try := range maxTries {
		for i, e := range s.exchanges {
			if !s.wants(e, try) {
				continue
			}
			if try > 0 && !s.wait(ctx, e.begun.Add(tryAfter[try])) {
				return
			}
			if s.wants(e, try) { // no reply came while waiting
				s.request(i, try)
			}
		}
	}
	s.wait(ctx, s.lastCall())
}

// wants says whether e still needs that try.
func (s *sender) wants(e *exchange, try int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !e.done && try < e.tries
}

// wait waits until then. It gives false if there is nothing left to wait for.
func (s *sender) wait(ctx context.Context, then time.Time) bool {
	timer := time.NewTimer(time.Until(then))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.finished:
	case <-timer.C:
		return true
	}
	return false
}

// lastCall gives up what could never be sent and says until when the rest may
// be answered.
func (s *sender) lastCall() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var until time.Time
	for _, e := range s.exchanges {
		if e.done {
			continue
		}
		if e.result.Sent == 0 {
			s.fail(e, sendError(e.target, e.failed))
			continue
		}
		for _, at := range e.sentAt {
			if end := at.Add(patience); !at.IsZero() && end.After(until) {
				until = end
			}
		}
	}
	return until
}

// request sends one echo request.
func (s *sender) request(i, try int) {
	e := s.exchanges[i]
	message := icmp.Message{
		Type: ipv4.ICMPTypeEcho,
		Body: &icmp.Echo{ID: s.id, Seq: i*maxTries + try, Data: s.payload[:e.bytes]},
	}
	if s.v6 {
		message.Type = ipv6.ICMPTypeEchoRequest
	}
	packet, err := message.Marshal(nil) // the kernel adds the checksum of ICMPv6
	now := time.Now()

	// The reply may be here before the send returns: note it first.
	s.mu.Lock()
	if try == 0 {
		e.begun = now
	}
	e.sentAt[try] = now
	s.mu.Unlock()
	if err == nil && s.whole && try == 0 && s.exceeds(e) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fail(e, tooMuch(e))
		return
	}
	if err == nil {
		_, err = s.conn.WriteToIP(packet, &net.IPAddr{IP: e.target.AsSlice()})
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		e.result.Sent++
		return
	}
	e.sentAt[try] = time.Time{}
	e.failed = err
	switch {
	case !hopeless(err):
	case e.result.Sent == 0:
		s.fail(e, sendError(e.target, err))
	default: // it could be sent before: a loss
		s.finish(e)
	}
}

// receive takes replies until the deadline is set to the past.
func (s *sender) receive() {
	buffer := make([]byte, echoRoom+len(s.payload))
	for {
		n, from, err := s.conn.ReadFromIP(buffer)
		now := time.Now()
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				s.failAll(&hostapi.Error{Kind: hostapi.KindInternal, Message: fmt.Sprintf("receive ICMP: %v", err)})
			}
			return
		}
		address, _ := netip.AddrFromSlice(from.IP)
		s.reply(buffer[:n], address.Unmap(), now)
	}
}

// reply takes an ICMP message that came from an address. A raw socket gets
// everybody's: what does not answer a waiting request of ours in every respect
// is not for us.
func (s *sender) reply(packet []byte, from netip.Addr, now time.Time) {
	protocol := protocolICMPv4
	if s.v6 {
		protocol = protocolICMPv6
	}
	message, err := icmp.ParseMessage(protocol, packet)
	if err != nil || message.Type != ipv4.ICMPTypeEchoReply && message.Type != ipv6.ICMPTypeEchoReply {
		return
	}
	echo, ok := message.Body.(*icmp.Echo)
	if !ok || echo.ID != s.id || echo.Seq/maxTries >= len(s.exchanges) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.exchanges[echo.Seq/maxTries]
	at := e.sentAt[echo.Seq%maxTries]
	if e.done || at.IsZero() || now.Sub(at) > patience ||
		from != e.target || !bytes.Equal(echo.Data, s.payload[:e.bytes]) {
		return
	}
	e.result.Received = 1
	e.result.RTT = now.Sub(at)
	s.finish(e)
}

// failAll ends every exchange that is not done.
func (s *sender) failAll(err *hostapi.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.exchanges {
		if !e.done {
			s.fail(e, err)
		}
	}
}

// fail ends e without a reply; s.mu is held.
func (s *sender) fail(e *exchange, err *hostapi.Error) {
	e.result.Error = err
	s.finish(e)
}

// finish ends e; s.mu is held.
func (s *sender) finish(e *exchange) {
	e.done = true
	s.left--
	if s.left == 0 {
		close(s.finished)
	}
}

// hopeless says whether a send that failed with err will fail again. The others
// pass: a full queue, an IPv6 address that is still being checked for duplicates.
func hopeless(err error) bool {
	for _, errno := range []error{
		unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EPERM, unix.EACCES, unix.EINVAL, unix.EMSGSIZE,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// sendError says for people why nothing could be sent to target.
func sendError(target netip.Addr, err error) *hostapi.Error {
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return &hostapi.Error{
			Kind:    hostapi.KindUnreachable,
			Message: fmt.Sprintf("no route to %s", target),
			Hint:    "the sender's link is down or has no address in the target's subnet: deploy again",
		}
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return &hostapi.Error{
			Kind:    hostapi.KindInternal,
			Message: fmt.Sprintf("no address to reach %s from", target),
			Hint:    "the sender's link is down or has no address yet: deploy again",
		}
	case errors.Is(err, unix.EPERM):
		return &hostapi.Error{
			Kind:    hostapi.KindPermission,
			Message: fmt.Sprintf("the kernel refuses to send to %s: %v", target, unix.EPERM),
			Hint:    "look for a firewall rule that drops outgoing ICMP",
		}
	}
	return &hostapi.Error{Kind: hostapi.KindInternal, Message: fmt.Sprintf("send to %s: %v", target, err)}
}
