package route

import (
	"context"
	"sync"
)

// handshakes is how many are in flight at one server, or through one jump host,
// at the same time: sshd drops connections at random from ten that have not
// authenticated yet on (MaxStartups 10:30:100).
const handshakes = 8

// gate limits handshakes in flight. A server that drops one gets fewer.
type gate struct {
	mu      sync.Mutex
	limit   int
	inside  int
	waiting []chan struct{}
}

func (n *Network) gate(server string) *gate {
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.gates[server]
	if g == nil {
		g = &gate{limit: handshakes}
		n.gates[server] = g
	}
	return g
}

// turn waits for a place. What it gives is to be called at the handshake's end.
func (g *gate) turn(ctx context.Context) (func(dropped bool), error) {
	g.mu.Lock()
	if g.inside < g.limit {
		g.inside++
		g.mu.Unlock()
		return g.done, nil
	}
	place := make(chan struct{})
	g.waiting = append(g.waiting, place)
	g.mu.Unlock()
	select {
	case <-place:
		return g.done, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.waiting {
		if w == place {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return nil, context.Cause(ctx)
		}
	}
	g.next(1) // the place came just now: for another
	return nil, context.Cause(ctx)
}

func (g *gate) done(dropped bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if dropped {
		g.limit = max(1, g.limit/2)
	}
	g.next(1)
}

// next gives back places and lets in who waits.
func (g *gate) next(back int) {
	g.inside -= back
	for g.inside < g.limit && len(g.waiting) > 0 {
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
		g.inside++
	}
}

// both waits for a place at two gates.
func both(first, second *gate) func(context.Context) (func(bool), error) {
	return func(ctx context.Context) (func(bool), error) {
		done1, err := first.turn(ctx)
		if err != nil {
			return nil, err
		}
		done2, err := second.turn(ctx)
		if err != nil {
			done1(false)
			return nil, err
		}
		return func(dropped bool) { done2(false); done1(dropped) }, nil
	}
}
