package virt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/virt/virttest"
	"vxorch/remote/hostapi"
)

// whose has what could be mistaken for XML in it.
var whose = hostapi.Mark{Lab: "lu", User: `al"ice`, Controller: `<lap&top>'`}

// site is a host with libvirt, a bridge and an image.
type site struct {
	*testing.T
	*Host
	daemon *virttest.Daemon
	image  string // SHA-256 of an empty disk
}

// newSite compares what there is at the end with what there was at the
// beginning.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{T: t, Host: New(), daemon: virttest.Start(t)}
	s.vcpu = func() bool { return false }
	before := virttest.Snapshot(t)
	for _, name := range []string{"br0", "br1"} {
		s.bridge(name)
	}
	t.Cleanup(func() {
		for _, name := range []string{"br0", "br1"} {
			if bridge, err := netlink.LinkByName(name); err != nil || netlink.LinkDel(bridge) != nil {
				t.Errorf("bridge %s: %v", name, err)
			}
		}
		if _, err := s.Clean(context.Background(), false); err != nil {
			t.Error(err)
		}
		if err := s.Tidy("lu"); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(before, virttest.Snapshot(t)); diff != "" {
			t.Errorf("left behind (-before +after):\n%s", diff)
		}
	})
	data, err := os.ReadFile(image(t, "qcow2", 16<<20))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	s.image = hex.EncodeToString(sum[:])
	if err := s.put(t.Context(), data, s.image, maxChunk); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) bridge(name string) {
	s.Helper()
	a := netlink.NewLinkAttrs()
	a.Name = name
	link := &netlink.Bridge{LinkAttrs: a}
	if err := errors.Join(netlink.LinkAdd(link), netlink.LinkSetUp(link)); err != nil {
		s.Fatal(err)
	}
}

func (s *site) seen() *hostapi.VirtFacts {
	s.Helper()
	f, err := s.Observe(s.Context(), "lu", hostapi.VirtQuery{Networks: []string{"nw"}, Domains: []string{"vm"}})
	if err != nil || f.Unusable != nil {
		s.Fatalf("Observe: %v, %v", f, err)
	}
	return f
}

func wantedNetwork() hostapi.VirtNetwork {
	return hostapi.VirtNetwork{Name: "nw", For: "lu-br0", Bridge: "br0"}
}

func (s *site) wantedDomain() hostapi.Domain {
	return hostapi.Domain{
		Name: "vm", For: "vm1", Image: hostapi.Image{SHA256: s.image}, Memory: 64 << 20, VCPUs: 1, DiskBus: "virtio",
		Interfaces: []hostapi.DomainInterface{{
			Network: "nw", Tap: "tap0", Model: "virtio", MAC: "02:00:00:00:00:04", MTU: 1450,
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.100.21/24")},
		}},
	}
}

// ensureNetwork checks that something, or nothing, had to be changed and that
// the network is as wanted then.
func (s *site) ensureNetwork(want bool) {
	s.Helper()
	w := wantedNetwork()
	if changed, err := s.EnsureNetwork(s.Context(), whose, w); err != nil || changed != want {
		s.Errorf("EnsureNetwork = %t, %v; want %t", changed, err, want)
	}
	n := s.seen().Networks
	if len(n) != 1 {
		s.Fatalf("networks %+v, want one", n)
	}
	mark := whose
	mark.For = w.For
	if diff := cmp.Diff(hostapi.VirtNetworkFacts{Name: "nw", Mark: &mark, Forward: "bridge", Bridge: "br0", Active: true, Autostart: true}, n[0]); diff != "" {
		s.Errorf("network (-want +got):\n%s", diff)
	}
}

func (s *site) ensureDomain(w hostapi.Domain, want bool) {
	s.Helper()
	if changed, _, err := s.EnsureDomain(s.Context(), whose, w, nil); err != nil || changed != want {
		s.Errorf("EnsureDomain = %t, %v; want %t", changed, err, want)
	}
	d := s.seen().Domains
	if len(d) != 1 {
		s.Fatalf("domains %+v, want one", d)
	}
	if changes, _ := w.Diff(d[0]); len(changes) > 0 {
		s.Errorf("domain: %v", changes)
	}
	mark := whose
	mark.For = w.For
	if diff := cmp.Diff(&mark, d[0].Mark); diff != "" {
		s.Errorf("mark (-want +got):\n%s", diff)
	}
}

func (s *site) removeAll() {
	s.Helper()
	_, err := s.RemoveDomain(s.Context(), "lu", "vm")
	_, nwErr := s.RemoveNetwork(s.Context(), "lu", "nw")
	if err := errors.Join(err, nwErr); err != nil {
		s.Error(err)
	}
}

// define has libvirt take what edit makes of an object's definition.
func (s *site) define(dump, define []string, edit func(string) string) {
	s.Helper()
	path := filepath.Join(s.TempDir(), "edited.xml")
	if err := os.WriteFile(path, []byte(edit(virttest.Virsh(s, dump...))), 0o600); err != nil {
		s.Fatal(err)
	}
	virttest.Virsh(s, append(define, path)...)
}

func TestNetworkConverges(t *testing.T) {
	s := newSite(t)
	for name, spoil := range map[string]func(){
		"nothing there":          func() { s.removeAll() },
		"stopped":                func() { virttest.Virsh(t, "net-destroy", "nw") },
		"not started by itself":  func() { virttest.Virsh(t, "net-autostart", "nw", "--disable") },
		"undefined while active": func() { virttest.Virsh(t, "net-undefine", "nw") },
		"of another bridge": func() {
			virttest.Virsh(t, "net-destroy", "nw")
			s.define([]string{"net-dumpxml", "nw"}, []string{"net-define"}, func(x string) string { return strings.ReplaceAll(x, "br0", "br1") })
			virttest.Virsh(t, "net-start", "nw")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.T = t
			if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
				t.Fatal(err)
			}
			spoil()
			s.ensureNetwork(true)
			s.ensureNetwork(false)
		})
	}
	s.T = t
	s.removeAll()
}

func TestDomainConverges(t *testing.T) {
	s := newSite(t)
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	overlay := s.store.disk("lu", "vm")
	redefine := func(from, to string) {
		s.Helper()
		virttest.Redefine(s, "vm", func(x string) string { return strings.ReplaceAll(x, from, to) })
	}
	for name, c := range map[string]struct {
		spoil   func()
		rebuilt bool // has a new disk
	}{
		"nothing there": {func() {
			if _, err := s.RemoveDomain(t.Context(), "lu", "vm"); err != nil {
				t.Fatal(err)
			}
		}, true},
		"off":                     {func() { virttest.Virsh(t, "destroy", "vm") }, false},
		"paused":                  {func() { virttest.Virsh(t, "suspend", "vm") }, false},
		"saved by its manager":    {func() { virttest.Virsh(t, "managedsave", "vm") }, false},
		"undefined while running": {func() { virttest.Virsh(t, "undefine", "vm") }, false},
		"undefined while paused": {func() {
			virttest.Virsh(t, "suspend", "vm")
			virttest.Virsh(t, "undefine", "vm")
		}, false},
		"undefined, its disk left": {func() {
			virttest.Virsh(t, "destroy", "vm")
			virttest.Virsh(t, "undefine", "vm")
		}, true},
		"disk gone": {func() {
			if err := os.Remove(overlay); err != nil {
				t.Fatal(err)
			}
		}, true},
		"disk cut short": {func() {
			if err := os.Truncate(overlay, 10); err != nil {
				t.Fatal(err)
			}
		}, true},
		"less memory while off": {func() {
			virttest.Virsh(t, "destroy", "vm")
			redefine("65536", "61440")
		}, false},
		"runs with another MAC": {func() {
			redefine("02:00:00:00:00:04", "02:00:00:00:00:05")
			virttest.Virsh(t, "destroy", "vm")
			virttest.Virsh(t, "start", "vm")
		}, false},
		"another disk while running":  {func() { redefine("/vm.qcow2", "/other.qcow2") }, false},
		"another log while running":   {func() { redefine("/vm.console.log", "/other.log") }, false},
		"another model while running": {func() { redefine("<model type='virtio'/>", "<model type='e1000'/>") }, false},
		"bridge made anew": {func() {
			bridge, err := netlink.LinkByName("br0")
			if err != nil {
				t.Fatal(err)
			}
			if err := netlink.LinkDel(bridge); err != nil {
				t.Fatal(err)
			}
			s.bridge("br0")
		}, false},
		"tap gone": {func() {
			tap, err := netlink.LinkByName("tap0")
			if err != nil {
				t.Fatal(err)
			}
			if err := netlink.LinkDel(tap); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s.T = t
			w := s.wantedDomain()
			if _, _, err := s.EnsureDomain(t.Context(), whose, w, nil); err != nil {
				t.Fatal(err)
			}
			before, err := os.Stat(overlay)
			if err != nil {
				t.Fatal(err)
			}
			c.spoil()
			s.ensureDomain(w, true)
			s.ensureDomain(w, false)
			after, err := os.Stat(overlay)
			if err != nil {
				t.Fatal(err)
			}
			if rebuilt := !os.SameFile(before, after); rebuilt != c.rebuilt && name != "disk cut short" {
				t.Errorf("has a new disk: %t, want %t", rebuilt, c.rebuilt)
			}
			tap, err := netlink.LinkByName("tap0")
			if err != nil {
				t.Fatal(err)
			}
			bridge, err := netlink.LinkByName("br0")
			if err != nil {
				t.Fatal(err)
			}
			if tap.Attrs().MasterIndex != bridge.Attrs().Index || tap.Attrs().MTU != 1450 {
				t.Errorf("tap %+v, want it a port of br0 with an MTU of 1450", tap.Attrs())
			}
		})
	}
	s.T = t
	s.removeAll()
}

func TestDomainThatCannotStartLeavesNothing(t *testing.T) {
	s := newSite(t)
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	before := virttest.Snapshot(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := errors.New("no lease")
	busy := s.wantedDomain()
	busy.Interfaces[0].Tap = "br1"
	unknown := s.wantedDomain()
	unknown.Machine = "pdp-11"
	for name, c := range map[string]struct {
		domain hostapi.Domain
		ctx    context.Context
		paused func(context.Context) error
	}{
		"the caller fails":                   {s.wantedDomain(), t.Context(), func(context.Context) error { return failed }},
		"the caller gave up":                 {s.wantedDomain(), ctx, func(context.Context) error { cancel(); return nil }},
		"its tap's name is taken by another": {busy, t.Context(), nil},
		"its machine is unknown":             {unknown, t.Context(), nil},
	} {
		changed, _, err := s.EnsureDomain(c.ctx, whose, c.domain, c.paused)
		if err == nil || (c.ctx == ctx) != errors.Is(err, hostapi.ErrCanceled) {
			t.Errorf("%s: EnsureDomain = %t, %v; want an error", name, changed, err)
		}
		if diff := cmp.Diff(before, virttest.Snapshot(t)); diff != "" {
			t.Errorf("%s: left behind (-before +after):\n%s", name, diff)
		}
	}
	s.removeAll()
}

func TestDomainIsPausedUntilTheCallerIsReady(t *testing.T) {
	s := newSite(t)
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	calls := 0
	if _, _, err := s.EnsureDomain(t.Context(), whose, s.wantedDomain(), func(context.Context) error {
		calls++
		if state := virttest.Virsh(t, "domstate", "vm"); state != "paused" {
			t.Errorf("the domain is %s, want paused", state)
		}
		if _, err := netlink.LinkByName("tap0"); err != nil {
			t.Errorf("its tap: %v", err)
		}
		return nil
	}); err != nil || calls != 1 {
		t.Errorf("EnsureDomain: %v, %d calls", err, calls)
	}
	s.removeAll()
}

func TestEveryKindOfDomainStarts(t *testing.T) {
	s := newSite(t)
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*hostapi.Domain){
		"sata": func(d *hostapi.Domain) { d.DiskBus = "sata" },
		"ide":  func(d *hostapi.Domain) { d.DiskBus = "ide" },
		"scsi": func(d *hostapi.Domain) { d.DiskBus = "scsi" },
		"q35":  func(d *hostapi.Domain) { d.Machine = "q35" },
		"VNC":  func(d *hostapi.Domain) { d.VNC = &hostapi.VNC{Listen: "127.0.0.1"} },
		"VNC with a password": func(d *hostapi.Domain) {
			d.VNC = &hostapi.VNC{Listen: "::1", Port: 5999, Password: "longer than eight"}
		},
		"e1000":                  func(d *hostapi.Domain) { d.Interfaces[0].Model = "e1000" },
		"two CPUs, no interface": func(d *hostapi.Domain) { d.VCPUs, d.Interfaces = 2, nil },
		"an image by its path":   func(d *hostapi.Domain) { d.Image = hostapi.Image{Path: image(t, "raw", 1<<20)} },
		"an odd name":            func(d *hostapi.Domain) { d.Name = "v m+é.1" },
	} {
		t.Run(name, func(t *testing.T) {
			w := s.wantedDomain()
			w.Seed = []byte(strings.Repeat("seed", 512))
			edit(&w)
			for _, want := range []bool{true, false} {
				if changed, _, err := s.EnsureDomain(t.Context(), whose, w, nil); err != nil || changed != want {
					t.Errorf("EnsureDomain = %t, %v; want %t", changed, err, want)
				}
			}
			if changed, err := s.RemoveDomain(t.Context(), "lu", w.Name); err != nil || !changed {
				t.Errorf("RemoveDomain = %t, %v", changed, err)
			}
		})
	}
	s.removeAll()
}

func TestImageGivenByItsPathStaysAsItIs(t *testing.T) {
	s := newSite(t)
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	path := image(t, "raw", 1<<20)
	if err := os.Chown(path, 1000, 1001); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	w := s.wantedDomain()
	w.Image = hostapi.Image{Path: path, Sum: strings.Repeat("0", 64)}
	if _, _, err := s.EnsureDomain(t.Context(), whose, w, nil); !errors.Is(err, hostapi.ErrInvalid) || !strings.Contains(err.Error(), "not 0000") {
		t.Errorf("with another sum: %v, want ErrInvalid that names it", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w.Image.Sum = fmt.Sprintf("%x", sha256.Sum256(data))
	s.ensureDomain(w, true)
	w.Image.Sum = "" // what it has to be is no part of what it is
	s.ensureDomain(w, false)
	for _, when := range []string{"while the VM runs", "when it is gone"} {
		after, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		owner := after.Sys().(*syscall.Stat_t)
		if owner.Uid != 1000 || owner.Gid != 1001 || after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
			t.Errorf("%s: the image is %v, of %d:%d, modified %v", when, after.Mode(), owner.Uid, owner.Gid, after.ModTime())
		}
		s.removeAll()
	}
}

func TestOtherLabsThingsAreForeign(t *testing.T) {
	s := newSite(t)
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	s.ensureDomain(s.wantedDomain(), true)
	other := hostapi.Mark{Lab: "other"}
	_, ensureNetwork := s.EnsureNetwork(t.Context(), other, wantedNetwork())
	_, removeNetwork := s.RemoveNetwork(t.Context(), "other", "nw")
	_, _, ensureDomain := s.EnsureDomain(t.Context(), other, s.wantedDomain(), nil)
	_, removeDomain := s.RemoveDomain(t.Context(), "other", "vm")
	_, console := s.Console(t.Context(), "other", "vm")
	for name, err := range map[string]error{
		"EnsureNetwork": ensureNetwork, "RemoveNetwork": removeNetwork, "EnsureDomain": ensureDomain, "RemoveDomain": removeDomain, "Console": console,
	} {
		if !errors.Is(err, hostapi.ErrForeign) || !strings.Contains(err.Error(), `of lab "lu"`) {
			t.Errorf("%s: %v, want ErrForeign that names the lab", name, err)
		}
	}
	if f, err := s.Observe(t.Context(), "other", hostapi.VirtQuery{}); err != nil || len(f.Networks)+len(f.Domains) > 0 {
		t.Errorf("the other lab sees %+v, %v", f, err)
	}
	s.ensureDomain(s.wantedDomain(), false)
	s.removeAll()
}

func TestFilesOfADomainThatLibvirtForgotAreReported(t *testing.T) {
	s := newSite(t)
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	s.ensureDomain(s.wantedDomain(), true)
	virttest.Virsh(t, "destroy", "vm")
	virttest.Virsh(t, "undefine", "vm")
	want := []hostapi.DomainFacts{{Name: "vm", Mark: &hostapi.Mark{Lab: "lu", Intended: true}, State: "undefined"}}
	if diff := cmp.Diff(want, s.seen().Domains); diff != "" {
		t.Errorf("domains (-want +got):\n%s", diff)
	}
	if changed, err := s.RemoveDomain(t.Context(), "lu", "vm"); err != nil || !changed {
		t.Errorf("RemoveDomain = %t, %v; want a change", changed, err)
	}
	if changed, err := s.RemoveDomain(t.Context(), "lu", "vm"); err != nil || changed {
		t.Errorf("again: RemoveDomain = %t, %v; want none", changed, err)
	}
	s.removeAll()
}

func TestGuestsOutliveTheDaemon(t *testing.T) {
	s := newSite(t)
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	s.ensureDomain(s.wantedDomain(), true)
	s.daemon.Stop()
	f, err := s.Observe(t.Context(), "lu", hostapi.VirtQuery{})
	if err != nil || !errors.Is(f.Unusable, hostapi.ErrUnsupported) || f.Unusable.Hint == "" || len(f.Domains) != 1 {
		t.Errorf("without a daemon: %+v, %v; want it unusable, and the domain whose files are there", f, err)
	}
	if _, err := s.RemoveDomain(t.Context(), "lu", "vm"); !errors.Is(err, hostapi.ErrUnsupported) {
		t.Errorf("RemoveDomain: %v, want ErrUnsupported", err)
	}
	s.daemon.Restart()
	s.ensureDomain(s.wantedDomain(), false)
	s.removeAll()
}

func TestADaemonThatHangsIsNotWaitedForForEver(t *testing.T) {
	s := newSite(t)
	thaw := s.daemon.Freeze()
	defer thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := s.Observe(ctx, "lu", hostapi.VirtQuery{}); err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("Observe: %v after %v", err, time.Since(began))
	}
	// And one that dies in the middle.
	thaw()
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.EnsureDomain(t.Context(), whose, s.wantedDomain(), func(context.Context) error {
		s.daemon.Stop()
		return nil
	})
	e := new(hostapi.Error)
	if !errors.As(err, &e) || e.Hint == "" {
		t.Errorf("EnsureDomain: %v, want an error with a hint", err)
	}
	s.daemon.Restart()
	if _, _, err := s.EnsureDomain(t.Context(), whose, s.wantedDomain(), nil); err != nil {
		t.Error(err)
	}
	s.ensureDomain(s.wantedDomain(), false)
	s.removeAll()
}

func TestNoLibvirtIsSaidWithTheWayOut(t *testing.T) {
	h := newHost(t)
	f, err := h.Observe(t.Context(), "lu", hostapi.VirtQuery{Images: []hostapi.Image{{Path: "/x"}}})
	if err != nil || !errors.Is(f.Unusable, hostapi.ErrUnsupported) || !strings.Contains(f.Unusable.Hint, "vxorch prepare") {
		t.Errorf("Observe: %+v, %v", f, err)
	}
	for name, err := range map[string]error{
		"EnsureNetwork": second(h.EnsureNetwork(t.Context(), whose, wantedNetwork())),
		"RemoveNetwork": second(h.RemoveNetwork(t.Context(), "lu", "nw")),
		"RemoveDomain":  second(h.RemoveDomain(t.Context(), "lu", "vm")),
	} {
		if !errors.Is(err, hostapi.ErrUnsupported) {
			t.Errorf("%s: %v, want ErrUnsupported", name, err)
		}
	}
}

func second(_ bool, err error) error { return err }

func TestADomainThatLibvirtIsBusyWithIsToldWithTheWayOut(t *testing.T) {
	c := &conn{ctx: t.Context()}
	e := hostapi.AsError(c.classify(libvirt.Error{Code: uint32(libvirt.ErrOperationTimeout), Message: "cannot acquire state change lock"}))
	if e.Message != "libvirt: cannot acquire state change lock" || e.Hint != hintBusy {
		t.Errorf("%+v, want libvirt's words and a hint", e)
	}
}

func TestDomainThatMakesNoSenseIsRefused(t *testing.T) {
	h := newHost(t)
	good := hostapi.Domain{
		Name: "vm", Memory: 64 << 20, VCPUs: 1, DiskBus: "virtio",
		Interfaces: []hostapi.DomainInterface{{Network: "nw", Tap: "tap0", Model: "virtio", MAC: "02:00:00:00:00:04", MTU: 1450}},
	}
	for name, spoil := range map[string]func(*hostapi.Domain){
		"no name":                   func(d *hostapi.Domain) { d.Name = "" },
		"a path for a name":         func(d *hostapi.Domain) { d.Name = "../vm" },
		"hidden":                    func(d *hostapi.Domain) { d.Name = ".." },
		"no memory":                 func(d *hostapi.Domain) { d.Memory = 0 },
		"half a MiB":                func(d *hostapi.Domain) { d.Memory++ },
		"no CPU":                    func(d *hostapi.Domain) { d.VCPUs = 0 },
		"no such bus":               func(d *hostapi.Domain) { d.DiskBus = "floppy" },
		"a tap of libvirt's own":    func(d *hostapi.Domain) { d.Interfaces[0].Tap = "vnet7" },
		"a tap with a long name":    func(d *hostapi.Domain) { d.Interfaces[0].Tap = "sixteencharacter" },
		"a MAC of a group":          func(d *hostapi.Domain) { d.Interfaces[0].MAC = "03:00:00:00:00:04" },
		"no MTU":                    func(d *hostapi.Domain) { d.Interfaces[0].MTU = 0 },
		"VNC on a name":             func(d *hostapi.Domain) { d.VNC = &hostapi.VNC{Listen: "localhost"} },
		"VNC on an impossible port": func(d *hostapi.Domain) { d.VNC = &hostapi.VNC{Listen: "::", Port: 70000} },
	} {
		w := good
		w.Interfaces = append([]hostapi.DomainInterface(nil), good.Interfaces...)
		spoil(&w)
		if _, _, err := h.EnsureDomain(t.Context(), whose, w, nil); !errors.Is(err, hostapi.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestNoQEMUIsSaidWithTheWayOut(t *testing.T) {
	program, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/dev/null", program, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(program, 0); err != nil {
			t.Error(err)
		}
	})
	s := newSite(t)
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	f, err := s.Observe(t.Context(), "lu", hostapi.VirtQuery{})
	if err != nil || !errors.Is(f.Unusable, hostapi.ErrUnsupported) || !strings.Contains(f.Unusable.Hint, "vxorch prepare") || len(f.Networks) != 1 {
		t.Errorf("Observe: %+v, %v; want it unusable, and the network", f, err)
	}
	if _, _, err := s.EnsureDomain(t.Context(), whose, s.wantedDomain(), nil); !errors.Is(err, hostapi.ErrUnsupported) {
		t.Errorf("EnsureDomain: %v, want ErrUnsupported", err)
	}
	s.removeAll()
}

// openKVM lets everybody use KVM, as distributions do for QEMU's user. Where that
// one may not, libvirt asks QEMU what it can do again and again.
func openKVM(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return
	}
	dir := t.TempDir()
	node := filepath.Join(dir, "kvm")
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "")
	if err == nil {
		err = unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 232)))
	}
	if err == nil {
		err = os.Chmod(node, 0o666)
	}
	if err == nil {
		err = unix.Mount(node, "/dev/kvm", "", unix.MS_BIND, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount("/dev/kvm", 0), unix.Unmount(dir, 0)); err != nil {
			t.Error(err)
		}
	})
}

func TestQEMUNeedsNoMoreThanItsOwnUsersRights(t *testing.T) {
	openKVM(t)
	const config = "/etc/libvirt/qemu.conf"
	virttest.Furnish(t)
	asRoot, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(config, asRoot, 0o600); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(config, bytes.ReplaceAll(asRoot, []byte(`"root"`), []byte(`"libvirt-qemu"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	if _, err := s.EnsureNetwork(t.Context(), whose, wantedNetwork()); err != nil {
		t.Fatal(err)
	}
	w := s.wantedDomain()
	w.Seed = make([]byte, 2048)
	s.ensureDomain(w, true)
	virttest.Virsh(t, "destroy", "vm")
	s.ensureDomain(w, true)

	w.Image = hostapi.Image{Path: image(t, "raw", 1<<20)}
	if err := os.Chmod(w.Image.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.EnsureDomain(t.Context(), whose, w, nil)
	if e := hostapi.AsError(err); e == nil || e.Kind != hostapi.KindPermission || e.Hint == "" {
		t.Errorf("with an image that QEMU may not read: %v, want one of KindPermission with a hint", err)
	}
	s.removeAll()
}
