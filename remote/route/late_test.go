package route

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
// nobody else's try in that moment.
func TestHostsThatAreAllSlowAreAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, began := newPunctual(), time.Now()
		after := func(d time.Duration) dialer {
			return func(ctx context.Context, network, address string) (net.Conn, error) {
				select {
				case <-time.After(d):
					return alive(ctx, network, address)
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		}
		var all sync.WaitGroup
		for address, d := range map[string]dialer{"host1:22": after(8 * time.Second), "host2:22": after(13 * time.Second), "host3:22": dead} {
			all.Go(func() {
				_, err := p.dial(d)(t.Context(), "tcp", address)
				if lost := address == "host3:22"; lost != errors.Is(err, hostapi.ErrUnreachable) || !lost && err != nil {
					t.Errorf("%s: %v", address, err)
				}
			})
		}
		all.Wait()
		if took, want := time.Since(began), 8*time.Second+afterOthers; took != want {
			t.Errorf("the dead one was given up after %s, want %s", took, want)
		}
	})
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
