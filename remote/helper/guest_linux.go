package helper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sync/errgroup"

	"vxorch/remote/helper/internal/console"
	"vxorch/remote/helper/internal/dhcp"
	"vxorch/remote/helper/internal/virt"
	"vxorch/remote/hostapi"
)

const (
	// leastPatience is what a guest that has its addresses needs to answer.
	leastPatience = time.Second
	// consoleTail is how much of its console's end an error about a guest shows, in
	// bytes.
	consoleTail = 800
	// busyPause is the time between two tries of a console that another client holds.
	busyPause = 2 * time.Second
	// mostOpenings is how many times a console is opened that ends without a cause.
	mostOpenings = 3
	// hangUpLimit is how long leaving a console may take.
	hangUpLimit = 5 * time.Second
)

// guest is done when lab's guest answers on its taps for all of its addresses.
// One that does not within its patience is told them on its console where that
// is allowed. note tells of one that is emulated.
func (h *host) guest(ctx context.Context, lab string, w hostapi.Guest) (changed bool, note string, err error) {
	began := time.Now()
	emulated, err := h.virt.Emulated(ctx, lab, w.Domain)
	if err == nil && emulated {
		w.Patience *= hostapi.EmulatedFactor
		w.Deadline *= hostapi.EmulatedFactor
		note = fmt.Sprintf("domain %s is emulated and slow: no vCPU runs on this host's KVM; its guest has %v to answer", w.Domain, w.Deadline)
	}
	within, cancel := context.WithTimeout(ctx, w.Deadline)
	defer cancel()
	var missing []netip.Addr
	if err == nil {
		changed, missing, err = h.awaitGuest(within, lab, w)
	}
	switch {
	case err == nil && len(missing) == 0:
		return changed, note, nil
	case ctx.Err() != nil:
		return changed, note, canceled(ctx)
	}
	// A domain that ended says more than what was missed then.
	stopCtx, stop := context.WithTimeout(ctx, hangUpLimit)
	defer stop()
	notRunning := h.virt.Running(stopCtx, lab, w.Domain)
	var e *hostapi.Error
	switch {
	case notRunning != nil && stopCtx.Err() == nil:
		e = hostapi.AsError(notRunning)
	case err != nil && within.Err() == nil:
		return changed, note, err
	default:
		e = &hostapi.Error{
			Kind:    hostapi.KindInternal,
			Message: fmt.Sprintf("the guest does not answer for %s after %v", texts(missing), time.Since(began).Round(time.Second)),
			Hint:    "look at its console: virsh console " + w.Domain,
		}
		if err != nil { // what was tried at last says why
			tried := hostapi.AsError(err)
			what := tried.Message
			if u := new(console.Unreached); errors.As(err, &u) {
				what = u.What
			}
			e.Kind, e.Message, e.Hint = tried.Kind, e.Message+"; "+what, cmp.Or(tried.Hint, e.Hint)
		}
	}
	if tail := shown(h.virt.ConsoleLog(lab, w.Domain, consoleTail)); tail != "" {
		e.Message += "; its console ends with:\n" + tail
	} else {
		e.Message += "; its console said nothing"
	}
	return changed, note, e
}

// awaitGuest gives the addresses that the guest does not answer for when ctx
// ends; the error is then what kept it from being told them. Before that an error
// is another reason.
func (h *host) awaitGuest(ctx context.Context, lab string, w hostapi.Guest) (changed bool, missing []netip.Addr, err error) {
	// Where there is nothing to do that is soon known.
	if missing, err = silentFor(ctx, leastPatience, w); len(missing) == 0 || err != nil {
		return false, missing, err
	}
	if w.Lease && !h.leasing(w.Domain) {
		if err := h.lease(ctx, w.Domain, w.Interfaces); err != nil {
			return false, nil, err
		}
		defer h.endLeases(w.Domain)
	}
	if !w.Console {
		missing, err = silent(ctx, w)
		return false, missing, err
	}
	if missing, err = silentFor(ctx, w.Patience-leastPatience, w); len(missing) == 0 || err != nil {
		return false, missing, err
	}
	var told error
	for {
		changed, told = h.tellGuest(ctx, lab, w)
		if !w.Lease || !errors.Is(told, hostapi.ErrBusy) || ctx.Err() != nil {
			break
		}
		// Who holds the console may leave it, and the guest may still ask for a lease.
		if missing, err = silentFor(ctx, busyPause, w); len(missing) == 0 || err != nil {
			return false, missing, err
		}
	}
	if told != nil && ctx.Err() == nil {
		return changed, missing, told
	}
	missing, err = silent(ctx, w)
	return changed, missing, cmp.Or(err, told)
}

// tellGuest logs in on the console and gives the guest its addresses, unless it
// answers for all of them before one can log in.
func (h *host) tellGuest(ctx context.Context, lab string, w hostapi.Guest) (changed bool, err error) {
	waiting, enough := context.WithCancel(ctx)
	defer enough()
	answers := make(chan bool, 1)
	go func() {
		missing, err := silent(waiting, w)
		if err == nil && len(missing) == 0 {
			answers <- true
			enough()
		}
	}()
	err = h.onConsole(waiting, lab, w, func(c *console.Console) error {
		changed = true
		var all []console.Interface
		for _, i := range w.Interfaces {
			all = append(all, console.Interface{MAC: i.MAC, MTU: i.MTU, Addresses: i.Addresses})
		}
		return c.SetAddresses(ctx, all)
	})
	select {
	case <-answers:
		return changed, nil
	default:
		return changed, err
	}
}

// onConsole logs in on the guest's console for do. Of one domain's console one
// at a time is used.
func (h *host) onConsole(ctx context.Context, lab string, w hostapi.Guest, do func(*console.Console) error) error {
	giveBack, err := h.takeConsole(ctx, w.Domain)
	if err != nil {
		return err
	}
	defer giveBack()
	var c *console.Console
	for try := 1; ; try++ {
		var again bool
		if c, again, err = h.logIn(ctx, lab, w); err == nil {
			break
		}
		if !again || try == mostOpenings || ctx.Err() != nil {
			return err
		}
	}
	defer c.Close()
	err = do(c)
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangUpLimit)
	defer cancel()
	return errors.Join(err, c.Leave(leave))
}

// logIn opens the guest's console and logs in. again: libvirt's daemon has ended
// the console without a cause, as it sometimes does with one that it has just
// opened; a domain that is gone it does not open again.
func (h *host) logIn(ctx context.Context, lab string, w hostapi.Guest) (c *console.Console, again bool, err error) {
	var stream *virt.Terminal
	if a := h.takeAhead(lab, w.Domain); a != nil {
		c, stream = a.console, a.stream
	} else {
		if stream, err = h.virt.Console(ctx, lab, w.Domain); err != nil {
			return nil, false, err
		}
		c = console.New(stream, console.Options{})
	}
	if err = c.Login(ctx, w.Login.User, w.Login.Password); err == nil {
		return c, false, nil
	}
	again = stream.Ended()
	if cause := stream.Cause(); cause != nil && ctx.Err() == nil {
		again, err = false, cause
	}
	c.Close()
	return nil, again, err
}

// takeConsole waits for the turn on a domain's console.
func (h *host) takeConsole(ctx context.Context, domain string) (giveBack func(), err error) {
	turn := h.turn(domain)
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// turn holds an element while somebody has the turn on a domain's console.
func (h *host) turn(domain string) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	turn := h.consoles[domain]
	if turn == nil {
		turn = make(chan struct{}, 1)
		h.consoles[domain] = turn
	}
	return turn
}

// silentFor is silent for at most d.
func silentFor(ctx context.Context, d time.Duration, w hostapi.Guest) (missing []netip.Addr, err error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return silent(ctx, w)
}

// silent waits until the guest answers for every address of w, or ctx ends, and
// gives those that it does not answer for.
func silent(ctx context.Context, w hostapi.Guest) (missing []netip.Addr, err error) {
	type question struct {
		tap      string
		addr     netip.Addr
		answered bool
	}
	var all []*question
	var group errgroup.Group
	for _, i := range w.Interfaces {
		for _, p := range i.Addresses {
			q := &question{tap: i.Tap, addr: p.Addr()}
			all = append(all, q)
			group.Go(func() (err error) {
				q.answered, err = dhcp.Answers(ctx, q.tap, q.addr)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, q := range all {
		if !q.answered {
			missing = append(missing, q.addr)
		}
	}
	return missing, nil
}

func texts(addresses []netip.Addr) string {
	var all []string
	for _, a := range addresses {
		all = append(all, a.String())
	}
	return strings.Join(all, ", ")
}

// shown is a console's text without what would move the cursor of whoever reads
// it.
func shown(text string) string {
	text = strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || r == unicode.ReplacementChar) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return strings.TrimSpace(text)
}
