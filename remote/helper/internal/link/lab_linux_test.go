package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns/nstest"
)

func TestMain(m *testing.M) {
	if kind, ok := os.LookupEnv(dieAfter); ok {
		die(kind)
	}
	nstest.Main(m)
}

// The lab of the tests, as the plan would ask for it.
const lab = "lu"

var (
	theVTEP = hostapi.VTEP{
		Name: "vx100", For: "net", VNI: 100, Port: 4789, Group: netip.MustParseAddr("239.0.0.1"), Local: netip.MustParseAddr("192.0.2.1"),
		Device: "under0", MTU: 1450, MAC: "02:00:00:00:01:01", Bridge: "br100",
	}
	theBridge    = hostapi.Bridge{Name: "br100", For: "net", MTU: 1450, MAC: "02:00:00:00:01:02"}
	theNamespace = hostapi.Namespace{Name: "lu-cn1", For: "cn1"}
	theVeth      = hostapi.Veth{
		Name: "vcn1", For: "cn1", Bridge: "br100", MAC: "02:00:00:00:01:03", MTU: 1450, Netns: "lu-cn1", Inner: "eth0", InnerMAC: "02:00:00:00:01:04",
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.100.11/24"), netip.MustParsePrefix("fd00:100::11/64")},
	}
)

func create(object any) hostapi.Step { return step(hostapi.Create, object) }
func remove(object any) hostapi.Step { return step(hostapi.Remove, object) }

func step(op hostapi.Op, object any) hostapi.Step {
	s := hostapi.Step{Op: op}
	switch o := object.(type) {
	case hostapi.VTEP:
		s.VTEP = &o
	case hostapi.Bridge:
		s.Bridge = &o
	case hostapi.Namespace:
		s.Namespace = &o
	case hostapi.Veth:
		s.Veth = &o
	case hostapi.Address:
		s.Address = &o
	case hostapi.Forwarding:
		s.Forwarding = &o
	default:
		panic(fmt.Sprintf("%T", object))
	}
	return s
}

func wholeLab() []hostapi.Step {
	return []hostapi.Step{create(theBridge), create(theVTEP), create(theNamespace), create(theVeth)}
}

func wholeLabAway() []hostapi.Step {
	return []hostapi.Step{remove(theVeth), remove(theNamespace), remove(theVTEP), remove(theBridge)}
}

// machineUnderTest is the namespaces that nstest made, with an underlay.
type machineUnderTest struct {
	t      testing.TB
	kernel *Kernel
	store  own.Store
}

func newMachine(t testing.TB) *machineUnderTest {
	t.Helper()
	before := snapshot(t)
	kernel, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	m := &machineUnderTest{t: t, kernel: kernel}
	m.underlay()
	t.Cleanup(func() {
		m.delete("under0")
		kernel.Close()
		m.settle(func() error {
			if diff := cmp.Diff(before, snapshot(t)); diff != "" {
				return fmt.Errorf("left behind (-before +after):\n%s", diff)
			}
			return nil
		})
	})
	return m
}

// underlay makes under0: one end of a veth pair, 1500 bytes.
func (m *machineUnderTest) underlay() {
	m.t.Helper()
	a := netlink.NewLinkAttrs()
	a.Name = "under0"
	veth := netlink.NewVeth(a)
	veth.PeerName = "under1"
	prefix := addressOf(netip.MustParsePrefix("192.0.2.1/24"))
	if err := errors.Join(netlink.LinkAdd(veth), netlink.AddrAdd(veth, prefix), netlink.LinkSetUp(veth), netlink.LinkSetUp(m.link("under1"))); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machineUnderTest) link(name string) netlink.Link {
	m.t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		m.t.Fatalf("link %s: %v", name, err)
	}
	return l
}

func (m *machineUnderTest) add(l netlink.Link) netlink.Link {
	m.t.Helper()
	if err := netlink.LinkAdd(l); err != nil {
		m.t.Fatal(err)
	}
	return l
}

func (m *machineUnderTest) delete(name string) {
	m.t.Helper()
	if err := netlink.LinkDel(m.link(name)); err != nil {
		m.t.Fatal(err)
	}
}

// settle waits until the kernel has done what it does by and by.
func (m *machineUnderTest) settle(check func() error) {
	m.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// apply runs steps as one batch and gives what each changed.
func (m *machineUnderTest) apply(steps ...hostapi.Step) (changed []bool, err error) {
	return m.applyDying(nil, steps...)
}

func (m *machineUnderTest) applyDying(dying func(kind, name string), steps ...hostapi.Step) (changed []bool, err error) {
	m.t.Helper()
	lock, err := m.store.Lock(lab, hostapi.Holder{User: "tester"})
	if err != nil {
		m.t.Fatal(err)
	}
	b, err := m.kernel.Begin(lock, hostapi.Mark{User: "tester", Controller: "here"})
	if err != nil {
		m.t.Fatal(err)
	}
	b.afterCreate = dying
	for _, s := range steps {
		var did bool
		did, err = b.Do(s)
		changed = append(changed, did)
		if err != nil {
			break
		}
	}
	return changed, errors.Join(err, b.End(), lock.Release())
}

// must is apply where nothing may fail; it says how many steps changed something.
func (m *machineUnderTest) must(steps ...hostapi.Step) (changes int) {
	m.t.Helper()
	changed, err := m.apply(steps...)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, c := range changed {
		if c {
			changes++
		}
	}
	return changes
}

func (m *machineUnderTest) observe(req hostapi.ObserveRequest) hostapi.Facts {
	m.t.Helper()
	if req.Lab == "" {
		req.Lab = lab
	}
	facts, err := m.kernel.Observe(context.Background(), req, m.store)
	if err != nil {
		m.t.Fatal(err)
	}
	return facts
}

// seen gives the link of that name as observed; nil if there is none.
func (m *machineUnderTest) seen(name string) *hostapi.Link {
	m.t.Helper()
	for _, l := range m.observe(hostapi.ObserveRequest{Links: []string{name}}).Links {
		if l.Name == name {
			return &l
		}
	}
	return nil
}

// snapshot lists what there is of links, namespaces and files in /run.
func snapshot(t testing.TB) []string {
	t.Helper()
	var names []string
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		names = append(names, "link "+l.Attrs().Name)
	}
	if err := filepath.WalkDir("/run", func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], "/run") {
			names = append(names, "mount on "+fields[4])
		}
	}
	sort.Strings(names)
	return names
}

func kindOf(err error) hostapi.Kind {
	if err == nil {
		return 0
	}
	return hostapi.AsError(err).Kind
}

var ignoreIndices = cmpopts.IgnoreFields(hostapi.Link{}, "Index", "PeerIndex")

func TestLabIsMadeOnceAndRemovedOnce(t *testing.T) {
	m := newMachine(t)
	if n := m.must(wholeLab()...); n != 4 {
		t.Errorf("first time: %d changes, want 4", n)
	}
	mark := func(usedBy string) *hostapi.Mark {
		return &hostapi.Mark{Lab: lab, For: usedBy, User: "tester", Controller: "here"}
	}
	facts := m.observe(hostapi.ObserveRequest{Peers: []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")}})
	want := []hostapi.Link{
		{Name: "br100", Kind: "bridge", MAC: theBridge.MAC, MTU: 1450, Up: true, Mark: mark("net"), Quiet: true},
		{Name: "lo", MTU: 65536, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}},
		{Name: "under0", Kind: "veth", MTU: 1500, Up: true},
		{Name: "vcn1", Kind: "veth", MAC: theVeth.MAC, MTU: 1450, Up: true, Master: "br100", Mark: mark("cn1"), Quiet: true, PortLearning: true},
		{Name: "vx100", Kind: "vxlan", MAC: theVTEP.MAC, MTU: 1450, Up: true, Master: "br100", Mark: mark("net"), Quiet: true, PortLearning: true,
			VXLAN: &hostapi.VXLAN{VNI: 100, Port: 4789, Group: theVTEP.Group, Local: theVTEP.Local, Device: "under0", Learning: true}},
	}
	got := slices.Clone(facts.Links)
	for i := range got {
		if got[i].Name == "under0" { // its MAC and link-local address are random
			got[i].MAC, got[i].Addresses = "", nil
		}
	}
	if diff := cmp.Diff(want, got, ignoreIndices, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	wantSpaces := []hostapi.NamespaceFacts{{Name: "lu-cn1", Mark: mark("cn1"), Links: []hostapi.Link{
		{Name: "eth0", Kind: "veth", MAC: theVeth.InnerMAC, MTU: 1450, Up: true, Addresses: theVeth.Addresses},
		{Name: "lo", MTU: 65536, Up: true, Mark: mark("cn1"), Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}},
	}}}
	if diff := cmp.Diff(wantSpaces, facts.Namespaces, ignoreIndices, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
	wantRoutes := []hostapi.Route{
		{Peer: netip.MustParseAddr("192.0.2.2"), Device: "under0", Source: netip.MustParseAddr("192.0.2.1")},
		{Peer: netip.MustParseAddr("192.0.2.1"), Device: "lo", Source: netip.MustParseAddr("192.0.2.1")},
		{Peer: netip.MustParseAddr("198.51.100.1")},
	}
	if diff := cmp.Diff(wantRoutes, facts.Routes, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if facts.Leftovers != nil {
		t.Errorf("leftovers %q, want none", facts.Leftovers)
	}
	if n := m.must(wholeLab()...); n != 0 {
		t.Errorf("second time: %d changes, want none", n)
	}
	if n := m.must(wholeLabAway()...); n != 4 {
		t.Errorf("removed: %d changes, want 4", n)
	}
	if n := m.must(wholeLabAway()...); n != 0 {
		t.Errorf("removed again: %d changes, want none", n)
	}
}
