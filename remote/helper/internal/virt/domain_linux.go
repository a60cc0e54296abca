package virt

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/digitalocean/go-libvirt"

	"vxorch/remote/hostapi"
)

const mebibyte = 1 << 20

// EnsureDomain brings the domain to the wanted state, running, from whatever it
// finds, and tells whether it had to change anything; note tells what was done by
// hand and is undone. m is whom it is marked for. While the domain is paused at
// its start, its taps there, paused is called if it is not nil.
func (h *Host) EnsureDomain(ctx context.Context, m hostapi.Mark, w hostapi.Domain, paused func(context.Context) error) (changed bool, note string, err error) {
	if err := checkDomain(w); err != nil {
		return false, "", err
	}
	changed, err = h.change(ctx, w.Name, func(ctx context.Context, c *conn) (changed bool, err error) {
		changed, note, err = h.ensureDomain(ctx, c, m, w, paused)
		return changed, err
	})
	return changed, note, err
}

func (h *Host) ensureDomain(ctx context.Context, c *conn, m hostapi.Mark, w hostapi.Domain, paused func(context.Context) error) (changed bool, note string, err error) {
	d, err := c.domain(w.Name, h.store)
	if err != nil {
		return false, "", err
	}
	if d != nil {
		if err := ours(d.Mark, m.Lab, hostapi.KindDomain, w.Name); err != nil {
			return false, "", err
		}
		changes, rebuild := w.Diff(d.DomainFacts)
		if len(changes) == 0 {
			return false, "", nil
		}
		if !rebuild {
			note, err := h.mend(c, m, w, d)
			if err == nil {
				err = h.run(ctx, c, d, paused)
			}
			return true, note, err
		}
	}
	// Before anything is taken away: whether the new one can be made.
	path, base, err := h.store.image(w.Image)
	if err == nil && w.Image.Sum != "" {
		err = checkSum(ctx, path, w.Image.Sum)
	}
	if err != nil {
		return false, "", err
	}
	text, err := h.define(c, m, w, path, base, "")
	if err != nil {
		return false, "", err
	}
	if _, err := h.removeDomain(c, m.Lab, w.Name, d); err != nil {
		return true, "", err
	}
	if err := h.makeDomain(ctx, c, m, w, path, base, text, paused); err != nil {
		return true, "", h.undo(ctx, err, func(c *conn) error {
			d, err := c.domain(w.Name, h.store)
			if err != nil {
				return err
			}
			if d != nil && ours(d.Mark, m.Lab, hostapi.KindDomain, w.Name) != nil {
				d = nil // another took the name meanwhile: the files alone are ours
			}
			_, err = h.removeDomain(c, m.Lab, w.Name, d)
			return err
		})
	}
	return true, "", nil
}

// define writes the definition of w, whose disk stands on base, the file at path.
// uuid is that of the domain, where it is there already.
func (h *Host) define(c *conn, m hostapi.Mark, w hostapi.Domain, path string, base disk, uuid string) (text string, err error) {
	kind, caps, err := h.virtType(c)
	if err != nil {
		return "", err
	}
	return definition{Domain: w, kind: kind, caps: caps, store: h.store, base: base, uuid: uuid, mark: mark{
		Lab: m.Lab, For: w.For, User: m.User, Controller: m.Controller, Spec: w.Spec(), Image: path,
	}}.text()
}

// mend has libvirt keep w's definition of d, whose disk stays as it is, if it
// keeps none or another. Where d runs it goes on, unless it runs otherwise than w
// says: then it is off when mend returns.
func (h *Host) mend(c *conn, m hostapi.Mark, w hostapi.Domain, d *domain) (note string, err error) {
	runsAs := w.RunsAs(d.DomainFacts)
	if runsAs && d.Kept == hostapi.KeptOurs {
		return "", nil
	}
	path, base, err := h.store.image(w.Image)
	if err != nil {
		return "", err
	}
	text, err := h.define(c, m, w, path, base, uuidText(d.handle.UUID))
	if err != nil {
		return "", err
	}
	if _, err := c.DomainDefineXML(text); err != nil {
		return "", fmt.Errorf("define domain %s again: %w", w.Name, c.classify(err))
	}
	note = "domain " + w.Name + " was defined otherwise by hand: it is defined as planned again"
	if d.Kept == hostapi.KeptNone {
		note = "domain " + w.Name + " was undefined by hand: it is defined again"
	}
	switch {
	case !d.active():
		return note + ", its disk as it was", nil
	case runsAs:
		return note + ", and its guest goes on", nil
	}
	if err := c.destroy(d.handle); err != nil {
		return note, err
	}
	d.state = libvirt.DomainShutoff
	return note + " and starts anew, its disk as it was", nil
}

func uuidText(u libvirt.UUID) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// RemoveDomain removes lab's domain of that name and its files, as far as they
// are there.
func (h *Host) RemoveDomain(ctx context.Context, lab, name string) (changed bool, err error) {
	return h.change(ctx, name, func(_ context.Context, c *conn) (bool, error) {
		d, err := c.domain(name, h.store)
		if err != nil {
			return false, err
		}
		if d != nil {
			if err := ours(d.Mark, lab, hostapi.KindDomain, name); err != nil {
				return false, err
			}
		}
		return h.removeDomain(c, lab, name, d)
	})
}

// checkDomain refuses what libvirt would take for something else, or would
// refuse only after files were made.
func checkDomain(w hostapi.Domain) error {
	switch {
	case w.Memory < mebibyte || w.Memory%mebibyte != 0:
		return invalid("%d bytes of memory are not whole MiB", w.Memory) // QEMU would round it up
	case w.VCPUs < 1:
		return invalid("a domain of %d CPUs", w.VCPUs)
	case !slices.Contains([]string{"virtio", "sata", "ide", "scsi"}, w.DiskBus):
		return invalid("there is no disk bus %q", w.DiskBus)
	}
	for _, i := range w.Interfaces {
		mac, err := net.ParseMAC(i.MAC)
		switch {
		case err != nil || len(mac) != 6 || mac[0]&1 != 0:
			return invalid("%q is not the MAC address of an interface", i.MAC)
		case len(i.Tap) < 1 || len(i.Tap) > 15 || strings.HasPrefix(i.Tap, "vnet") || strings.ContainsAny(i.Tap, "/% "):
			return invalid("%q cannot name a tap: want 1 to 15 characters, not vnet…, which are libvirt's own", i.Tap)
		case i.MTU < 68 || i.MTU > 65535:
			return invalid("an MTU of %d bytes", i.MTU)
		}
	}
	if w.VNC != nil {
		if _, err := netip.ParseAddr(w.VNC.Listen); err != nil || w.VNC.Port < 0 || w.VNC.Port > 65535 {
			return invalid("VNC cannot listen on %q, port %d", w.VNC.Listen, w.VNC.Port)
		}
	}
	return nil
}

// makeDomain makes the domain, of which nothing is there, and starts it.
func (h *Host) makeDomain(ctx context.Context, c *conn, m hostapi.Mark, w hostapi.Domain, path string, base disk, text string, paused func(context.Context) error) error {
	if err := h.store.makeDisks(m, w, path, base); err != nil {
		return err
	}
	handle, err := c.DomainDefineXML(text)
	if err != nil {
		return fmt.Errorf("define domain %s: %w", w.Name, c.classify(err))
	}
	return c.start(ctx, handle, paused)
}

// removeDomain removes d, nil if libvirt has none, and its files.
func (h *Host) removeDomain(c *conn, lab, name string, d *domain) (changed bool, err error) {
	if d != nil {
		if err := c.destroy(d.handle); err != nil {
			return false, err
		}
		const all = libvirt.DomainUndefineNvram | libvirt.DomainUndefineManagedSave | libvirt.DomainUndefineSnapshotsMetadata
		if err := c.DomainUndefineFlags(d.handle, all); err != nil && !is(err, libvirt.ErrNoDomain) {
			return true, fmt.Errorf("undefine domain %s: %w", name, c.classify(err))
		}
	}
	files, err := h.store.removeFiles(lab, name)
	return files || d != nil, err
}
