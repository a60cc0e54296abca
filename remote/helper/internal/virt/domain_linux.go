package virt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/digitalocean/go-libvirt"

	"vxorch/remote/hostapi"
)

const (
	stateLimit = 30 * time.Second // for a domain to come to a state that it was sent to
	statePoll  = 50 * time.Millisecond

	mebibyte = 1 << 20
)

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

// domain is one as libvirt has it.
type domain struct {
	hostapi.DomainFacts
	handle libvirt.Domain
	state  libvirt.DomainState
}

// active says whether there is a QEMU of d's.
func (d *domain) active() bool {
	return d.state != libvirt.DomainShutoff && d.state != libvirt.DomainCrashed
}

// domain looks the domain up; nil if there is none.
func (c *conn) domain(name string, s store) (*domain, error) {
	handle, err := c.DomainLookupByName(name)
	if err == nil {
		var d *domain
		if d, err = c.readDomain(handle, s); err == nil {
			return d, nil
		}
	}
	if is(err, libvirt.ErrNoDomain) {
		return nil, nil
	}
	return nil, fmt.Errorf("look at domain %s: %w", name, c.classify(err))
}

// Running is nil if lab's domain of that name runs. An empty lab is any.
func (h *Host) Running(ctx context.Context, lab, name string) error {
	_, err := h.runningFacts(ctx, lab, name)
	return err
}

// Emulated says whether lab's running domain is emulated, without KVM.
func (h *Host) Emulated(ctx context.Context, lab, name string) (bool, error) {
	facts, err := h.runningFacts(ctx, lab, name)
	return facts.Emulated, err
}

func (h *Host) runningFacts(ctx context.Context, lab, name string) (hostapi.DomainFacts, error) {
	c, err := h.dial(ctx)
	if err != nil {
		return hostapi.DomainFacts{}, err
	}
	defer c.close()
	d, err := c.running(lab, name, h.store)
	if err != nil {
		return hostapi.DomainFacts{}, err
	}
	return d.DomainFacts, nil
}

func (c *conn) running(lab, name string, s store) (*domain, error) {
	d, err := c.domain(name, s)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, invalid("there is no domain %s", name)
	}
	if lab == "" && d.Mark != nil {
		lab = d.Mark.Lab
	}
	if err := ours(d.Mark, lab, hostapi.KindDomain, name); err != nil {
		return nil, err
	}
	if d.State != stateRunning && d.State != stateCutOff {
		return nil, &hostapi.Error{
			Kind: hostapi.KindInternal, Message: fmt.Sprintf("domain %s is %s", name, d.State),
			Hint: "its end may have left a reason in /var/log/libvirt/qemu/" + name + ".log; deploy starts it again",
		}
	}
	return d, nil
}

// domains gives lab's domains and those of the names asked for.
func (c *conn) domains(lab string, names []string, s store) ([]hostapi.DomainFacts, error) {
	handles, _, err := c.ConnectListAllDomains(1, 0)
	if err != nil {
		return nil, fmt.Errorf("list libvirt's domains: %w", c.classify(err))
	}
	var all []hostapi.DomainFacts
	for _, handle := range handles {
		d, err := c.readDomain(handle, s)
		if is(err, libvirt.ErrNoDomain) {
			continue // removed since they were listed
		}
		if err != nil {
			return nil, fmt.Errorf("look at domain %s: %w", handle.Name, c.classify(err))
		}
		if d.Mark != nil && d.Mark.Lab == lab || slices.Contains(names, d.Name) {
			all = append(all, d.DomainFacts)
		}
	}
	return all, nil
}

func (c *conn) readDomain(handle libvirt.Domain, s store) (*domain, error) {
	live, err := c.definition(handle, 0)
	if err != nil {
		return nil, err
	}
	state, _, err := c.DomainGetState(handle, 0)
	if err != nil {
		return nil, err
	}
	persistent, err := c.DomainIsPersistent(handle)
	if err != nil {
		return nil, err
	}
	var kept *domainXML
	if persistent == 1 {
		if kept, err = c.definition(handle, libvirt.DomainXMLInactive); err != nil {
			return nil, err
		}
	}
	d := &domain{handle: handle, state: libvirt.DomainState(state), DomainFacts: readDefinition(*live, kept, s)}
	d.Name, d.State = handle.Name, stateName(d.state)
	if d.Mark == nil || d.State != stateRunning {
		return d, nil
	}
	if connected, err := c.connected(d); err != nil {
		return nil, err
	} else if !connected {
		d.State = stateCutOff
	}
	return d, nil
}

// definition reads one of a domain's two.
func (c *conn) definition(handle libvirt.Domain, which libvirt.DomainXMLFlags) (*domainXML, error) {
	text, err := c.DomainGetXMLDesc(handle, which)
	if err != nil {
		return nil, err
	}
	d := &domainXML{}
	return d, xml.Unmarshal([]byte(text), d)
}

const stateRunning = "running"

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

// ConsoleLog gives the end of what lab's domain of that name has printed on its
// serial console since it started, at most limit bytes; empty if nothing is
// known.
func (h *Host) ConsoleLog(lab, name string, limit int64) string {
	if checkName(name) != nil {
		return ""
	}
	file, err := os.Open(h.store.log(lab, name))
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > limit {
		if _, err := file.Seek(-limit, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, _ := io.ReadAll(io.LimitReader(file, limit))
	return string(text)
}

// errBusyConsole is what libvirt says of a console that another client holds.
func errBusyConsole(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) && strings.Contains(e.Message, "Active console session exists")
}
