package helper

import (
	"context"
	"time"

	"vxorch/remote/helper/internal/console"
	"vxorch/remote/helper/internal/virt"
)

const (
	// aheadLimit is how long a console that was opened ahead is kept from others for
	// somebody who needs it.
	aheadLimit = 10 * time.Second
	// openingLimit is how long opening one may take.
	openingLimit = 2 * time.Second
)

// ahead is a guest's console that was opened before there is anything to say to the
// guest: QEMU looks once a second whether somebody is at it, and meanwhile the host
// can do other things. Who has the turn on the console may take it.
type ahead struct {
	lab     string // whose domain it is
	console *console.Console
	stream  *virt.Terminal
}

// openAhead begins to open the consoles of those of the domains that run and are
// lab's. Nothing is typed but a terminal's answers to a guest that asks. What cannot
// be opened is no error: who needs it will see.
func (h *host) openAhead(ctx context.Context, lab string, domains []string) {
	ctx = context.WithoutCancel(ctx) // they are for the session
	for _, domain := range domains {
		turn := h.turn(domain)
		select {
		case turn <- struct{}{}:
		default: // somebody is at it
			continue
		}
		h.mu.Lock()
		open := h.ahead[domain] != nil
		h.mu.Unlock()
		if open {
			<-turn
			continue
		}
		go func() {
			defer func() { <-turn }()
			ctx, cancel := context.WithCancel(ctx)
			slow := time.AfterFunc(openingLimit, cancel)
			stream, err := h.virt.Console(ctx, lab, domain)
			inTime := slow.Stop()
			if err != nil {
				cancel()
				return
			}
			a := &ahead{lab, console.New(stream, console.Options{}), stream}
			if !inTime { // its connection ends
				a.close()
				return
			}
			h.mu.Lock()
			h.ahead[domain] = a
			h.mu.Unlock()
			time.AfterFunc(h.aheadLimit, func() { h.expire(domain, a) })
		}()
	}
}

// takeAhead gives the domain's console if it was opened ahead for lab, whichever it
// is if lab is empty, and is open still; else nil. Who has the turn may call it.
func (h *host) takeAhead(lab, domain string) *ahead {
	h.mu.Lock()
	a := h.ahead[domain]
	delete(h.ahead, domain)
	h.mu.Unlock()
	if a != nil && (lab != "" && lab != a.lab || a.stream.Ended()) {
		a.console.Close()
		return nil
	}
	return a
}

// expire closes a if nobody has taken it.
func (h *host) expire(domain string, a *ahead) {
	turn := h.turn(domain)
	turn <- struct{}{}
	defer func() { <-turn }()
	h.mu.Lock()
	kept := h.ahead[domain] == a
	h.mu.Unlock()
	if kept {
		h.takeAhead("", domain).close()
	}
}

// closeAhead closes the domain's console if it was opened ahead and nobody has taken
// it. It waits for one that is being opened, and for a moment for who has the turn.
func (h *host) closeAhead(ctx context.Context, domain string) {
	ctx, cancel := context.WithTimeout(ctx, hangUpLimit)
	defer cancel()
	giveBack, err := h.takeConsole(ctx, domain)
	if err != nil {
		return // who has the turn has taken it
	}
	defer giveBack()
	h.takeAhead("", domain).close()
}

func (a *ahead) close() {
	if a != nil {
		a.console.Close()
	}
}
