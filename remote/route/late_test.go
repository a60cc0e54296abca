package route

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"vxorch/remote/hostapi"
)

// A dead host takes no connection until its time is up.
func dead(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func alive(context.Context, string, string) (net.Conn, error) {
	conn, _ := net.Pipe()
	return conn, nil
}

func TestADeadHostIsGivenUpOnceOthersHaveAnswered(t *testing.T) {
	p := newPunctual()
	p.leeway = time.Millisecond
	gone := make(chan error, 1)
	go func() {
		_, err := p.dial(dead)(context.Background(), "tcp", "host2:22")
		gone <- err
	}()
	select {
	case err := <-gone:
		t.Fatalf("given up while no host had answered: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := p.dial(alive)(context.Background(), "tcp", "host1:22"); err != nil {
		t.Fatal(err)
	}
	err := <-gone
	if !errors.Is(err, hostapi.ErrUnreachable) || !strings.Contains(err.Error(), "connect to host2:22: no answer within 1ms, while other hosts gave one") {
		t.Errorf("got %v", err)
	}
}

// Where all are slow, for want of a name server say, the first that is through ends
// nobody else's try.
func TestHostsThatAreAllSlowAreAwaited(t *testing.T) {
	p := newPunctual()
	p.leeway = 20 * time.Second
	first := make(chan struct{})
	second := make(chan error, 1)
	go func() {
		_, err := p.dial(func(ctx context.Context, network, address string) (net.Conn, error) {
			<-first
			time.Sleep(10 * time.Millisecond)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return alive(ctx, network, address)
		})(context.Background(), "tcp", "host2:22")
		second <- err
	}()
	if _, err := p.dial(alive)(context.Background(), "tcp", "host1:22"); err != nil {
		t.Fatal(err)
	}
	close(first)
	if err := <-second; err != nil {
		t.Errorf("the slower host: %v", err)
	}
}

func TestWhoeverEndsADialIsTold(t *testing.T) {
	p := newPunctual()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.dial(dead)(ctx, "tcp", "host:22"); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	refused := errors.New("refused")
	if _, err := p.dial(func(context.Context, string, string) (net.Conn, error) { return nil, refused })(context.Background(), "tcp", "host:22"); err != refused {
		t.Errorf("got %v", err)
	}
}
