package probe_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/probe"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
	"vxorch/remote/internal/ns/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// segment makes a bridge in the test's own namespace, with the address
// 10.9.0.254, and n namespaces p0, p1, … on it.
func segment(t testing.TB, n int) {
	t.Helper()
	host, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	must(t, host.LinkAdd(bridge))
	t.Cleanup(func() { must(t, netlink.LinkDel(bridge)) })
	must(t, host.AddrAdd(bridge, &netlink.Addr{IPNet: prefix("10.9.0.254/16")}))
	must(t, host.LinkSetUp(bridge))
	for i := range n {
		must(t, ns.Create(name(i), loopbackUp))
		t.Cleanup(func() { must(t, ns.Remove(name(i))) })
		join(t, host, bridge, i)
	}
	// A port forwards when the kernel has seen its carrier, and an IPv6 address
	// is one when it has a route, which takes a moment.
	for i := range n {
		await(t, func() bool { return isUp(t, fmt.Sprintf("v%d", i)) })
		inside(t, name(i), func() error {
			await(t, func() bool {
				routes, err := netlink.RouteGet(v6(i).AsSlice())
				return isUp(t, "eth0") && err == nil && routes[0].Type == unix.RTN_LOCAL
			})
			return nil
		})
	}
}

func isUp(t testing.TB, link string) bool {
	l, err := netlink.LinkByName(link)
	must(t, err)
	return l.Attrs().OperState == netlink.OperUp
}

// await waits until condition holds.
func await(t testing.TB, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited for half a minute")
		}
	}
}

// introduce tells each of the first n namespaces the others' link addresses: of
// neighbours to look for, the kernel holds 1024 at most, in all namespaces
// together (net.ipv4.neigh.default.gc_thresh3).
func introduce(t testing.TB, n int) {
	t.Helper()
	handles := make([]*netlink.Handle, n)
	links := make([]netlink.Link, n)
	for i := range n {
		file, err := ns.Open(name(i))
		must(t, err)
		defer file.Close()
		handles[i], err = netlink.NewHandleAt(netns.NsHandle(file.Fd()))
		must(t, err)
		defer handles[i].Close()
		links[i], err = handles[i].LinkByName("eth0")
		must(t, err)
	}
	for from := range n {
		for to := range n {
			must(t, handles[from].NeighSet(&netlink.Neigh{
				LinkIndex:    links[from].Attrs().Index,
				State:        netlink.NUD_PERMANENT,
				IP:           v4(to).AsSlice(),
				HardwareAddr: links[to].Attrs().HardwareAddr,
			}))
		}
	}
}

// join joins namespace i to bridge by a veth.
func join(t testing.TB, host *netlink.Handle, bridge netlink.Link, i int) {
	t.Helper()
	file, err := ns.Open(name(i))
	must(t, err)
	defer file.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = fmt.Sprintf("v%d", i), bridge.Attrs().Index
	must(t, host.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(file.Fd())}))
	outer, err := host.LinkByName(attrs.Name)
	must(t, err)
	// The kernel ends a namespace, and the veth with it, some time later.
	t.Cleanup(func() { must(t, netlink.LinkDel(outer)) })
	must(t, host.LinkSetUp(outer))

	inside, err := netlink.NewHandleAt(netns.NsHandle(file.Fd()))
	must(t, err)
	defer inside.Close()
	inner, err := inside.LinkByName("eth0")
	must(t, err)
	must(t, inside.AddrAdd(inner, &netlink.Addr{IPNet: prefix(v4(i).String() + "/16")}))
	// Without duplicate address detection, which takes a second.
	must(t, inside.AddrAdd(inner, &netlink.Addr{IPNet: prefix(v6(i).String() + "/64"), Flags: 0x02}))
	must(t, inside.LinkSetUp(inner))
}

func name(i int) string   { return fmt.Sprintf("p%d", i) }
func v4(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, byte(i / 250), byte(i%250 + 1)}) }
func v6(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00:9::%x", i+1)) }

func prefix(s string) *net.IPNet {
	ip, network, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	network.IP = ip
	return network
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// inside runs f in the named namespace.
func inside(t testing.TB, netns string, f func() error) {
	t.Helper()
	must(t, ns.Do(netns, f))
}

func sysctl(path, value string) func() error {
	return func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0o644) }
}

func run(t testing.TB, probes ...hostapi.Probe) []hostapi.ProbeResult {
	t.Helper()
	results, err := probe.Run(t.Context(), probes)
	if err != nil {
		t.Fatalf("Run = %v", err)
	}
	if len(results) != len(probes) {
		t.Fatalf("Run gave %d results for %d probes", len(results), len(probes))
	}
	return results
}

// counts compares results without the times.
var counts = cmpopts.IgnoreFields(hostapi.ProbeResult{}, "RTT")

var (
	answered = hostapi.ProbeResult{Sent: 1, Received: 1}
	lost     = hostapi.ProbeResult{Sent: 3}
)

func TestRepliesFromEverywhereToEverywhere(t *testing.T) {
	defer goleak.VerifyNone(t)
	segment(t, 3)
	var probes []hostapi.Probe
	for _, from := range []string{"", "p0", "p1", "p2"} {
		for i := range 3 {
			probes = append(probes, hostapi.Probe{Netns: from, Target: v4(i)})
			if from != "" {
				probes = append(probes, hostapi.Probe{Netns: from, Target: v6(i), Bytes: 1, Tries: 1})
			}
		}
		probes = append(probes, hostapi.Probe{Netns: from, Target: netip.MustParseAddr("::ffff:127.0.0.1")})
		probes = append(probes, hostapi.Probe{Netns: from, Target: netip.MustParseAddr("::1")})
	}
	for i, got := range run(t, probes...) {
		if diff := gocmp.Diff(answered, got, counts); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", probes[i], diff)
		}
		if got.RTT <= 0 || got.RTT > time.Second {
			t.Errorf("%+v: RTT = %v, want more than 0 and at most a second", probes[i], got.RTT)
		}
	}
}

func TestPayloadsOfAnySize(t *testing.T) {
	segment(t, 2)
	for _, size := range []int{1, 56, 1472, 9000, 65507} {
		got := run(t,
			hostapi.Probe{Netns: "p0", Target: v4(1), Bytes: size},
			hostapi.Probe{Netns: "p0", Target: v6(1), Bytes: size})
		if diff := gocmp.Diff([]hostapi.ProbeResult{answered, answered}, got, counts); diff != "" {
			t.Errorf("%d bytes (-want +got):\n%s", size, diff)
		}
	}
}

func TestALostReplyIsCountedAndHoldsNobodyUp(t *testing.T) {
	segment(t, 2)
	inside(t, "p1", sysctl("net/ipv4/icmp_echo_ignore_all", "1"))
	started := time.Now()
	got := run(t,
		hostapi.Probe{Netns: "p0", Target: v4(1)}, // there, but silent
		hostapi.Probe{Netns: "p0", Target: v6(1)},
		hostapi.Probe{Netns: "p0", Target: v4(77)}, // nobody there
		hostapi.Probe{Netns: "p0", Target: v4(1), Tries: 1},
		hostapi.Probe{Netns: "p0", Target: netip.MustParseAddr("10.9.0.254"), Tries: 2})
	took := time.Since(started)
	want := []hostapi.ProbeResult{lost, answered, lost, {Sent: 1}, answered}
	if diff := gocmp.Diff(want, got, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got[0].RTT != 0 {
		t.Errorf("RTT without a reply = %v, want 0", got[0].RTT)
	}
	if took < 2*time.Second || took > 12*time.Second {
		t.Errorf("took %v, want two seconds on a quiet machine: a second after the last request", took)
	}
}

func TestALaterTryIsEnough(t *testing.T) {
	segment(t, 2)
	inside(t, "p1", sysctl("net/ipv4/icmp_echo_ignore_all", "1"))
	var conn net.PacketConn
	inside(t, "p1", func() (err error) {
		conn, err = net.ListenPacket("ip4:1", "0.0.0.0")
		return err
	})
	defer conn.Close()
	awake := make(chan error, 1)
	go func() { // the target wakes up after the first request reached it
		_, _, err := conn.ReadFrom(make([]byte, 1500))
		awake <- cmp.Or(err, ns.Do("p1", sysctl("net/ipv4/icmp_echo_ignore_all", "0")))
	}()
	began := time.Now()
	got := run(t, hostapi.Probe{Netns: "p0", Target: v4(1)})
	took := time.Since(began)
	must(t, <-awake)
	if got[0].Sent < 2 || got[0].Received != 1 || got[0].Error != nil { // a third where it takes long to wake up
		t.Errorf("%+v, want a reply to a later try", got[0])
	}
	if got[0].RTT > took-300*time.Millisecond {
		t.Errorf("RTT = %v of %v: it counts from the first request, not from the answered one", got[0].RTT, took)
	}
}

// quickest gives how long f takes on a machine that does nothing else: where it is
// busy that is longer, and f is tried again.
func quickest(f func()) time.Duration {
	least := time.Hour
	for try := 0; try < 20 && least > 200*time.Millisecond; try++ {
		began := time.Now()
		f()
		least = min(least, time.Since(began))
	}
	return least
}

func TestWhatCannotBeSentIsAnErrorAtOnce(t *testing.T) {
	segment(t, 1)
	must(t, ns.Create("linkless", func() error { return nil }))
	t.Cleanup(func() { must(t, ns.Remove("linkless")) })
	probes := []hostapi.Probe{
		{Netns: "p0", Target: netip.MustParseAddr("198.51.100.1")},
		{Netns: "p0", Target: netip.MustParseAddr("2001:db8::1")},
		{Netns: "linkless", Target: v4(0)},
		{Netns: "nobody", Target: v4(0)},
		{Netns: "nobody", Target: v6(0)},
		{Netns: "", Target: v4(0)},
	}
	var got []hostapi.ProbeResult
	if took := quickest(func() { got = run(t, probes...) }); took > 250*time.Millisecond {
		t.Errorf("took %v, want no wait", took)
	}
	noRoute := func(to string) hostapi.ProbeResult {
		return hostapi.ProbeResult{Error: &hostapi.Error{Kind: hostapi.KindUnreachable, Message: "no route to " + to}}
	}
	unknown := hostapi.ProbeResult{Error: &hostapi.Error{Kind: hostapi.KindInvalid, Message: `there is no namespace "nobody"`}}
	want := []hostapi.ProbeResult{
		noRoute("198.51.100.1"), noRoute("2001:db8::1"), noRoute("10.9.0.1"),
		unknown, unknown, answered,
	}
	if diff := gocmp.Diff(want, got, counts, cmpopts.IgnoreFields(hostapi.Error{}, "Hint")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWithoutAnAddressThereIsAnErrorInTheEnd(t *testing.T) {
	must(t, ns.Create("linkless", loopbackUp))
	t.Cleanup(func() { must(t, ns.Remove("linkless")) })
	got := run(t, hostapi.Probe{Netns: "linkless", Target: v6(0)})[0]
	if got.Sent != 0 || got.Error == nil || !strings.Contains(got.Error.Message, v6(0).String()) {
		t.Errorf("%+v, want an error that names the target", got)
	}
}

func TestProbesThatMakeNoSenseAreRefused(t *testing.T) {
	for name, p := range map[string]hostapi.Probe{
		"no target":      {},
		"zone":           {Target: netip.MustParseAddr("fe80::1%lo")},
		"too many tries": {Target: v4(0), Tries: 4},
		"negative tries": {Target: v4(0), Tries: -1},
		"too many bytes": {Target: v4(0), Bytes: 65508},
		"negative bytes": {Target: v4(0), Bytes: -1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := probe.Run(t.Context(), []hostapi.Probe{p})
			if e := new(hostapi.Error); !errors.As(err, &e) || e.Kind != hostapi.KindInvalid {
				t.Errorf("Run(%+v) = %v, want KindInvalid", p, err)
			}
		})
	}
	tooMany := make([]hostapi.Probe, 1<<16)
	for i := range tooMany {
		tooMany[i].Target = v4(0)
	}
	if _, err := probe.Run(t.Context(), tooMany); err == nil || !strings.Contains(err.Error(), "65536 probes") {
		t.Errorf("Run of 65536 probes from one namespace = %v, want it refused", err)
	}
}

func TestNoProbesAreNoResults(t *testing.T) {
	if got := run(t); len(got) != 0 {
		t.Errorf("Run of nothing = %v", got)
	}
}

func TestCancelEndsTheWait(t *testing.T) {
	defer goleak.VerifyNone(t)
	segment(t, 1)
	var ctx context.Context
	took := quickest(func() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		_, err := probe.Run(ctx, []hostapi.Probe{{Netns: "p0", Target: v4(9)}, {Netns: "", Target: v4(9)}})
		if !errors.Is(err, hostapi.ErrCanceled) {
			t.Errorf("Run = %v, want ErrCanceled", err)
		}
	})
	if took > 500*time.Millisecond {
		t.Errorf("Run returned after %v", took)
	}
	if _, err := probe.Run(ctx, nil); !errors.Is(err, hostapi.ErrCanceled) {
		t.Errorf("Run with an ended context = %v, want ErrCanceled", err)
	}
}

// answer answers echo requests that reach the namespace's address in place of
// its kernel, with what forge makes of each. It ends with the test.
func answer(t *testing.T, netns string, forge func(conn *icmp.PacketConn, from net.Addr, request *icmp.Echo) error) {
	t.Helper()
	inside(t, netns, sysctl("net/ipv4/icmp_echo_ignore_all", "1"))
	var conn *icmp.PacketConn
	inside(t, netns, func() (err error) {
		conn, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	ended := make(chan error, 1)
	t.Cleanup(func() {
		conn.Close()
		must(t, <-ended)
	})
	go func() {
		ended <- func() error {
			buffer := make([]byte, 1500)
			for {
				n, from, err := conn.ReadFrom(buffer)
				if errors.Is(err, net.ErrClosed) {
					return nil
				}
				if err != nil {
					return err
				}
				message, err := icmp.ParseMessage(1, buffer[:n])
				if err != nil || message.Type != ipv4.ICMPTypeEcho {
					continue
				}
				if err := forge(conn, from, message.Body.(*icmp.Echo)); err != nil {
					return err
				}
			}
		}()
	}()
}

func sendEcho(conn *icmp.PacketConn, to net.Addr, kind ipv4.ICMPType, echo icmp.Echo) error {
	packet, err := (&icmp.Message{Type: kind, Body: &echo}).Marshal(nil)
	if err != nil {
		return err
	}
	_, err = conn.WriteTo(packet, to)
	return err
}

func TestRepliesToOthersAreNotTaken(t *testing.T) {
	spoilers := []struct {
		name  string
		spoil func(*icmp.Echo) ipv4.ICMPType
	}{
		{"nothing", func(*icmp.Echo) ipv4.ICMPType { return ipv4.ICMPTypeEchoReply }},
		{"another id", func(e *icmp.Echo) ipv4.ICMPType { e.ID ^= 1; return ipv4.ICMPTypeEchoReply }},
		{"another try", func(e *icmp.Echo) ipv4.ICMPType { e.Seq++; return ipv4.ICMPTypeEchoReply }},
		{"another probe", func(e *icmp.Echo) ipv4.ICMPType { e.Seq -= 3; return ipv4.ICMPTypeEchoReply }},
		{"no probe", func(e *icmp.Echo) ipv4.ICMPType { e.Seq += 300; return ipv4.ICMPTypeEchoReply }},
		{"another payload", func(e *icmp.Echo) ipv4.ICMPType { e.Data[0] ^= 1; return ipv4.ICMPTypeEchoReply }},
		{"a shorter payload", func(e *icmp.Echo) ipv4.ICMPType { e.Data = e.Data[:8]; return ipv4.ICMPTypeEchoReply }},
		{"a longer payload", func(e *icmp.Echo) ipv4.ICMPType { e.Data = append(e.Data, 0); return ipv4.ICMPTypeEchoReply }},
		{"a request", func(*icmp.Echo) ipv4.ICMPType { return ipv4.ICMPTypeEcho }},
	}
	segment(t, len(spoilers)+1)
	// The sender must not answer either: that would be a reply to a request.
	inside(t, "p0", sysctl("net/ipv4/icmp_echo_ignore_all", "1"))
	var probes []hostapi.Probe
	for i, s := range spoilers {
		answer(t, name(i+1), func(conn *icmp.PacketConn, from net.Addr, request *icmp.Echo) error {
			forged := icmp.Echo{ID: request.ID, Seq: request.Seq, Data: bytes.Clone(request.Data)}
			kind := s.spoil(&forged)
			return sendEcho(conn, from, kind, forged)
		})
		probes = append(probes, hostapi.Probe{Netns: "p0", Target: v4(i + 1), Tries: 1})
	}
	for i, got := range run(t, probes...) {
		if want := (hostapi.ProbeResult{Sent: 1, Received: 0}); i > 0 && !gocmp.Equal(want, got, counts) {
			t.Errorf("with %s spoiled: %+v, want %+v", spoilers[i].name, got, want)
		}
		if i == 0 && got.Received != 1 {
			t.Errorf("with nothing spoiled: %+v, want a reply", got)
		}
	}
}

func TestARightReplyFromAWrongAddressIsNotTaken(t *testing.T) {
	segment(t, 2)
	inside(t, "p1", func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(eth0, &netlink.Addr{IPNet: prefix("10.9.200.1/16")})
	})
	// Replies leave with the first address, also when the second was asked.
	answer(t, "p1", func(conn *icmp.PacketConn, from net.Addr, request *icmp.Echo) error {
		return sendEcho(conn, from, ipv4.ICMPTypeEchoReply, *request)
	})
	got := run(t,
		hostapi.Probe{Netns: "p0", Target: v4(1), Tries: 1},
		hostapi.Probe{Netns: "p0", Target: netip.MustParseAddr("10.9.200.1"), Tries: 1})
	if diff := gocmp.Diff([]hostapi.ProbeResult{answered, {Sent: 1}}, got, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDuplicateRepliesCountOnce(t *testing.T) {
	segment(t, 2)
	answer(t, "p1", func(conn *icmp.PacketConn, from net.Addr, request *icmp.Echo) error {
		return cmp.Or(
			sendEcho(conn, from, ipv4.ICMPTypeEchoReply, *request),
			sendEcho(conn, from, ipv4.ICMPTypeEchoReply, *request))
	})
	got := run(t,
		hostapi.Probe{Netns: "p0", Target: v4(1)},
		hostapi.Probe{Netns: "p0", Target: v4(1)},
		hostapi.Probe{Netns: "p0", Target: v4(50), Tries: 1}) // keeps the receiver there
	if diff := gocmp.Diff([]hostapi.ProbeResult{answered, answered, {Sent: 1}}, got, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSeveralRunsAtOnceDoNotMix(t *testing.T) {
	segment(t, 3)
	errs := make(chan error)
	for range 8 {
		go func() {
			results, err := probe.Run(t.Context(), []hostapi.Probe{{Netns: "p0", Target: v4(1)}, {Netns: "p0", Target: v4(2)}})
			if err == nil && !gocmp.Equal([]hostapi.ProbeResult{answered, answered}, results, counts) {
				err = fmt.Errorf("Run = %+v", results)
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestAFullMeshOfManyLosesNothing(t *testing.T) {
	const n = 20
	segment(t, n)
	var probes []hostapi.Probe
	for from := range n {
		for to := range n {
			probes = append(probes, hostapi.Probe{Netns: name(from), Target: v4(to)}, hostapi.Probe{Netns: name(from), Target: v6(to)})
		}
	}
	for i, got := range run(t, probes...) {
		if got.Received != 1 || got.Error != nil {
			t.Errorf("%+v = %+v, want a reply", probes[i], got)
		}
	}
}

func TestManyDeadTargetsDoNotHideALivingOne(t *testing.T) {
	segment(t, 1)
	var probes []hostapi.Probe
	for i := range 600 {
		probes = append(probes, hostapi.Probe{Target: netip.AddrFrom4([4]byte{10, 9, 100 + byte(i/250), byte(i % 250)}), Tries: 2})
	}
	probes = append(probes, hostapi.Probe{Target: v4(0), Tries: 2})
	started := time.Now()
	results := run(t, probes...)
	if got := results[len(results)-1]; got.Received != 1 {
		t.Errorf("the living target: %+v, want a reply", got)
	}
	if took := time.Since(started); took > 12*time.Second {
		t.Errorf("took %v, want 1.3 s on a quiet machine", took)
	}
}

// BenchmarkMeshOf64 probes from each of 64 namespaces to all the others.
func BenchmarkMeshOf64(b *testing.B) {
	const n = 64
	segment(b, n)
	introduce(b, n)
	var probes []hostapi.Probe
	for from := range n {
		for to := range n {
			if from != to {
				probes = append(probes, hostapi.Probe{Netns: name(from), Target: v4(to)})
			}
		}
	}
	var sent, received int
	for b.Loop() {
		for _, result := range run(b, probes...) {
			sent += result.Sent
			received += result.Received
		}
	}
	rounds := float64(b.N) * float64(len(probes))
	b.ReportMetric(float64(sent)/rounds, "requests/probe")
	b.ReportMetric(100*float64(received)/rounds, "%answered")
}
