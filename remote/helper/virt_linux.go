package helper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"vxorch/remote/helper/internal/dhcp"
	"vxorch/remote/hostapi"
)

var _ hostapi.Cleaner = (*host)(nil)

// isVirtual says whether a step's object is one of virtual machines. A step with
// several objects is refused with the others.
func isVirtual(s hostapi.Step) bool {
	for _, other := range []bool{s.VTEP != nil, s.Bridge != nil, s.Namespace != nil, s.Veth != nil, s.Address != nil} {
		if other {
			return false
		}
	}
	objects := 0
	for _, set := range []bool{s.VirtNetwork != nil, s.Domain != nil, s.Guest != nil} {
		if set {
			objects++
		}
	}
	return objects == 1
}

// virtual does a step of virtual machines for mark's lab.
func (h *host) virtual(ctx context.Context, mark hostapi.Mark, step hostapi.Step) (changed bool, note string, err error) {
	kind, name := step.Object()
	remove := step.Op == hostapi.Remove
	switch {
	case step.Guest == nil && !slices.Contains([]hostapi.Op{hostapi.Create, hostapi.Update, hostapi.Rebuild, hostapi.Remove}, step.Op):
		err = &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("there is no operation %q", step.Op)}
	case remove && step.VirtNetwork != nil:
		changed, err = h.virt.RemoveNetwork(ctx, mark.Lab, name)
	case remove && step.Domain != nil:
		h.closeAhead(ctx, name)
		h.endLeases(name)
		changed, err = h.virt.RemoveDomain(ctx, mark.Lab, name)
	case remove:
		err = &hostapi.Error{Kind: hostapi.KindInvalid, Message: "a guest goes with its domain"}
	case step.VirtNetwork != nil:
		changed, err = h.virt.EnsureNetwork(ctx, mark, *step.VirtNetwork)
	case step.Domain != nil:
		h.closeAhead(ctx, name)
		changed, note, err = h.domain(ctx, mark, *step.Domain)
	case step.Guest != nil:
		changed, note, err = h.guest(ctx, mark.Lab, *step.Guest)
	}
	if err != nil {
		err = fmt.Errorf("%s %s %s: %w", step.Op, kind, name, err)
	}
	return changed, note, err
}

// domain has the domain stand and run, its guest's DHCP requests answered from
// the first one on where that is wanted.
func (h *host) domain(ctx context.Context, mark hostapi.Mark, w hostapi.Domain) (changed bool, note string, err error) {
	return h.virt.EnsureDomain(ctx, mark, w, func(ctx context.Context) error {
		h.endLeases(w.Name) // on the taps of a domain that is no more
		if err := hush(w); err != nil {
			return err
		}
		if !w.Lease {
			return nil
		}
		return h.lease(ctx, w.Name, w.Interfaces)
	})
}

// hush has the host speak no IPv6 on the domain's taps: like the lab's other links
// they are no way to the host's daemons. libvirt makes them and sets them up, so
// that they have a link-local address by now, which goes.
func hush(w hostapi.Domain) error {
	for _, i := range w.Interfaces {
		err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", i.Tap, "disable_ipv6"), []byte("1"), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
			return fmt.Errorf("turn IPv6 off on %s: %w", i.Tap, err)
		}
	}
	return nil
}

// lease answers the DHCP requests of a domain's guest until endLeases.
func (h *host) lease(ctx context.Context, domain string, interfaces []hostapi.DomainInterface) error {
	for _, i := range interfaces {
		lease := dhcp.Lease{MAC: i.MAC, Address: leased(i), MTU: i.MTU, Hostname: domain}
		// What it serves, it serves for the session, not for this step.
		server, err := dhcp.Serve(context.WithoutCancel(ctx), i.Tap, []dhcp.Lease{lease})
		if err != nil {
			h.endLeases(domain)
			return fmt.Errorf("answer DHCP on %s: %w", i.Tap, err)
		}
		h.mu.Lock()
		h.leases[domain] = append(h.leases[domain], server)
		h.mu.Unlock()
	}
	return nil
}

// leased is what an interface's MAC has a lease of: its first IPv4 address. One
// that has none gets what a guest gives itself that nobody answers (RFC 3927), so
// that it does not wait for minutes before it looks for its seed.
func leased(i hostapi.DomainInterface) netip.Prefix {
	for _, a := range i.Addresses {
		if a.Addr().Is4() {
			return a
		}
	}
	return dhcp.LinkLocal(i.MAC)
}

// leasing says whether the domain's guest has its DHCP requests answered.
func (h *host) leasing(domain string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.leases[domain]) > 0
}

// endLeases ends what lease began for a domain.
func (h *host) endLeases(domain string) {
	h.mu.Lock()
	servers := h.leases[domain]
	delete(h.leases, domain)
	h.mu.Unlock()
	for _, s := range servers {
		_ = s.Close() // what it may fail at goes with the tap
	}
}

// PutImage is hostapi.ImageStore's.
func (h *host) PutImage(ctx context.Context, chunk hostapi.ImageChunk) (have int64, err error) {
	done, err := h.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	if _, err := h.locked(chunk.Lab); err != nil {
		return 0, err
	}
	have, err = h.virt.PutImage(ctx, chunk)
	if err != nil {
		return 0, failure(ctx, err)
	}
	return have, nil
}

// othersAtWork says whether another session holds a lab's lock on this machine.
func (h *host) othersAtWork() (bool, error) {
	held, err := h.store.Held()
	if err != nil {
		return false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(held, func(lab string) bool { return h.locks[lab] == nil }), nil
}

// Clean is hostapi.Cleaner's.
func (h *host) Clean(ctx context.Context) (removed []string, err error) {
	done, err := h.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	atWork, err := h.othersAtWork()
	if err != nil {
		return nil, failure(ctx, err)
	}
	images, imagesErr := h.virt.Clean(ctx, atWork)
	helpers, helpersErr := cleanHelpers(h.source)
	removed = append(helpers, images...)
	if err := errors.Join(helpersErr, imagesErr); err != nil {
		return removed, failure(ctx, err)
	}
	return removed, nil
}
