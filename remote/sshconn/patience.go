package sshconn

import (
	"context"
	"sync"
	"time"
)

// patience bounds a handshake. Its time stands still while the user is asked.
type patience struct {
	ctx    context.Context // ends with the handshake's time
	cancel context.CancelFunc

	mu     sync.Mutex
	limit  time.Duration // 0: has not begun
	timer  *time.Timer
	waited bool // the user was asked, for longer than a moment
}

func newPatience(ctx context.Context) *patience {
	p := &patience{}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// begin starts the time.
func (p *patience) begin(limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit, p.timer = limit, time.AfterFunc(limit, p.cancel)
}

// during runs f, which may wait for the user.
func (p *patience) during(f func()) {
	p.mu.Lock()
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.AfterFunc(userTimeout, p.cancel)
	p.mu.Unlock()
	began := time.Now()
	f()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waited = p.waited || time.Since(began) > time.Second
	p.timer.Stop()
	if p.limit > 0 {
		p.timer = time.AfterFunc(p.limit, p.cancel)
	}
}

// asked tells whether the user was asked for longer than a moment.
func (p *patience) asked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waited
}

// end releases it.
func (p *patience) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	p.cancel()
}
