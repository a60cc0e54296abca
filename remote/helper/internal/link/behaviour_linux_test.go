package link

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// with gives a copy of object that change has changed.
func with[T any](object T, change func(*T)) T {
	change(&object)
	return object
}

func TestDriftIsMended(t *testing.T) {
	inNetns := func(name string, f func() error) func(m *machineUnderTest) error {
		return func(*machineUnderTest) error { return ns.Do(name, f) }
	}
	addr := func(p string) *netlink.Addr { return addressOf(netip.MustParsePrefix(p)) }
	for name, c := range map[string]struct {
		drift func(m *machineUnderTest) error
		step  hostapi.Step
		keeps bool // the same link, changed in place
	}{
		"bridge down":           {func(m *machineUnderTest) error { return netlink.LinkSetDown(m.link("br100")) }, create(theBridge), true},
		"bridge with stp":       {func(m *machineUnderTest) error { return setSTP(m, 1) }, create(theBridge), true},
		"bridge mtu":            {func(m *machineUnderTest) error { return netlink.LinkSetMTU(m.link("br100"), 1400) }, create(theBridge), true},
		"bridge mtu below IPv6": {func(m *machineUnderTest) error { return netlink.LinkSetMTU(m.link("br100"), 1000) }, create(theBridge), true},
		"bridge mac": {func(m *machineUnderTest) error {
			return netlink.LinkSetHardwareAddr(m.link("br100"), net.HardwareAddr{2, 0, 0, 0, 0, 9})
		}, create(theBridge), true},
		"loud bridge": {func(m *machineUnderTest) error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/br100/addr_gen_mode", []byte("0"), 0)
		}, create(theBridge), true},
		"VTEP that hears advertisements": {func(m *machineUnderTest) error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/vx100/accept_ra", []byte("1"), 0)
		}, create(theVTEP), true},
		"VTEP off its bridge": {func(m *machineUnderTest) error { return netlink.LinkSetNoMaster(m.link("vx100")) }, create(theVTEP), true},
		"VTEP gone":           {func(m *machineUnderTest) error { return netlink.LinkDel(m.link("vx100")) }, create(theVTEP), false},
		"other vni wanted":    {nil, create(with(theVTEP, func(v *hostapi.VTEP) { v.VNI = 101 })), false},
		"other group wanted":  {nil, create(with(theVTEP, func(v *hostapi.VTEP) { v.Group = netip.MustParseAddr("239.0.0.2") })), false},
		"smaller mtu wanted":  {nil, create(with(theVTEP, func(v *hostapi.VTEP) { v.MTU = 1400 })), true},
		"stands alone wanted": {nil, create(with(theVTEP, func(v *hostapi.VTEP) { v.Bridge = "" })), true},
		"inner end down": {inNetns("lu-cn1", func() error {
			l, err := netlink.LinkByName("eth0")
			return errors.Join(err, netlink.LinkSetDown(l))
		}), create(theVeth), true},
		"inner address gone": {inNetns("lu-cn1", func() error {
			l, err := netlink.LinkByName("eth0")
			return errors.Join(err, netlink.AddrDel(l, addr("192.168.100.11/24")))
		}), create(theVeth), true},
		"inner address too many": {inNetns("lu-cn1", func() error {
			l, err := netlink.LinkByName("eth0")
			return errors.Join(err, netlink.AddrAdd(l, addr("10.9.9.9/8")))
		}), create(theVeth), true},
		"another inner address of the subnet wanted": {nil, create(with(theVeth, func(v *hostapi.Veth) {
			v.Addresses = []netip.Prefix{netip.MustParsePrefix("192.168.100.12/24"), netip.MustParsePrefix("192.168.100.13/24")}
		})), true},
		"inner end renamed": {inNetns("lu-cn1", func() error {
			l, err := netlink.LinkByName("eth0")
			return errors.Join(err, netlink.LinkSetDown(l), netlink.LinkSetName(l, "other"))
		}), create(theVeth), false},
		"inner mac wanted": {nil, create(with(theVeth, func(v *hostapi.Veth) { v.InnerMAC = "02:00:00:00:09:09" })), true},
		"loopback down": {inNetns("lu-cn1", func() error {
			l, err := netlink.LinkByName("lo")
			return errors.Join(err, netlink.LinkSetDown(l))
		}), create(theNamespace), true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.must(wholeLab()...)
			kind, object := c.step.Object()
			index := 0
			if kind != hostapi.KindNamespace {
				index = m.seen(object).Index
			}
			if c.drift != nil {
				if err := c.drift(m); err != nil {
					t.Fatal(err)
				}
			}
			if n := m.must(c.step); n != 1 {
				t.Errorf("first time: %d changes, want 1", n)
			}
			if n := m.must(c.step); n != 0 {
				t.Errorf("second time: %d changes, want none", n)
			}
			if kind != hostapi.KindNamespace {
				l := m.seen(object)
				if kept := l.Index == index; kept != c.keeps {
					t.Errorf("the same link: %t, want %t", kept, c.keeps)
				}
				if !l.Up || !l.Quiet || l.Mark == nil || l.Mark.Lab != lab || linkLocal(l.Addresses) {
					t.Errorf("%+v, want it up, quiet, marked and without a link-local address", l)
				}
			}
			m.must(wholeLabAway()...)
		})
	}
}

func linkLocal(ps []netip.Prefix) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
}

func setSTP(_ *machineUnderTest, state byte) error {
	out, err := exec.Command("ip", "link", "set", "br100", "type", "bridge", "stp_state", string('0'+state)).CombinedOutput()
	if err != nil {
		return errors.New(string(out))
	}
	return nil
}

func TestForeignObjectsAreRefusedAndUntouched(t *testing.T) {
	otherLab := own.FormatMark(hostapi.Mark{Lab: "other", User: "bob", Controller: "desk"})
	for name, alias := range map[string]string{"unmarked": "", "of another lab": otherLab, "with an alias of its own": "uplink"} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			for _, name := range []string{"br100", "vx100", "vcn1"} {
				l := m.add(&netlink.Bridge{LinkAttrs: attributes(name, nil)})
				if err := netlink.LinkSetAlias(l, alias); err != nil {
					t.Fatal(err)
				}
				defer m.delete(name)
			}
			if err := ns.Create("lu-cn1", func() error {
				lo, err := netlink.LinkByName("lo")
				return errors.Join(err, netlink.LinkSetAlias(lo, alias))
			}); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := errors.Join(ns.Remove("lu-cn1"), ns.Tidy()); err != nil {
					t.Error(err)
				}
			}()
			m.must(create(hostapi.Namespace{Name: "mine"}))
			req := hostapi.ObserveRequest{Links: []string{"br100", "vx100", "vcn1"}, Namespaces: []string{"lu-cn1"}}
			before := m.observe(req)
			for _, s := range append(append(wholeLab(), wholeLabAway()...),
				create(with(theVeth, func(v *hostapi.Veth) { v.Name, v.Netns = "v9", "mine" })), // its bridge is foreign
				create(with(theVTEP, func(v *hostapi.VTEP) { v.Name = "vx9" })),                 // its bridge is foreign
				create(hostapi.Address{Link: "br100", Prefix: netip.MustParsePrefix("192.168.100.1/24"), Lifetime: time.Minute}),
				remove(hostapi.Address{Link: "br100", Prefix: netip.MustParsePrefix("192.168.100.1/24")}),
			) {
				kind, object := s.Object()
				changed, err := m.apply(s)
				if kindOf(err) != hostapi.KindForeign || changed[0] {
					t.Errorf("%s %s %s: changed %v, %v; want foreign", s.Op, kind, object, changed, err)
				}
				whose := "not made by vxorch"
				if alias == otherLab {
					whose = `of lab "other", made by "bob" from "desk"`
				}
				if err == nil || !strings.Contains(err.Error(), whose) {
					t.Errorf("%s %s %s: %v; want it to say %q", s.Op, kind, object, err, whose)
				}
			}
			if diff := cmp.Diff(before, m.observe(req), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("foreign objects changed (-before +after):\n%s", diff)
			}
			m.must(remove(hostapi.Namespace{Name: "mine"}))
		})
	}
}

func TestEveryKindOfVTEPIsSeenAsItWasWanted(t *testing.T) {
	for name, change := range map[string]func(v *hostapi.VTEP){
		"no group": func(v *hostapi.VTEP) { v.Group = netip.Addr{} },
		"no local": func(v *hostapi.VTEP) { v.Local = netip.Addr{} },
		"IPv6 underlay": func(v *hostapi.VTEP) {
			v.Group, v.Local, v.MTU = netip.MustParseAddr("ff05::100"), netip.MustParseAddr("fd00:2::1"), 1430
		},
		"IPv6 underlay, no group": func(v *hostapi.VTEP) {
			v.Group, v.Local, v.MTU = netip.Addr{}, netip.MustParseAddr("fd00:2::1"), 1430
		},
		"largest vni":        func(v *hostapi.VTEP) { v.VNI = 1<<24 - 1 },
		"alone":              func(v *hostapi.VTEP) { v.Bridge = "" },
		"too small for IPv6": func(v *hostapi.VTEP) { v.MTU = 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			vtep := with(theVTEP, change)
			m.must(create(theBridge), create(vtep))
			if changes, _ := vtep.Diff(*m.seen(vtep.Name)); changes != nil {
				t.Errorf("differs as soon as it is made: %v", changes)
			}
			if n := m.must(create(theBridge), create(vtep)); n != 0 {
				t.Errorf("%d changes, want none", n)
			}
			m.must(remove(vtep), remove(theBridge))
		})
	}
}

func TestVNIThatAnotherLinkHasIsBusy(t *testing.T) {
	m := newMachine(t)
	m.add(&netlink.Vxlan{LinkAttrs: attributes("theirs", nil), VxlanId: 100, Port: 4789})
	defer m.delete("theirs")
	_, err := m.apply(create(theBridge), create(theVTEP))
	if kindOf(err) != hostapi.KindBusy || !strings.Contains(err.Error(), "create vtep vx100: ") || !strings.Contains(err.Error(), "theirs, not made by vxorch") {
		t.Errorf("create vtep: %v, want busy, naming theirs", err)
	}
	if m.seen("vx100") != nil {
		t.Error("vx100 exists")
	}
	m.must(create(with(theVTEP, func(v *hostapi.VTEP) { v.Port = 4790 })), remove(theVTEP), remove(theBridge))
}

func TestUDPPortThatAProcessHasIsBusyAndTheVTEPIsTakenAway(t *testing.T) {
	m := newMachine(t)
	socket, err := net.ListenPacket("udp4", ":4789")
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.apply(create(theBridge), create(theVTEP))
	if e := hostapi.AsError(err); kindOf(err) != hostapi.KindBusy || !strings.Contains(e.Message, "UDP port 4789") || e.Hint == "" {
		t.Errorf("create vtep: %v, want busy with a hint", err)
	}
	if m.seen("vx100") != nil {
		t.Error("vx100 was left behind")
	}
	if err := noIntents(m.store); err != nil {
		t.Error(err)
	}
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	m.must(create(theVTEP), remove(theVTEP), remove(theBridge))
}

func TestBadRequestsAreInvalidAndLeaveNothing(t *testing.T) {
	m := newMachine(t)
	m.must(create(theBridge), create(theNamespace))
	for name, s := range map[string]hostapi.Step{
		"no object":           {Op: hostapi.Create},
		"no operation":        step("", theBridge),
		"no such underlay":    create(with(theVTEP, func(v *hostapi.VTEP) { v.Device = "eth7" })),
		"mtu over underlay":   create(with(theVTEP, func(v *hostapi.VTEP) { v.MTU = 1451 })),
		"no such bridge":      create(with(theVTEP, func(v *hostapi.VTEP) { v.Bridge = "br9" })),
		"bridge is no bridge": create(with(theVeth, func(v *hostapi.Veth) { v.Bridge = "lo" })),
		"vni":                 create(with(theVTEP, func(v *hostapi.VTEP) { v.VNI = 1 << 24 })),
		"port 0":              create(with(theVTEP, func(v *hostapi.VTEP) { v.Port = 0 })),
		"mac":                 create(with(theBridge, func(b *hostapi.Bridge) { b.Name, b.MAC = "br9", "nonsense" })),
		"multicast mac":       create(with(theBridge, func(b *hostapi.Bridge) { b.Name, b.MAC = "br9", "01:00:5e:00:00:01" })),
		"long name":           create(with(theBridge, func(b *hostapi.Bridge) { b.Name = "sixteencharacter" })),
		"pattern as name":     create(with(theBridge, func(b *hostapi.Bridge) { b.Name = "br%d" })),
		"path as name":        create(with(theBridge, func(b *hostapi.Bridge) { b.Name = "../all" })),
		"dots as name":        remove(with(theBridge, func(b *hostapi.Bridge) { b.Name = ".." })),
		"no such namespace":   create(with(theVeth, func(v *hostapi.Veth) { v.Netns = "nowhere" })),
		"inner name":          create(with(theVeth, func(v *hostapi.Veth) { v.Inner = "a/b" })),
		"inner mac":           create(with(theVeth, func(v *hostapi.Veth) { v.InnerMAC = "" })),
		"namespace's name":    create(hostapi.Namespace{Name: "../x"}),
		"no lifetime":         create(hostapi.Address{Link: "br100", Prefix: netip.MustParsePrefix("192.168.100.1/24")}),
		"no prefix":           create(hostapi.Address{Link: "br100", Lifetime: time.Minute}),
		"address of nothing":  create(hostapi.Address{Link: "br9", Prefix: netip.MustParsePrefix("192.168.100.1/24"), Lifetime: time.Minute}),
	} {
		before := snapshot(t)
		_, err := m.apply(s)
		want := hostapi.KindInvalid
		if name == "bridge is no bridge" {
			want = hostapi.KindForeign // loopback is not ours, whatever it is
		}
		if kindOf(err) != want {
			t.Errorf("%s: %v, want kind %d", name, err, want)
		}
		if diff := cmp.Diff(before, snapshot(t)); diff != "" {
			t.Errorf("%s: left behind (-before +after):\n%s", name, diff)
		}
	}
	m.must(remove(theNamespace), remove(theBridge))
}

func TestHalfMadeVethIsTakenAwayAgain(t *testing.T) {
	m := newMachine(t)
	m.must(create(theBridge), create(theNamespace))
	bad := with(theVeth, func(v *hostapi.Veth) { v.Addresses = []netip.Prefix{netip.MustParsePrefix("ff02::1/64")} })
	if _, err := m.apply(create(bad)); err == nil {
		t.Error("a multicast address was accepted")
	}
	if m.seen("vcn1") != nil {
		t.Error("vcn1 was left behind")
	}
	if err := noIntents(m.store); err != nil {
		t.Error(err)
	}
	m.must(remove(theNamespace), remove(theBridge))
}

func TestLinkInTheNamespaceThatIsNotTheOtherEndIsForeign(t *testing.T) {
	m := newMachine(t)
	m.must(create(theBridge), create(theNamespace))
	if err := ns.Do("lu-cn1", func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes("eth0", nil)}) }); err != nil {
		t.Fatal(err)
	}
	if _, err := m.apply(create(theVeth)); kindOf(err) != hostapi.KindForeign {
		t.Errorf("create veth: %v, want foreign", err)
	}
	m.must(remove(theNamespace), remove(theBridge))
}

func TestTemporaryAddressGoesByItself(t *testing.T) {
	m := newMachine(t)
	m.must(create(theBridge), create(with(theVTEP, func(v *hostapi.VTEP) { v.Bridge = "" })))
	for _, text := range []string{"192.168.100.1/24", "fd00:100::1/64"} {
		prefix := netip.MustParsePrefix(text)
		address := func(life time.Duration) hostapi.Step {
			return create(hostapi.Address{Link: "vx100", Prefix: prefix, Lifetime: life})
		}
		if n := m.must(address(time.Minute)); n != 1 {
			t.Errorf("%s: %d changes, want 1", text, n)
		}
		if n := m.must(address(time.Minute)); n != 0 {
			t.Errorf("%s again: %d changes, want none", text, n)
		}
		if got := m.seen("vx100").Addresses; !slices.Equal(got, []netip.Prefix{prefix}) {
			t.Errorf("addresses %v, want %s", got, prefix)
		}
		peer := prefix.Addr().Next()
		route := func() string {
			return m.observe(hostapi.ObserveRequest{Peers: []netip.Addr{peer}}).Routes[0].Device
		}
		if got := route(); got != "vx100" {
			t.Errorf("route to %s over %q, want vx100", peer, got)
		}
		for i, want := range []int{1, 0} {
			if n := m.must(remove(hostapi.Address{Link: "vx100", Prefix: prefix})); n != want {
				t.Errorf("%s removed, time %d: %d changes, want %d", text, i+1, n, want)
			}
		}
		if got := route(); got != "" {
			t.Errorf("the route to %s over %s outlives the address", peer, got)
		}
		if n := m.must(address(time.Second)); n != 1 {
			t.Errorf("%s for a second: %d changes, want 1", text, n)
		}
		m.settle(func() error {
			if got := m.seen("vx100").Addresses; got != nil {
				return errors.New("address is still there")
			}
			if got := route(); got != "" {
				return errors.New("route is still there")
			}
			return nil
		})
	}
	m.must(remove(hostapi.Address{Link: "vx9", Prefix: netip.MustParsePrefix("192.168.100.1/24")}), remove(theVTEP), remove(theBridge))
}

func TestBridgeKeepsItsMTUWhateverItsPortsHave(t *testing.T) {
	m := newMachine(t)
	m.must(wholeLab()...)
	m.must(create(with(theVTEP, func(v *hostapi.VTEP) { v.MTU = 1300 })))
	if got := m.seen("br100").MTU; got != 1450 {
		t.Errorf("mtu of the bridge %d, want 1450", got)
	}
	m.must(wholeLabAway()...)
}

func TestIPNetnsSeesTheNamespaces(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs iproute2: ", err)
	}
	m := newMachine(t)
	m.must(wholeLab()...)
	out, err := exec.Command("ip", "-n", "lu-cn1", "-br", "address", "show", "dev", "eth0").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "192.168.100.11/24") {
		t.Errorf("ip -n lu-cn1 address: %v\n%s", err, out)
	}
	if out, err := exec.Command("ip", "netns", "list").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "lu-cn1") {
		t.Errorf("ip netns list: %v\n%s", err, out)
	}
	m.must(wholeLabAway()...)
}

func TestObserveEndsWithItsContext(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.kernel.Observe(ctx, hostapi.ObserveRequest{Lab: lab}, m.store); !errors.Is(err, context.Canceled) {
		t.Errorf("Observe: %v, want canceled", err)
	}
}

func BenchmarkBatch(b *testing.B) {
	m := newMachine(b)
	for b.Loop() {
		m.must(wholeLab()...)
		m.must(wholeLabAway()...)
	}
}

func BenchmarkUnchangedBatch(b *testing.B) {
	m := newMachine(b)
	m.must(wholeLab()...)
	for b.Loop() {
		m.must(wholeLab()...)
	}
	m.must(wholeLabAway()...)
}

func BenchmarkObserve(b *testing.B) {
	m := newMachine(b)
	m.must(wholeLab()...)
	for b.Loop() {
		m.observe(hostapi.ObserveRequest{Peers: []netip.Addr{netip.MustParseAddr("192.0.2.2")}})
	}
	m.must(wholeLabAway()...)
}
