package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// Server answers on one tap.
type Server struct {
	conn   *packet.Conn
	from   net.HardwareAddr // the tap's own end, which its bridge keeps to itself
	leases map[string]Lease // by MAC, as bytes
	waits  map[string]bool  // leases that nobody took yet; the serving goroutine's own
	filter *filter

	leased  chan struct{}
	served  chan struct{}
	failure error // of serving; after served is closed
	closing chan struct{}
	once    sync.Once
	closed  error
}

// Serve answers the DHCP requests that come from the guest on that tap, of the
// calling thread's network namespace, until ctx ends or Close is called. While it
// does, no DHCP request that comes from the guest, its own or another's, goes on
// to the tap's bridge. When it returns, requests are answered. The error is an
// *hostapi.Error: of KindInvalid if a lease makes no sense or there is no such
// tap, of KindUnsupported if the kernel cannot filter.
func Serve(ctx context.Context, tap string, leases []Lease) (*Server, error) {
	s := &Server{
		leases:  map[string]Lease{},
		waits:   map[string]bool{},
		leased:  make(chan struct{}),
		served:  make(chan struct{}),
		closing: make(chan struct{}),
	}
	for _, l := range leases {
		mac, err := l.check()
		if err != nil {
			return nil, err
		}
		if s.waits[string(mac)] {
			return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("two leases for %s", mac)}
		}
		s.leases[string(mac)], s.waits[string(mac)] = l, true
	}
	if len(leases) == 0 {
		return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: "no lease to give"}
	}
	program, err := toServers(true, 0xffff, 0)
	if err != nil {
		return nil, err
	}
	conn, index, err := listen(tap, &packet.Config{Filter: program})
	if err != nil {
		return nil, err
	}
	s.conn, s.from = conn, conn.LocalAddr().(*packet.Addr).HardwareAddr
	if s.filter, err = install(index); err != nil {
		conn.Close()
		return nil, err
	}
	go s.serve()
	go func() {
		select {
		case <-ctx.Done():
			s.Close()
		case <-s.closing:
		}
	}()
	return s, nil
}

// listen opens a socket that sees every frame on the tap: one for IPv4 alone
// would get them after the bridge has taken them.
func listen(tap string, config *packet.Config) (*packet.Conn, int, error) {
	link, err := net.InterfaceByName(tap)
	if err != nil {
		return nil, 0, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("look up tap %s: %v", tap, err)}
	}
	conn, err := packet.Listen(link, packet.Raw, unix.ETH_P_ALL, config)
	if err != nil {
		return nil, 0, explain(fmt.Sprintf("open a packet socket on %s", tap), err)
	}
	return conn, link.Index, nil
}

// Leased is closed when every lease was taken: its guest said that it wants it
// and was told that it has it.
func (s *Server) Leased() <-chan struct{} { return s.leased }

// Close ends the serving and lets DHCP requests onto the bridge again. The
// error is also why serving had ended before, if something went wrong.
func (s *Server) Close() error {
	s.once.Do(func() {
		close(s.closing)
		s.conn.Close()
		<-s.served
		s.closed = errors.Join(s.failure, s.filter.remove())
	})
	return s.closed
}

func (s *Server) serve() {
	defer close(s.served)
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := s.conn.ReadFrom(buffer)
		switch {
		case s.isClosing():
			return
		case errors.Is(err, unix.ENETDOWN): // said once, when the tap goes down or away
			continue
		case err != nil:
			s.failure = fmt.Errorf("read DHCP requests: %w", err)
			return
		}
		if out, ok := s.handle(buffer[:n]); ok {
			// What is lost on the way to the guest it asks for again.
			_, _ = s.conn.WriteTo(out, &packet.Addr{HardwareAddr: net.HardwareAddr(out[:6])})
		}
	}
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// handle gives the frame that answers one from the guest; ok is false if none
// does.
func (s *Server) handle(frame []byte) (out []byte, ok bool) {
	source, kind, payload, ok := splitFrame(frame)
	if !ok || kind != etherIPv4 {
		return nil, false
	}
	body, ok := toServer(payload)
	if !ok {
		return nil, false
	}
	m, err := parse(body)
	if err != nil || !slices.Equal(m.mac, source) {
		return nil, false
	}
	lease, ok := s.leases[string(source)]
	if !ok {
		return nil, false
	}
	reply, ok := lease.answer(m)
	if !ok {
		return nil, false
	}
	if m.kind == request && reply.kind == ack && s.waits[string(source)] {
		delete(s.waits, string(source))
		if len(s.waits) == 0 {
			defer close(s.leased)
		}
	}
	mac, address := reply.destination()
	return etherFrame(mac, s.from, etherIPv4, fromServer(reply.server, address, reply.marshal())), true
}
