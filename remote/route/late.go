package route

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"vxorch/remote/hostapi"
)

// afterOthers is how long a host may take to accept a TCP connection when others
// of the same run have: the first two retries of a lost SYN come after one second
// and after three (RFC 6298), and the first of a name's two addresses, or of two
// name servers, is given up after five.
const afterOthers = 6 * time.Second

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// punctual gives up on hosts that let all others wait: a plan needs to know of
// every host, and one that is dead would hold it up for as long as an unknown
// network may take.
type punctual struct {
	leeway time.Duration

	once     sync.Once
	accepted chan struct{} // closed when any host has accepted a connection
}

func newPunctual() *punctual {
	return &punctual{leeway: afterOthers, accepted: make(chan struct{})}
}

// dial is like d, but not as patient, from when another host has accepted on.
func (p *punctual) dial(d dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		late := &hostapi.Error{
			Kind:    hostapi.KindUnreachable,
			Message: fmt.Sprintf("connect to %s: no answer within %v, while other hosts gave one", address, p.leeway),
			Hint:    "is the host up, and does no firewall drop that port? ConnectTimeout in ssh_config lets it take longer",
		}
		go func() {
			select {
			case <-p.accepted: // before that it may be the way from here that is slow
			case <-ctx.Done():
				return
			}
			select {
			case <-time.After(p.leeway):
				cancel(late)
			case <-ctx.Done():
			}
		}()
		conn, err := d(ctx, network, address)
		switch {
		case err == nil:
			p.once.Do(func() { close(p.accepted) })
		case context.Cause(ctx) == error(late):
			return nil, late
		}
		return conn, err
	}
}
