package hosttest_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

const onDisk = "/var/lib/images/cirros.qcow2"

func virtNetwork() hostapi.Step {
	return hostapi.Step{VirtNetwork: &hostapi.VirtNetwork{Name: "lu-br0", Bridge: "lu-br0"}}
}

func leg(address string) []hostapi.DomainInterface {
	return []hostapi.DomainInterface{{
		Network: "lu-br0", Tap: "vm", Model: "virtio", MAC: "02:00:00:00:00:05", MTU: 1450,
		Addresses: []netip.Prefix{netip.MustParsePrefix(address)},
	}}
}

func domain(address string) hostapi.Step {
	return hostapi.Step{Domain: &hostapi.Domain{
		Name: "testlu-vm", Image: hostapi.Image{Path: onDisk}, Memory: 512 << 20, VCPUs: 1, Interfaces: leg(address),
	}}
}

func guest(address string) hostapi.Step {
	return hostapi.Step{Op: hostapi.Create, Guest: &hostapi.Guest{
		Domain: "testlu-vm", Interfaces: leg(address), Console: true, Deadline: time.Minute,
	}}
}

// vm is a VM's address on host i, counted from 0.
func vm(i int) string { return "192.168.100.2" + string(rune('1'+i)) }

// start builds a container and a VM on every host.
func (l *lab) start() {
	l.Helper()
	for i, m := range l.machines {
		m.PlantImage(onDisk)
		l.build(i)
		l.apply(i, hostapi.Create, virtNetwork(), domain(vm(i)+"/24"))
	}
}

// await runs the step on the guest of host i.
func (l *lab) await(i int, step hostapi.Step) (changed bool, err error) {
	l.Helper()
	b := batch(hostapi.Create)
	b.Steps = []hostapi.Step{step}
	res, err := l.sessions[i].Apply(l.Context(), b)
	if len(res.Steps) != 1 {
		l.Fatalf("%+v, %v; want the result of one step", res, err)
	}
	return res.Steps[0].Changed, err
}

// inside probes target from inside the VM of host i.
func (l *lab) inside(i int, target string) hostapi.ProbeResult {
	l.Helper()
	got, err := l.sessions[i].Probe(l.Context(), []hostapi.Probe{{
		Guest: &hostapi.Guest{Domain: "testlu-vm", Deadline: time.Minute}, Target: netip.MustParseAddr(target),
	}})
	if err != nil {
		l.Fatal(err)
	}
	return got[0]
}

func TestVMsAndContainersReachEachOther(t *testing.T) {
	l := newLab(t, 2)
	l.start()
	for i := range l.machines {
		if changed, err := l.await(i, guest(vm(i)+"/24")); changed || err != nil {
			t.Errorf("guest %d: changed %v, %v; want it to answer by itself", i+1, changed, err)
		}
	}
	for from := range 2 {
		for to := range 2 {
			if !l.reaches(from, "container0", vm(to)) {
				t.Errorf("no reply from VM %d to container %d", to+1, from+1)
			}
			for _, target := range []string{vm(to), container(to)} {
				if r := l.inside(from, target); r.Received != 1 || r.Error != nil {
					t.Errorf("from inside VM %d, %s: %+v, want a reply", from+1, target, r)
				}
			}
		}
	}
	if r := l.inside(0, "192.168.100.99"); r.Received != 0 || r.Sent != 3 || r.Error != nil {
		t.Errorf("from inside a VM to nobody: %+v, want it sent in vain", r)
	}
	l.fabric.Separate(l.machines[0], l.machines[1])
	if r := l.inside(0, vm(1)); r.Received != 0 {
		t.Errorf("a reply from a separated machine: %+v", r)
	}
}

func TestGuestIsToldOnTheConsole(t *testing.T) {
	l := newLab(t, 1)
	l.machines[0].SetGuests(hosttest.GuestsNeedConsole)
	l.start()
	if l.reaches(0, "container0", vm(0)) {
		t.Error("the guest answers before it was told its address")
	}
	quiet := guest(vm(0) + "/24")
	quiet.Guest.Console = false
	if changed, err := l.await(0, quiet); changed || err == nil {
		t.Errorf("without the console: changed %v, %v; want an error", changed, err)
	}
	for _, changed := range []bool{true, false} {
		if got, err := l.await(0, guest(vm(0)+"/24")); got != changed || err != nil {
			t.Errorf("changed %v, %v; want %v", got, err, changed)
		}
	}
	if !l.reaches(0, "container0", vm(0)) {
		t.Error("the guest does not answer")
	}
}

func TestSilentGuestFailsWithItsConsole(t *testing.T) {
	l := newLab(t, 1)
	l.machines[0].SetGuests(hosttest.GuestsSilent)
	l.start()
	_, err := l.await(0, guest(vm(0)+"/24"))
	if err == nil || !strings.Contains(err.Error(), "1m0s") || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("%v, want an error with the deadline and the end of the console", err)
	}
	if r := l.inside(0, container(0)); r.Error == nil {
		t.Errorf("probe from inside: %+v, want an error", r)
	}
	l.machines[0].SetGuests(hosttest.GuestsAnswer)
	l.apply(0, hostapi.Remove, domain(vm(0)+"/24"))
	l.start()
	if _, err := l.await(0, guest(vm(0)+"/24")); err != nil {
		t.Errorf("after it was made anew: %v", err)
	}
}

func TestDomainThatStoppedIsStarted(t *testing.T) {
	l := newLab(t, 1)
	l.start()
	m := l.machines[0]
	before := m.Objects()
	m.EditDomain("testlu-vm", func(d *hostapi.DomainFacts) { d.State = "crashed" })
	if l.reaches(0, "container0", vm(0)) {
		t.Error("a crashed VM answers")
	}
	if _, err := l.await(0, guest(vm(0)+"/24")); err == nil {
		t.Error("a guest that does not run is said to answer")
	}
	l.apply(0, hostapi.Update, domain(vm(0)+"/24"))
	if d := cmp.Diff(before, m.Objects()); d != "" {
		t.Errorf("-before +after:\n%s", d)
	}
	if !l.reaches(0, "container0", vm(0)) {
		t.Error("the VM does not answer after it was started")
	}
}

func TestVMIsCutOffWithItsBridge(t *testing.T) {
	l := newLab(t, 1)
	l.start()
	l.machines[0].RemoveLink("", "lu-br0")
	if _, err := l.await(0, guest(vm(0)+"/24")); err == nil {
		t.Error("a guest without a bridge is said to answer")
	}
	l.apply(0, hostapi.Remove, domain(vm(0)+"/24"), virtNetwork())
	l.apply(0, hostapi.Create, virtNetwork())
	if _, err := l.sessions[0].Apply(t.Context(), batch(hostapi.Create, domain(vm(0)+"/24"))); err == nil {
		t.Error("a domain starts without its bridge")
	}
}

func TestMachineWithoutLibvirtSaysSo(t *testing.T) {
	m := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{NoLibvirt: true})
	s := m.Open()
	defer s.Close()
	req := locking
	req.Virt = &hostapi.VirtQuery{Domains: []string{"testlu-vm"}}
	f, err := s.Observe(t.Context(), req)
	if err != nil || f.Virt == nil || !errors.Is(f.Virt.Unusable, hostapi.ErrUnsupported) {
		t.Errorf("%+v, %v; want libvirt unusable", f.Virt, err)
	}
	for _, step := range []hostapi.Step{virtNetwork(), domain(vm(0) + "/24")} {
		if _, err := s.Apply(t.Context(), batch(hostapi.Create, step)); !errors.Is(err, hostapi.ErrUnsupported) {
			t.Errorf("%v, want ErrUnsupported", err)
		}
	}
}

// put uploads an image to host i and gives its SHA-256.
func (l *lab) put(i int, data string) string {
	l.Helper()
	sum, err := put(l.Context(), l.sessions[i], data)
	if err != nil {
		l.Fatal(err)
	}
	return sum
}

func put(ctx context.Context, s *hosttest.Session, data string) (string, error) {
	sum := sha256.Sum256([]byte(data))
	text := hex.EncodeToString(sum[:])
	_, err := s.PutImage(ctx, hostapi.ImageChunk{Lab: "lu", SHA256: text, Size: int64(len(data)), Data: []byte(data)})
	return text, err
}

func TestImageThatDoesNotFit(t *testing.T) {
	m := hosttest.NewFabric().NewMachine("host1", hosttest.MachineOptions{Free: 10})
	s := m.Open()
	defer s.Close()
	if _, err := s.Observe(t.Context(), locking); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t.Context(), s, "123456"); err != nil {
		t.Error(err)
	}
	if _, err := put(t.Context(), s, "more than that"); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("%v, want no space left", err)
	}
	if got := len(m.Images()); got != 1 {
		t.Errorf("%d images, want the one that fits", got)
	}
	m.RemoveImages()
	if _, err := put(t.Context(), s, "654321"); err != nil {
		t.Errorf("after the store was emptied: %v", err)
	}
}
