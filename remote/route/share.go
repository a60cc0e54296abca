package route

import (
	"context"
	"errors"
	"net"
	"sync"

	"vxorch/remote/hostapi"
	"vxorch/remote/sshconn"
)

// shared is a connection to a jump host, for all that go through it. It ends
// with the last of them.
type shared struct {
	name  string
	ready chan struct{} // closed when conn or err is there
	conn  *sshconn.Conn
	err   error

	users  int // under the network's lock
	cancel context.CancelFunc
}

// share gives the connection to the last hop of way, and what gives it back.
// The first who asks connects, for all who ask meanwhile.
func (n *Network) share(ctx context.Context, way []hop) (*shared, func(), error) {
	name := key(way)
	n.mu.Lock()
	if err := n.failed[name]; err != nil {
		n.mu.Unlock()
		return nil, nil, err
	}
	s := n.shared[name]
	if s != nil && s.dead() {
		s = nil
	}
	if s == nil {
		s = &shared{name: name, ready: make(chan struct{})}
		n.shared[name] = s
		// Who came first may go before the others.
		dialCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		s.cancel = cancel
		go func() {
			defer close(s.ready)
			if s.conn, s.err = n.connect(dialCtx, way); s.err != nil {
				s.err = n.refused(name, via(way, s.err))
			}
		}()
	}
	s.users++
	n.mu.Unlock()
	release := sync.OnceFunc(func() { n.release(s) })
	select {
	case <-s.ready:
	case <-ctx.Done():
		release()
		return nil, nil, hostapi.Errorf(hostapi.KindCanceled, "", "connect through %s: %v", way[len(way)-1].label(), context.Cause(ctx))
	}
	if s.err != nil {
		release()
		return nil, nil, s.err
	}
	return s, release, nil
}

// dead tells a connection that has ended from one that is coming or there.
func (s *shared) dead() bool {
	select {
	case <-s.ready:
		return s.err != nil || s.conn.Err() != nil
	default:
		return false
	}
}

// refused remembers a jump host that will not have us: to ask it again for
// each host behind it is what servers ban addresses for.
func (n *Network) refused(name string, err error) error {
	if e := hostapi.AsError(err); errors.Is(e, hostapi.ErrAuth) || errors.Is(e, hostapi.ErrHostKey) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.failed[name] = e
	}
	return err
}

// release gives one use back; the last ends the connection.
func (n *Network) release(s *shared) {
	n.mu.Lock()
	s.users--
	last := s.users == 0
	if last && n.shared[s.name] == s {
		delete(n.shared, s.name)
	}
	n.mu.Unlock()
	if !last {
		return
	}
	s.cancel()
	<-s.ready
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// hold gives conn, which goes through s, with a use of s of its own.
func (n *Network) hold(s *shared, conn net.Conn) net.Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	s.users++
	return &held{Conn: conn, release: sync.OnceFunc(func() { n.release(s) })}
}

// held is a connection that takes its jump host's along, if it was the last.
type held struct {
	net.Conn
	release func()
}

func (h *held) Close() error {
	err := h.Conn.Close()
	h.release()
	return err
}
