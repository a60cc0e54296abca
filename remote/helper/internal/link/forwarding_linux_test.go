package link

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"vxorch/remote/hostapi"
)

var theStaticVTEP = with(theVTEP, func(v *hostapi.VTEP) { v.Group, v.Static = netip.Addr{}, true })

// endpoints gives n remote endpoints with an IPv4 and an IPv6 address each,
// spread over 16 tunnel ends.
func endpoints(n int) []hostapi.Remote {
	var all []hostapi.Remote
	for i := range n {
		all = append(all, hostapi.Remote{
			MAC:       fmt.Sprintf("02:00:00:01:%02x:%02x", i>>8, i&0xff),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 77, byte(i >> 8), byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd00:77::%x", i+1))},
			Via:       netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i%16)}),
		})
	}
	return all
}

func TestForwardingDriftIsMended(t *testing.T) {
	remotes := endpoints(3)
	theTable := hostapi.Forwarding{VTEP: "vx100", Bridge: "br100", Remotes: remotes}
	theList := hostapi.Forwarding{VTEP: "vx100", Flood: []netip.Addr{remotes[0].Via, remotes[1].Via}}
	mac := func(i int) net.HardwareAddr {
		m, err := net.ParseMAC(remotes[i].MAC)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	entry := func(m *machineUnderTest, kind string, i int) *netlink.Neigh {
		n, err := neighbour(hostapi.ForwardingEntry{Kind: kind, MAC: remotes[i].MAC, Addr: remotes[i].Via}, m.link("vx100").Attrs().Index, m.link("br100").Attrs().Index)
		if err != nil {
			t.Fatal(err)
		}
		if kind == hostapi.EntryNeighbour {
			n.IP = remotes[i].Addresses[0].AsSlice()
		}
		return n
	}
	for name, c := range map[string]struct {
		vtep  hostapi.VTEP
		wants hostapi.Forwarding
		drift func(m *machineUnderTest) error
	}{
		"remote entry gone": {theStaticVTEP, theTable, func(m *machineUnderTest) error { return netlink.NeighDel(entry(m, hostapi.EntryRemote, 0)) }},
		"remote entry elsewhere": {theStaticVTEP, theTable, func(m *machineUnderTest) error {
			n := entry(m, hostapi.EntryRemote, 0)
			n.IP = remotes[2].Via.AsSlice()
			return netlink.NeighSet(n)
		}},
		"port entry gone": {theStaticVTEP, theTable, func(m *machineUnderTest) error { return netlink.NeighDel(entry(m, hostapi.EntryPort, 1)) }},
		"neighbour gone":  {theStaticVTEP, theTable, func(m *machineUnderTest) error { return netlink.NeighDel(entry(m, hostapi.EntryNeighbour, 1)) }},
		"neighbour of others": {theStaticVTEP, theTable, func(m *machineUnderTest) error {
			n := entry(m, hostapi.EntryNeighbour, 1)
			n.HardwareAddr = mac(2)
			return netlink.NeighSet(n)
		}},
		"one too many": {theStaticVTEP, theTable, func(m *machineUnderTest) error {
			n := entry(m, hostapi.EntryRemote, 0)
			n.HardwareAddr = net.HardwareAddr{2, 9, 9, 9, 9, 9}
			return netlink.NeighSet(n)
		}},
		"a flood entry that floods": {theStaticVTEP, theTable, func(m *machineUnderTest) error {
			n := entry(m, hostapi.EntryRemote, 0)
			n.HardwareAddr = make(net.HardwareAddr, 6)
			return netlink.NeighAppend(n)
		}},
		"flood entry gone": {with(theStaticVTEP, func(v *hostapi.VTEP) { v.Static = false }), theList, func(m *machineUnderTest) error {
			n := entry(m, hostapi.EntryRemote, 0)
			n.HardwareAddr = make(net.HardwareAddr, 6)
			return netlink.NeighDel(n)
		}},
		"entries beside a group": {theVTEP, hostapi.Forwarding{VTEP: "vx100"}, func(m *machineUnderTest) error {
			n := entry(m, hostapi.EntryRemote, 0)
			n.HardwareAddr = make(net.HardwareAddr, 6)
			return netlink.NeighAppend(n)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.must(create(theBridge), create(c.vtep), create(c.wants))
			if changes := c.wants.Diff(m.seen("vx100").VXLAN.Forwarding); len(changes) > 0 {
				t.Fatalf("seen with %+v after it was made", changes)
			}
			if err := c.drift(m); err != nil {
				t.Fatal(err)
			}
			if changes := c.wants.Diff(m.seen("vx100").VXLAN.Forwarding); len(changes) == 0 {
				t.Error("the drift is not seen")
			}
			if n := m.must(create(c.wants)); n != 1 {
				t.Errorf("first time: %d changes, want 1", n)
			}
			if n := m.must(create(c.wants)); n != 0 {
				t.Errorf("second time: %d changes, want none", n)
			}
			if changes := c.wants.Diff(m.seen("vx100").VXLAN.Forwarding); len(changes) > 0 {
				t.Errorf("seen with %+v after it was mended", changes)
			}
			m.must(wholeLabAway()...)
		})
	}
}

func TestPortFlagsOfAStaticVTEPAreMended(t *testing.T) {
	m := newMachine(t)
	m.must(create(theBridge), create(theStaticVTEP))
	for name, drift := range map[string]func(netlink.Link) error{
		"learning on":     func(l netlink.Link) error { return netlink.LinkSetLearning(l, true) },
		"suppression off": func(l netlink.Link) error { return netlink.LinkSetBrNeighSuppress(l, false) },
	} {
		if err := drift(m.link("vx100")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := m.must(create(theStaticVTEP)); n != 1 {
			t.Errorf("%s: %d changes, want 1", name, n)
		}
		if l := m.seen("vx100"); l.PortLearning || !l.Suppress {
			t.Errorf("%s: learning %t, suppression %t after it was mended", name, l.PortLearning, l.Suppress)
		}
	}
	m.must(wholeLabAway()...)
}

// What the VTEP learns is its own business: it is neither counted nor removed.
func TestLearnedEntriesAreLeftAlone(t *testing.T) {
	m := newMachine(t)
	learning := with(theVTEP, func(v *hostapi.VTEP) { v.Group = netip.Addr{} })
	list := hostapi.Forwarding{VTEP: "vx100", Flood: []netip.Addr{netip.MustParseAddr("192.0.2.100")}}
	m.must(create(theBridge), create(learning), create(list))
	learned := &netlink.Neigh{
		LinkIndex: m.link("vx100").Attrs().Index, Family: netlink.FAMILY_V4, Flags: netlink.NTF_SELF, State: netlink.NUD_REACHABLE,
		HardwareAddr: net.HardwareAddr{2, 8, 8, 8, 8, 8}, IP: net.IPv4(192, 0, 2, 100).To4(),
	}
	learned.Family = 7 // AF_BRIDGE
	if err := netlink.NeighSet(learned); err != nil {
		t.Fatal(err)
	}
	if n := m.must(create(list)); n != 0 {
		t.Errorf("%d changes beside a learned entry, want none", n)
	}
	fdb, err := netlink.NeighList(learned.LinkIndex, 7)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(fdb, func(n netlink.Neigh) bool { return n.HardwareAddr.String() == learned.HardwareAddr.String() }) {
		t.Errorf("the learned entry is gone: %v", fdb)
	}
	m.must(wholeLabAway()...)
}

func BenchmarkStaticTable(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := hostapi.Forwarding{VTEP: "vx100", Bridge: "br100", Remotes: endpoints(n)}
			m := newMachine(b)
			for b.Loop() {
				b.StopTimer()
				m.must(create(theBridge), create(theStaticVTEP))
				b.StartTimer()
				m.must(create(table))
				b.StopTimer()
				m.must(wholeLabAway()...)
				b.StartTimer()
			}
		})
	}
}
