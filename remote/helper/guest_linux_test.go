package helper

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vxorch/remote/helper/internal/virt/virttest"
	"vxorch/remote/hostapi"
	"vxorch/remote/sandbox/guesttest"
)

// lab is a lab on this host with a bridge, a container and a VM on it, begun
// with begin.
type lab struct {
	t    *testing.T
	host hostapi.Host
}

var (
	vmAddress        = netip.MustParsePrefix("192.168.100.21/24")
	containerAddress = netip.MustParsePrefix("192.168.100.11/24")
)

func begin(t *testing.T) *lab {
	t.Helper()
	virttest.Start(t)
	before := virttest.Snapshot(t)
	l := &lab{t: t, host: mustNew(t)}
	l.lock()
	t.Cleanup(func() {
		l.apply(hostapi.Remove, hostapi.Step{Domain: &hostapi.Domain{Name: "vm1"}}, hostapi.Step{VirtNetwork: &hostapi.VirtNetwork{Name: "lu-br0"}},
			hostapi.Step{Veth: &hostapi.Veth{Name: "c1"}}, hostapi.Step{Namespace: &hostapi.Namespace{Name: "cn1"}}, hostapi.Step{Bridge: &hostapi.Bridge{Name: "lu-br0"}})
		if _, err := l.host.(hostapi.Cleaner).Clean(context.Background()); err != nil {
			t.Error(err)
		}
		if err := l.host.Close(); err != nil {
			t.Error(err)
		}
		if after := virttest.Snapshot(t); after != before {
			t.Errorf("left behind; before:\n%s\nafter:\n%s", before, after)
		}
	})
	l.apply(hostapi.Create,
		hostapi.Step{Bridge: &hostapi.Bridge{Name: "lu-br0", MTU: 1450, MAC: "02:00:00:00:00:01"}},
		hostapi.Step{Namespace: &hostapi.Namespace{Name: "cn1"}},
		hostapi.Step{Veth: &hostapi.Veth{
			Name: "c1", Bridge: "lu-br0", MAC: "02:00:00:00:00:02", MTU: 1450, Netns: "cn1", Inner: "eth0", InnerMAC: "02:00:00:00:00:03",
			Addresses: []netip.Prefix{containerAddress},
		}},
		hostapi.Step{VirtNetwork: &hostapi.VirtNetwork{Name: "lu-br0", Bridge: "lu-br0"}})
	return l
}

func (l *lab) lock() {
	l.t.Helper()
	if _, err := l.host.Observe(l.t.Context(), lockRequest("deploy")); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) try(op hostapi.Op, steps ...hostapi.Step) (hostapi.BatchResult, error) {
	for i := range steps {
		steps[i].Op = op
	}
	return l.host.Apply(context.Background(), hostapi.Batch{Lab: "lu", User: "tester", Controller: "here", Steps: steps})
}

func (l *lab) apply(op hostapi.Op, steps ...hostapi.Step) hostapi.BatchResult {
	l.t.Helper()
	result, err := l.try(op, steps...)
	if err != nil {
		l.t.Fatal(err)
	}
	return result
}

// vm is a VM with the tests' guest; its image is brought to the host.
func (l *lab) vm() (hostapi.Domain, hostapi.Guest) {
	l.t.Helper()
	data, err := os.ReadFile(guesttest.Image(l.t))
	if err != nil {
		l.t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	chunk := hostapi.ImageChunk{Lab: "lu", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data))}
	for chunk.Offset < chunk.Size {
		chunk.Data = data[chunk.Offset:min(chunk.Offset+4<<20, chunk.Size)]
		if chunk.Offset, err = l.host.PutImage(l.t.Context(), chunk); err != nil {
			l.t.Fatal(err)
		}
	}
	d := hostapi.Domain{
		Name: "vm1", Image: hostapi.Image{SHA256: chunk.SHA256}, Memory: 128 << 20, VCPUs: 1, DiskBus: "virtio",
		VNC: &hostapi.VNC{Listen: "127.0.0.1"},
		Interfaces: []hostapi.DomainInterface{{
			Network: "lu-br0", Tap: "t1", Model: "virtio", MAC: "02:00:00:00:00:04", MTU: 1450, Addresses: []netip.Prefix{vmAddress},
		}},
	}
	return d, hostapi.Guest{
		Domain: "vm1", Interfaces: d.Interfaces, Login: hostapi.Login{User: guesttest.User, Password: guesttest.Password},
		Patience: 15 * time.Second, Deadline: time.Minute, // this one is emulated
	}
}

// pings checks that VM and container reach each other.
func (l *lab) pings(g hostapi.Guest) {
	l.t.Helper()
	began := time.Now()
	defer func() { l.t.Logf("probes took %v", time.Since(began)) }()
	results, err := l.host.Probe(l.t.Context(), []hostapi.Probe{
		{Guest: &g, Target: containerAddress.Addr()}, {Netns: "cn1", Target: vmAddress.Addr()},
		{Guest: &g, Target: netip.MustParseAddr("192.168.100.99")},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	for n, want := range []int{1, 1, 0} {
		if results[n].Received != want || results[n].Error != nil {
			l.t.Errorf("probe %d: %+v, error %v; want %d replies", n, results[n], results[n].Error, want)
		}
	}
}

func TestGuestGetsItsAddressByDHCP(t *testing.T) {
	l := begin(t)
	d, g := l.vm()
	d.Lease = true
	l.apply(hostapi.Create, hostapi.Step{Domain: &d})
	if r := l.apply(hostapi.Create, hostapi.Step{Guest: &g}); r.Steps[0].Changed {
		t.Error("the guest step says that it changed something")
	}
	l.pings(g)
	if r := l.apply(hostapi.Create, hostapi.Step{Domain: &d}, hostapi.Step{Guest: &g}); r.Steps[0].Changed || r.Steps[1].Changed {
		t.Errorf("a second time: %+v, want no change", r)
	}
}

func TestGuestIsToldItsAddressOnTheConsole(t *testing.T) {
	l := begin(t)
	d, g := l.vm()
	g.Console, g.Patience = true, 0
	// With no lease at all the guest would wait three minutes for one.
	leased := d
	leased.Lease = true
	leased.Interfaces = slices.Clone(d.Interfaces)
	leased.Interfaces[0].Addresses = []netip.Prefix{netip.MustParsePrefix("192.168.100.77/24")}
	l.apply(hostapi.Create, hostapi.Step{Domain: &leased})
	if r := l.apply(hostapi.Create, hostapi.Step{Guest: &g}); !r.Steps[0].Changed {
		t.Error("the guest step says that it changed nothing")
	}
	l.pings(g)
	if r := l.apply(hostapi.Create, hostapi.Step{Guest: &g}); r.Steps[0].Changed || r.Steps[0].Duration > 12*time.Second {
		t.Errorf("a second time: %+v, want no change and at once", r)
	}
}

func TestGuestThatDoesNotAnswerIsExplained(t *testing.T) {
	l := begin(t)
	d, g := l.vm()
	l.apply(hostapi.Create, hostapi.Step{Domain: &d})
	l.asksForLease() // and waits for it, minutes before it shows a prompt
	fails := func(g hostapi.Guest) error {
		t.Helper()
		_, err := l.try(hostapi.Create, hostapi.Step{Guest: &g})
		if err == nil {
			t.Error("the guest step is done")
		}
		return err
	}
	silent := g
	silent.Console, silent.Patience, silent.Deadline = true, 0, time.Second
	err := fails(silent)
	for _, want := range []string{
		"does not answer for 192.168.100.21 after ", "the guest never showed a login prompt (", "its console ends with:\n",
	} {
		if err != nil && strings.Count(err.Error(), want) != 1 {
			t.Errorf("error %q, want once %q", err, want)
		}
	}

	held, err := l.host.(*host).virt.Console(t.Context(), "lu", "vm1")
	if err != nil {
		t.Fatal(err)
	}
	busy := g
	busy.Console, busy.Patience, busy.Deadline = true, 0, 20*time.Second
	if err := fails(busy); !errors.Is(err, hostapi.ErrBusy) {
		t.Errorf("with another on the console: %v, want ErrBusy", err)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}

	// As it boots it asks again, whatever the run was that made it; who holds its
	// console does not matter then, and neither does another that never answers.
	l.apply(hostapi.Remove, hostapi.Step{Domain: &d})
	l.apply(hostapi.Create, hostapi.Step{Domain: &d})
	if held, err = l.host.(*host).virt.Console(t.Context(), "lu", "vm1"); err != nil {
		t.Fatal(err)
	}
	asking := g
	asking.Lease, asking.Console, asking.Patience = true, true, 0
	absent := g
	absent.Domain = "vm2"
	r, err := l.try(hostapi.Await, hostapi.Step{Guest: &absent}, hostapi.Step{Guest: &asking})
	if err == nil || len(r.Steps) != 2 || r.Steps[0].Error == nil || r.Steps[1].Error != nil || r.Steps[1].Changed {
		t.Errorf("%+v, %v; want the second to answer by DHCP alone", r, err)
	}
	if !strings.Contains(r.Steps[1].Note, "emulated") {
		t.Errorf("note %q, want it to say that the guest is emulated", r.Steps[1].Note)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}

	wrong := g
	wrong.Console, wrong.Patience = true, 0
	wrong.Interfaces = slices.Clone(g.Interfaces)
	wrong.Interfaces[0].Addresses = []netip.Prefix{netip.MustParsePrefix("192.168.100.22/24")}
	wrong.Login.Password = "guess"
	if err := fails(wrong); !errors.Is(err, hostapi.ErrAuth) || strings.Contains(err.Error(), "guess") {
		t.Errorf("with a wrong password: %v, want ErrAuth that keeps it secret", err)
	}

	go virttest.Virsh(t, "destroy", "vm1")
	gone := wrong
	gone.Console = false
	if err := fails(gone); err != nil && !strings.Contains(err.Error(), "domain vm1 is shutoff") {
		t.Errorf("of a domain that ends: %v", err)
	}
	if err := fails(gone); err != nil && !strings.Contains(err.Error(), "domain vm1 is shutoff") {
		t.Errorf("of a domain that is off: %v", err)
	}
}

// asksForLease waits until the guest, which nobody answers, has got so far.
func (l *lab) asksForLease() {
	l.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		said := l.host.(*host).virt.ConsoleLog("lu", "vm1", 1<<20)
		switch {
		case strings.Contains(said, "discover"):
			return
		case time.Now().After(deadline):
			l.t.Fatalf("the guest does not ask for a lease; it said:\n%s", said)
		}
	}
}

func TestWaitingForAGuestCanBeGivenUp(t *testing.T) {
	l := begin(t)
	d, g := l.vm()
	l.apply(hostapi.Create, hostapi.Step{Domain: &d})
	for _, console := range []bool{false, true} {
		g.Console, g.Patience = console, 0
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		began := time.Now()
		_, err := l.host.Apply(ctx, hostapi.Batch{Lab: "lu", User: "tester", Controller: "here", Steps: []hostapi.Step{{Op: hostapi.Create, Guest: &g}}})
		cancel()
		if took := time.Since(began); !errors.Is(err, hostapi.ErrCanceled) || took > 30*time.Second {
			t.Errorf("console %t: %v after %v, want ErrCanceled at once", console, err, took)
		}
	}
}
