package link

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

func (m *machineUnderTest) clashes(ports []int, subnets ...string) hostapi.Facts {
	m.t.Helper()
	req := hostapi.ObserveRequest{Lab: lab, Ports: ports}
	for _, s := range subnets {
		req.Subnets = append(req.Subnets, netip.MustParsePrefix(s))
	}
	f, err := m.kernel.Observe(context.Background(), req, m.store)
	if err != nil {
		m.t.Fatal(err)
	}
	return f
}

func TestProcessesOnAPortAreSeen(t *testing.T) {
	m := newMachine(t)
	if f := m.clashes([]int{4789}); len(f.Holders) > 0 {
		t.Fatalf("holders %+v of a port that nobody holds", f.Holders)
	}
	for _, address := range []string{"192.0.2.1:4789", "[::1]:4789", "127.0.0.1:4790"} {
		conn, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	own := hostapi.PortHolder{Port: 4789, Process: strings.TrimSpace(string(comm)), PID: os.Getpid()}
	four, six := own, own
	four.Address, six.Address = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::1")
	if diff := cmp.Diff([]hostapi.PortHolder{four, six}, m.clashes([]int{4789}).Holders, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
}

func TestOwnVTEPHoldsNoPort(t *testing.T) {
	m := newMachine(t)
	m.must(wholeLab()...)
	defer m.must(wholeLabAway()...)
	if f := m.clashes([]int{theVTEP.Port}); len(f.Holders) > 0 {
		t.Errorf("holders %+v, want none", f.Holders)
	}
}

func TestRoutesThatOverlapAreSeen(t *testing.T) {
	m := newMachine(t)
	m.must(wholeLab()...)
	defer m.must(wholeLabAway()...)
	add := func(r netlink.Route) {
		t.Helper()
		if err := netlink.RouteAdd(&r); err != nil {
			t.Fatal(err)
		}
	}
	subnet := func(s string) *net.IPNet {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	under, bridge := m.link("under0").Attrs().Index, m.link(theBridge.Name).Attrs().Index
	add(netlink.Route{LinkIndex: under, Gw: net.ParseIP("192.0.2.9")}) // default
	add(netlink.Route{LinkIndex: under, Dst: subnet("10.5.0.0/16"), Gw: net.ParseIP("192.0.2.9")})
	add(netlink.Route{LinkIndex: under, Dst: subnet("10.6.1.0/24"), Table: 77})
	add(netlink.Route{LinkIndex: bridge, Dst: subnet("10.5.7.0/24")}) // a proof's
	add(netlink.Route{Dst: subnet("10.7.0.0/16"), Type: unix.RTN_BLACKHOLE})
	defer netlink.RouteDel(&netlink.Route{Dst: subnet("10.7.0.0/16"), Type: unix.RTN_BLACKHOLE})

	five, seven, own := netip.MustParsePrefix("10.5.7.0/24"), netip.MustParsePrefix("10.7.7.0/24"), netip.MustParsePrefix("192.0.2.0/25")
	want := []hostapi.HostRoute{
		{Subnet: five, Prefix: netip.MustParsePrefix("10.5.0.0/16"), Device: "under0", Gateway: netip.MustParseAddr("192.0.2.9")},
		{Subnet: seven, Prefix: netip.MustParsePrefix("10.7.0.0/16")},
		{Subnet: own, Prefix: netip.MustParsePrefix("192.0.2.0/24"), Device: "under0"},
	}
	got := m.clashes(nil, "10.5.7.0/24", "10.6.1.0/24", "10.7.7.0/24", "192.0.2.0/25", "fd00:5::/64").Overlaps
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("overlaps (-want +got):\n%s", diff)
	}
}

func TestVXLANLinkSaysWhatItAsksOfItsPort(t *testing.T) {
	m := newMachine(t)
	a := netlink.NewLinkAttrs()
	a.Name = "metadata"
	m.add(&netlink.Vxlan{LinkAttrs: a, FlowBased: true, Port: 4789, Learning: true})
	defer m.delete("metadata")
	f := m.clashes(nil)
	if len(f.Links) != 1 || f.Links[0].VXLAN == nil || f.Links[0].VXLAN.Shares != "external" {
		t.Errorf("links %+v, want one that asks for external", f.Links)
	}
}

// A link kind that no kernel has goes the way of one that this kernel lacks: it
// looks for the module rtnl-link-KIND, finds none and says EOPNOTSUPP.
func TestKindThatTheKernelLacksIsUnsupportedAndLeavesNothing(t *testing.T) {
	m := newMachine(t)
	lock, err := m.store.Lock(lab, hostapi.Holder{User: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.kernel.Begin(lock, hostapi.Mark{User: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	w := b.vtep(theVTEP)
	w.bridge = ""
	w.create = func(mac net.HardwareAddr) error {
		return b.host.library.LinkAdd(&netlink.GenericLink{LinkAttrs: attributes(w.name, mac), LinkType: "vxorch-none"})
	}
	changed, err := b.ensure(w)
	if changed || !errors.Is(err, hostapi.ErrUnsupported) {
		t.Errorf("ensure: %v, %v; want no change and ErrUnsupported", changed, err)
	}
	e := hostapi.AsError(classify(err))
	if e.Kind != hostapi.KindUnsupported || e.Hint != "modprobe vxlan" || !strings.Contains(e.Message, "cannot make a vtep") {
		t.Errorf("the error is %+v, want it unsupported, with the module to load", e)
	}
	if err := errors.Join(b.End(), lock.Release()); err != nil {
		t.Fatal(err)
	}
	if f := m.clashes(nil); len(f.Links) > 0 || len(f.Leftovers) > 0 {
		t.Errorf("links %v and leftovers %v, want none", f.Links, f.Leftovers)
	}
}
