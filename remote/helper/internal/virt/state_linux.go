package virt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/digitalocean/go-libvirt"

	"vxorch/remote/hostapi"
)

const (
	stateLimit = 30 * time.Second // for a domain to come to a state that it was sent to
	statePoll  = 50 * time.Millisecond

	stateRunning = "running"
)

// stateName is virsh's, in one word.
func stateName(s libvirt.DomainState) string {
	switch s {
	case libvirt.DomainRunning, libvirt.DomainBlocked: // on a resource: it runs all the same
		return stateRunning
	case libvirt.DomainPaused:
		return "paused"
	case libvirt.DomainShutdown:
		return "shutting-down"
	case libvirt.DomainShutoff:
		return "shutoff"
	case libvirt.DomainCrashed:
		return "crashed"
	case libvirt.DomainPmsuspended:
		return "suspended"
	}
	return "unknown"
}

// run has d, which is as wanted but for its state, run.
func (h *Host) run(ctx context.Context, c *conn, d *domain, paused func(context.Context) error) error {
	switch d.state {
	case libvirt.DomainRunning, libvirt.DomainBlocked:
		if err := c.connect(d); !errors.Is(err, errNoTap) {
			return err
		}
		if err := c.destroy(d.handle); err != nil {
			return err
		}
	case libvirt.DomainPaused: // at its start, by a run that died, or by hand
		err := c.connect(d)
		if err == nil {
			return c.resume(ctx, d.handle, paused)
		}
		if !errors.Is(err, errNoTap) { // as of one that libvirt died over while it started it
			return err
		}
		if err := c.destroy(d.handle); err != nil {
			return err
		}
	case libvirt.DomainShutdown:
		if err := c.await(d.handle, libvirt.DomainShutoff); err != nil {
			return err
		}
	case libvirt.DomainCrashed, libvirt.DomainPmsuspended:
		if err := c.destroy(d.handle); err != nil {
			return err
		}
	}
	if err := c.start(ctx, d.handle, paused); err != nil {
		return h.undo(ctx, err, func(c *conn) error { return c.destroy(d.handle) })
	}
	return nil
}

func (c *conn) start(ctx context.Context, handle libvirt.Domain, paused func(context.Context) error) error {
	if _, err := c.DomainCreateWithFlags(handle, uint32(libvirt.DomainStartPaused)); err != nil {
		e := hostapi.AsError(fmt.Errorf("start domain %s: %w", handle.Name, c.classify(err)))
		if strings.Contains(e.Message, "Permission denied") {
			e.Kind = hostapi.KindPermission
			e.Hint = "QEMU runs as a user of its own: it has to be allowed to read the image and to pass the directories above it"
		}
		return e
	}
	return c.resume(ctx, handle, paused)
}

func (c *conn) resume(ctx context.Context, handle libvirt.Domain, paused func(context.Context) error) error {
	if paused != nil {
		if err := paused(ctx); err != nil {
			return err
		}
	}
	if err := c.DomainResume(handle); err != nil {
		return fmt.Errorf("resume domain %s: %w", handle.Name, c.classify(err))
	}
	return c.await(handle, libvirt.DomainRunning)
}

// await waits until the domain is in the state that it is on its way to.
func (c *conn) await(handle libvirt.Domain, want libvirt.DomainState) error {
	deadline := time.Now().Add(stateLimit)
	for {
		state, _, err := c.DomainGetState(handle, 0)
		switch {
		case err != nil:
			return fmt.Errorf("read the state of domain %s: %w", handle.Name, c.classify(err))
		case libvirt.DomainState(state) == want:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("domain %s is %s after %v, not %s", handle.Name, stateName(libvirt.DomainState(state)), stateLimit, stateName(want))
		}
		select {
		case <-c.ctx.Done():
			return c.classify(context.Cause(c.ctx))
		case <-time.After(statePoll):
		}
	}
}

// destroy ends a domain at once. One that does not run is fine.
func (c *conn) destroy(handle libvirt.Domain) error {
	if err := c.DomainDestroy(handle); err != nil && !is(err, libvirt.ErrNoDomain) && !is(err, libvirt.ErrOperationInvalid) {
		return fmt.Errorf("stop domain %s: %w", handle.Name, c.classify(err))
	}
	return nil
}
