package virt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vxorch/remote/hostapi"
)

// How long one call of a Host may take. libvirt's calls know no deadline of
// their own, and a daemon may hang.
const (
	observeLimit = 30 * time.Second
	changeLimit  = 2 * time.Minute // starting QEMU on a busy machine is in it
	undoLimit    = 30 * time.Second
)

// Host is this machine's libvirt and the store beside it. Safe for concurrent
// use, by one run a lab.
type Host struct {
	sockets []string // of libvirt's daemons, in the order in which they are tried
	store   store
	vcpu    func() bool // whether a vCPU really runs on KVM
	holds   holds
}

// New gives this machine's libvirt. Nothing is touched until it is used.
func New() *Host {
	return &Host{
		// The modular daemon first: where it runs, libvirtd's socket is a proxy's.
		sockets: []string{"/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"},
		store:   store{"/var/lib/libvirt/images/vxorch"},
		vcpu:    sync.OnceValue(vcpuRuns),
	}
}

// Observe reads what q asks for and what bears lab's mark. A machine without a
// libvirt that can run VMs is not an error: Unusable tells. Files of the lab's
// domains that libvirt does not know are reported as domains with an intended
// mark, whether libvirt answers or not.
func (h *Host) Observe(ctx context.Context, lab string, q hostapi.VirtQuery) (*hostapi.VirtFacts, error) {
	ctx, cancel := context.WithTimeout(ctx, observeLimit)
	defer cancel()
	if len(q.Domains) > 0 {
		go h.vcpu() // takes a while where the answer is no, and a domain may be made soon
	}
	facts := &hostapi.VirtFacts{}
	if err := h.observeLibvirt(ctx, lab, q, facts); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read libvirt: %w", err)
		}
		facts.Unusable = hostapi.AsError(err)
		if facts.Unusable.Hint == "" {
			facts.Unusable.Hint = hintPrepare
		}
	}
	if err := h.store.observe(lab, q.Images, facts); err != nil {
		return nil, err
	}
	return facts, nil
}

func (h *Host) observeLibvirt(ctx context.Context, lab string, q hostapi.VirtQuery, facts *hostapi.VirtFacts) error {
	c, err := h.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if facts.Version, err = c.version(); err != nil {
		return err
	}
	if facts.Networks, err = c.networks(lab, q.Networks); err != nil {
		return err
	}
	if facts.Domains, err = c.domains(lab, q.Domains, h.store); err != nil {
		return err
	}
	_, err = c.emulator(typeTCG) // without which what is there can be removed still
	return err
}

// change does something about libvirt's object of that name, on a connection of
// its own and within changeLimit.
func (h *Host) change(ctx context.Context, name string, do func(context.Context, *conn) (changed bool, err error)) (changed bool, err error) {
	if err := checkName(name); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	c, err := h.dial(ctx)
	if err != nil {
		return false, err
	}
	defer c.close()
	return do(ctx, c)
}

// Keeps says whether there is anything of the lab's in the store: as long as a
// domain of its stands there is. It does not touch libvirt.
func (h *Host) Keeps(lab string) bool { return exists(h.store.lab(lab)) }

// Tidy removes the lab's directory in the store if there is nothing in it, and
// the store with the last of its files.
func (h *Host) Tidy(lab string) error { return h.store.tidy(lab) }

func invalid(format string, args ...any) error {
	return hostapi.Errorf(hostapi.KindInvalid, "", format, args...)
}

// ours says whether an object is lab's, by its mark.
func ours(mark *hostapi.Mark, lab, kind, name string) error {
	if mark != nil && mark.Lab == lab {
		return nil
	}
	whose := "not made by vxorch"
	if mark != nil {
		whose = fmt.Sprintf("of lab %q, made by %q from %q", mark.Lab, mark.User, mark.Controller)
	}
	return &hostapi.Error{
		Kind: hostapi.KindForeign, Message: fmt.Sprintf("%s %s exists already, %s", kind, name, whose),
		Hint: "give it another name in the inventory, or remove the other one",
	}
}

// undo runs back, on a connection of its own and also after ctx has ended, and
// adds what goes wrong to err.
func (h *Host) undo(ctx context.Context, err error, back func(*conn) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	c, dialErr := h.dial(ctx)
	if dialErr != nil {
		return errors.Join(err, fmt.Errorf("undo: %w", dialErr))
	}
	defer c.close()
	if backErr := back(c); backErr != nil {
		return errors.Join(err, fmt.Errorf("undo: %w", backErr))
	}
	return err
}
