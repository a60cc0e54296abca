package dhcp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/dhcp"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
	"vxorch/remote/internal/ns/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

const (
	mac1 = "02:00:00:00:00:01"
	mac2 = "02:00:00:00:00:02"
)

// bridge makes a bridge br0 in the test's own namespace with a port tap<i> for
// each MAC, whose other end is eth0 of a namespace guest<i>: what a tap and its
// guest look like to the bridge and to packet sockets.
func bridge(t *testing.T, macs ...string) {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
	// A MAC of its own: else it takes a port's, and speaks by that.
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 0xff}}}
	must(t, netlink.LinkAdd(br))
	t.Cleanup(func() { must(t, netlink.LinkDel(br)) })
	must(t, netlink.LinkSetUp(br))
	for i, mac := range macs {
		tap, guest := fmt.Sprintf("tap%d", i+1), fmt.Sprintf("guest%d", i+1)
		must(t, ns.Create(guest, func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			return netlink.LinkSetUp(lo)
		}))
		t.Cleanup(func() { must(t, ns.Remove(guest)) })
		file, err := ns.Open(guest)
		must(t, err)
		hw, err := net.ParseMAC(mac)
		must(t, err)
		must(t, netlink.LinkAdd(&netlink.Veth{
			LinkAttrs:        netlink.LinkAttrs{Name: tap, MasterIndex: br.Index},
			PeerName:         "eth0",
			PeerHardwareAddr: hw,
			PeerNamespace:    netlink.NsFd(file.Fd()),
		}))
		file.Close()
		link, err := netlink.LinkByName(tap)
		must(t, err)
		must(t, netlink.LinkSetUp(link))
		t.Cleanup(func() {
			if link, err := netlink.LinkByName(tap); err == nil {
				must(t, netlink.LinkDel(link))
			}
		})
		inside(t, guest, func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		})
		await(t, func() bool {
			link, err := netlink.LinkByName(tap)
			return err == nil && link.Attrs().OperState == netlink.OperUp
		})
	}
}

// udhcpc runs busybox's client in a guest's namespace, once, and gives what it
// was told, as the environment of its script.
func udhcpc(t *testing.T, guest string, args ...string) (bound map[string]string, output string, err error) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip("no real DHCP client: package busybox-static is missing")
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	must(t, os.WriteFile(script, []byte("#!"+busybox+" sh\nenv > "+dir+"/$1\n"), 0o700))
	cmd := exec.Command(busybox, append([]string{"udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "20", "-T", "1", "-s", script}, args...)...)
	var out []byte
	inside(t, guest, func() error {
		out, err = cmd.CombinedOutput()
		return nil
	})
	text, readErr := os.ReadFile(filepath.Join(dir, "bound"))
	if readErr != nil {
		return nil, string(out), err
	}
	bound = map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			bound[key] = value
		}
	}
	return bound, string(out), err
}

func lease(mac, prefix string) dhcp.Lease {
	return dhcp.Lease{MAC: mac, Address: netip.MustParsePrefix(prefix), MTU: 1450, Hostname: "vm1"}
}

func serve(t *testing.T, tap string, leases ...dhcp.Lease) *dhcp.Server {
	t.Helper()
	s, err := dhcp.Serve(t.Context(), tap, leases)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func TestARealClientGetsItsLease(t *testing.T) {
	bridge(t, mac1)
	s := serve(t, "tap1", lease(mac1, "192.168.100.21/24"))
	select {
	case <-s.Leased():
		t.Fatal("leased before anybody asked")
	default:
	}
	bound, output, err := udhcpc(t, "guest1")
	if err != nil {
		t.Fatalf("udhcpc: %v\n%s", err, output)
	}
	got := map[string]string{}
	for _, key := range []string{"ip", "mask", "subnet", "mtu", "hostname", "lease", "serverid", "router", "dns"} {
		got[key] = bound[key]
	}
	want := map[string]string{
		"ip": "192.168.100.21", "mask": "24", "subnet": "255.255.255.0", "mtu": "1450", "hostname": "vm1",
		"lease": "4294967295", "serverid": "169.254.0.1", "router": "", "dns": "",
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("what the client was told (-want +got):\n%s", diff)
	}
	select {
	case <-s.Leased():
	case <-time.After(30 * time.Second):
		t.Error("Leased is not closed though the lease was taken")
	}
}

func TestAClientThatAsksForABroadcastGetsOne(t *testing.T) {
	bridge(t, mac1)
	serve(t, "tap1", lease(mac1, "192.168.100.21/24"))
	if bound, output, err := udhcpc(t, "guest1", "-B"); err != nil || bound["ip"] != "192.168.100.21" {
		t.Errorf("udhcpc -B: ip %q, %v\n%s", bound["ip"], err, output)
	}
}

func TestAClientThatWantsItsOldAddressGetsItsNewOne(t *testing.T) {
	bridge(t, mac1)
	serve(t, "tap1", lease(mac1, "192.168.100.21/24"))
	if bound, output, err := udhcpc(t, "guest1", "-r", "192.168.100.99"); err != nil || bound["ip"] != "192.168.100.21" {
		t.Errorf("udhcpc -r: ip %q, %v\n%s", bound["ip"], err, output)
	}
}

func TestOtherMACsAreNotAnswered(t *testing.T) {
	bridge(t, mac1, mac2)
	s := serve(t, "tap1", lease(mac2, "192.168.100.21/24")) // for a MAC that is not behind this tap
	for _, guest := range []string{"guest1", "guest2"} {
		if bound, output, err := udhcpc(t, guest, "-t", "1"); err == nil || bound != nil {
			t.Errorf("%s got a lease: %v\n%s", guest, bound, output)
		}
	}
	select {
	case <-s.Leased():
		t.Error("leased, though nobody took it")
	default:
	}
}

func TestEveryTapHasItsOwnServer(t *testing.T) {
	bridge(t, mac1, mac2)
	serve(t, "tap1", lease(mac1, "192.168.100.21/24"))
	serve(t, "tap2", lease(mac2, "192.168.100.22/24"))
	for guest, want := range map[string]string{"guest1": "192.168.100.21", "guest2": "192.168.100.22"} {
		if bound, output, err := udhcpc(t, guest); err != nil || bound["ip"] != want {
			t.Errorf("%s got %q, want %s (%v)\n%s", guest, bound["ip"], want, err, output)
		}
	}
}

// overheard gives a count of the DHCP frames that come in at a guest's end.
func overheard(t *testing.T, guest string) func() int {
	t.Helper()
	conn := frames(t, guest)
	return func() (count int) {
		must(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		buffer := make([]byte, 2000)
		for {
			n, _, err := conn.ReadFrom(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return count
			}
			must(t, err)
			// IPv4, UDP, and a DHCP server's or client's port.
			if frame := buffer[:n]; n >= 38 && frame[12] == 8 && frame[13] == 0 && frame[23] == unix.IPPROTO_UDP && (frame[37] == 67 || frame[37] == 68) {
				count++
			}
		}
	}
}

func TestNothingOfDHCPCrossesTheBridge(t *testing.T) {
	bridge(t, mac1, mac2)
	heard := overheard(t, "guest2")

	if _, _, err := udhcpc(t, "guest1", "-t", "1"); err == nil {
		t.Fatal("a lease without a server")
	}
	if heard() == 0 {
		t.Fatal("without a filter nothing was overheard: this test would prove nothing")
	}

	s := serve(t, "tap1", lease(mac1, "192.168.100.21/24"))
	if bound, output, err := udhcpc(t, "guest1"); err != nil {
		t.Fatalf("udhcpc: %v, %v\n%s", bound, err, output)
	}
	if got := heard(); got != 0 {
		t.Errorf("%d DHCP frames crossed the bridge", got)
	}
	// Nor does what another machine inside the guest asks.
	inside(t, "guest1", func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		hw, _ := net.ParseMAC("02:00:00:00:00:99")
		return netlink.LinkSetHardwareAddr(link, hw)
	})
	if _, _, err := udhcpc(t, "guest1", "-t", "1"); err == nil {
		t.Error("a MAC without a lease was answered")
	}
	if got := heard(); got != 0 {
		t.Errorf("%d DHCP frames of another MAC crossed the bridge", got)
	}

	must(t, s.Close())
	if _, _, err := udhcpc(t, "guest1", "-t", "1"); err == nil {
		t.Error("answered after Close")
	}
	if heard() == 0 {
		t.Error("the filter still stands after Close")
	}
}

func TestOtherTrafficPassesWhileServing(t *testing.T) {
	bridge(t, mac1, mac2)
	serve(t, "tap1", lease(mac1, "10.0.0.1/24"))
	address(t, "guest1", "10.0.0.1/24")
	address(t, "guest2", "10.0.0.2/24")
	inside(t, "guest1", func() error {
		if out, err := exec.Command("ping", "-c", "1", "-W", "5", "10.0.0.2").CombinedOutput(); err != nil {
			t.Errorf("ping: %v\n%s", err, out)
		}
		return nil
	})
}

func TestCloseLeavesTheTapAsItWas(t *testing.T) {
	bridge(t, mac1)
	before := qdiscs(t, "tap1")
	s := serve(t, "tap1", lease(mac1, "10.0.0.1/24"))
	if during := qdiscs(t, "tap1"); slices.Equal(during, before) {
		t.Fatalf("no filter stands while serving: %v", during)
	}
	must(t, s.Close())
	must(t, s.Close())
	if diff := gocmp.Diff(before, qdiscs(t, "tap1")); diff != "" {
		t.Errorf("after Close (-before +after):\n%s", diff)
	}
}

func TestTheEndOfTheContextEndsTheServing(t *testing.T) {
	bridge(t, mac1)
	before := qdiscs(t, "tap1")
	ctx, cancel := context.WithCancel(t.Context())
	s, err := dhcp.Serve(ctx, "tap1", []dhcp.Lease{lease(mac1, "10.0.0.1/24")})
	must(t, err)
	cancel()
	await(t, func() bool { return slices.Equal(before, qdiscs(t, "tap1")) })
	must(t, s.Close())
}

func TestAFilterThatSomebodyElseHasThereStays(t *testing.T) {
	bridge(t, mac1)
	link, err := netlink.LinkByName("tap1")
	must(t, err)
	must(t, netlink.QdiscAdd(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}))
	must(t, netlink.FilterAdd(&netlink.U32{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_EGRESS, Priority: 1, Protocol: unix.ETH_P_IP,
	}, ClassId: 1}))
	before := qdiscs(t, "tap1")
	s := serve(t, "tap1", lease(mac1, "10.0.0.1/24"))
	must(t, s.Close())
	if diff := gocmp.Diff(before, qdiscs(t, "tap1")); diff != "" {
		t.Errorf("after Close (-before +after):\n%s", diff)
	}
}

// TestWhatADeadHelperLeftIsTakenOver stands two servers on one tap: the first is
// never closed before the second, as if it had been killed.
func TestWhatADeadHelperLeftIsTakenOver(t *testing.T) {
	bridge(t, mac1)
	before := qdiscs(t, "tap1")
	serve(t, "tap1", lease(mac1, "10.0.0.1/24"))
	s := serve(t, "tap1", lease(mac1, "10.0.0.1/24"))
	must(t, s.Close())
	if diff := gocmp.Diff(before, qdiscs(t, "tap1")); diff != "" {
		t.Errorf("after Close (-before +after):\n%s", diff)
	}
}

func TestATapThatGoesAwayEndsNothingBadly(t *testing.T) {
	bridge(t, mac1)
	s := serve(t, "tap1", lease(mac1, "10.0.0.1/24"))
	link, err := netlink.LinkByName("tap1")
	must(t, err)
	must(t, netlink.LinkDel(link))
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestALeaseThatMakesNoSenseIsRefused(t *testing.T) {
	bridge(t, mac1)
	before := qdiscs(t, "tap1")
	good := lease(mac1, "10.0.0.1/24")
	for name, leases := range map[string][]dhcp.Lease{
		"none":          {},
		"no MAC":        {{Address: good.Address}},
		"a group's MAC": {{MAC: "01:00:00:00:00:01", Address: good.Address}},
		"a long MAC":    {{MAC: "02:00:00:00:00:00:00:01", Address: good.Address}},
		"no address":    {{MAC: mac1}},
		"IPv6":          {{MAC: mac1, Address: netip.MustParsePrefix("fd00::1/64")}},
		"mtu":           {{MAC: mac1, Address: good.Address, MTU: 65536}},
		"host name":     {{MAC: mac1, Address: good.Address, Hostname: strings.Repeat("x", 256)}},
		"twice":         {good, good},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := dhcp.Serve(t.Context(), "tap1", leases); !errors.Is(err, hostapi.ErrInvalid) {
				t.Errorf("Serve gave %v, want an invalid request", err)
			}
		})
	}
	if _, err := dhcp.Serve(t.Context(), "absent", []dhcp.Lease{good}); !errors.Is(err, hostapi.ErrInvalid) {
		t.Errorf("Serve on no tap gave %v, want an invalid request", err)
	}
	if diff := gocmp.Diff(before, qdiscs(t, "tap1")); diff != "" {
		t.Errorf("after refusals (-before +after):\n%s", diff)
	}
}

func TestAnswersSeesAnAddressComeUp(t *testing.T) {
	for name, prefix := range map[string]string{"IPv4": "10.0.0.1/24", "IPv6": "fd00::1/64"} {
		t.Run(name, func(t *testing.T) {
			bridge(t, mac1, mac2)
			addr := netip.MustParsePrefix(prefix).Addr()
			if has, err := answers(t, "tap1", addr, 250*time.Millisecond); has || err != nil {
				t.Fatalf("before the guest has it: %t, %v", has, err)
			}
			type outcome struct {
				has bool
				err error
			}
			result := make(chan outcome, 1)
			go func() {
				has, err := answers(t, "tap1", addr, 10*time.Second)
				result <- outcome{has, err}
			}()
			address(t, "guest1", prefix)
			if got := <-result; !got.has || got.err != nil {
				t.Errorf("when the guest has it: %t, %v", got.has, got.err)
			}
			// It is this guest's and no other's.
			if has, err := answers(t, "tap2", addr, 250*time.Millisecond); has || err != nil {
				t.Errorf("on the other guest's tap: %t, %v", has, err)
			}
		})
	}
}

func TestAGuestThatFiltersReversePathsAnswers(t *testing.T) {
	bridge(t, mac1)
	inside(t, "guest1", func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0o600),
			os.WriteFile("/proc/sys/net/ipv4/conf/eth0/rp_filter", []byte("1"), 0o600))
	})
	address(t, "guest1", "10.0.0.1/24")
	if has, err := answers(t, "tap1", netip.MustParseAddr("10.0.0.1"), 10*time.Second); !has || err != nil {
		t.Errorf("Answers gave %t, %v", has, err)
	}
}

// TestAGuestThatChecksItsAddressKeepsIt asks all the time while the guest's
// kernel sees whether somebody else has its address (RFC 4862 §5.4).
func TestAGuestThatChecksItsAddressKeepsIt(t *testing.T) {
	bridge(t, mac1)
	addr := netip.MustParseAddr("fd00::1")
	inside(t, "guest1", func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv6/conf/eth0/accept_dad", []byte("1"), 0o600),
			os.WriteFile("/proc/sys/net/ipv6/conf/eth0/dad_transmits", []byte("2"), 0o600))
	})
	address(t, "guest1", "fd00::1/64")
	if has, err := answers(t, "tap1", addr, 10*time.Second); !has || err != nil {
		t.Fatalf("Answers gave %t, %v", has, err)
	}
	inside(t, "guest1", func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		all, err := netlink.AddrList(link, netlink.FAMILY_V6)
		for _, a := range all {
			if a.IP.Equal(addr.AsSlice()) && a.Flags&(unix.IFA_F_DADFAILED|unix.IFA_F_TENTATIVE) != 0 {
				t.Errorf("%s has flags %#x: its check failed", a.IP, a.Flags)
			}
		}
		return err
	})
}

func TestAnswersEndsWhenTheTapIsGone(t *testing.T) {
	bridge(t, mac1)
	result := make(chan error, 1)
	go func() {
		_, err := answers(t, "tap1", netip.MustParseAddr("10.0.0.1"), 20*time.Second)
		result <- err
	}()
	link, err := netlink.LinkByName("tap1")
	must(t, err)
	must(t, netlink.LinkDel(link))
	if err := <-result; !errors.Is(err, hostapi.ErrInvalid) {
		t.Errorf("Answers gave %v, want an invalid request", err)
	}
}

func answers(t *testing.T, tap string, addr netip.Addr, within time.Duration) (bool, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return dhcp.Answers(ctx, tap, addr)
}

// address gives a guest's eth0 an address.
func address(t *testing.T, guest, prefix string) {
	t.Helper()
	inside(t, guest, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(prefix)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(link, a)
	})
}

// qdiscs lists what stands on a link, filters among it.
func qdiscs(t *testing.T, name string) (texts []string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	all, err := netlink.QdiscList(link)
	must(t, err)
	for _, q := range all {
		texts = append(texts, q.Type())
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(link, parent)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			t.Fatal(err)
		}
		for _, f := range filters {
			texts = append(texts, fmt.Sprintf("%x %s %d", parent, f.Type(), f.Attrs().Priority))
		}
	}
	return texts
}

// inside runs f with this goroutine's thread in a guest's namespace.
func inside(t *testing.T, guest string, f func() error) {
	t.Helper()
	must(t, ns.Do(guest, f))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited for half a minute")
		}
	}
}

func TestSeveralGuestsBehindOneTap(t *testing.T) {
	bridge(t, mac1)
	s := serve(t, "tap1", lease(mac1, "10.0.0.1/24"), lease(mac2, "10.0.0.2/24"))
	for _, c := range []struct {
		mac, want string
		all       bool
	}{{mac1, "10.0.0.1", false}, {mac1, "10.0.0.1", false}, {mac2, "10.0.0.2", true}} {
		inside(t, "guest1", func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			hw, _ := net.ParseMAC(c.mac)
			return netlink.LinkSetHardwareAddr(link, hw)
		})
		if bound, output, err := udhcpc(t, "guest1"); err != nil || bound["ip"] != c.want {
			t.Errorf("%s got %q, want %s (%v)\n%s", c.mac, bound["ip"], c.want, err, output)
		}
		// It is closed before the client hears of it.
		var all bool
		select {
		case <-s.Leased():
			all = true
		default:
		}
		if all != c.all {
			t.Errorf("after the lease of %s all are taken: %t, want %t", c.want, all, c.all)
		}
	}
}

// TestATapThatComesUpLater is one whose guest is started after the server.
func TestATapThatComesUpLater(t *testing.T) {
	bridge(t, mac1)
	link, err := netlink.LinkByName("tap1")
	must(t, err)
	must(t, netlink.LinkSetDown(link))
	serve(t, "tap1", lease(mac1, "10.0.0.1/24"))
	result := make(chan bool, 1)
	go func() {
		has, _ := answers(t, "tap1", netip.MustParseAddr("10.0.0.1"), 10*time.Second)
		result <- has
	}()
	must(t, netlink.LinkSetUp(link))
	if bound, output, err := udhcpc(t, "guest1"); err != nil || bound["ip"] != "10.0.0.1" {
		t.Errorf("got %q (%v)\n%s", bound["ip"], err, output)
	}
	address(t, "guest1", "10.0.0.1/24")
	if !<-result {
		t.Error("the guest was not heard")
	}
}

// TestAClientThatChecksItsAddressTakesIt has a client look by ARP whether its
// address is free while it is asked for it all the time.
func TestAClientThatChecksItsAddressTakesIt(t *testing.T) {
	bridge(t, mac1)
	serve(t, "tap1", lease(mac1, "10.0.0.1/24"))
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		dhcp.Answers(ctx, "tap1", netip.MustParseAddr("10.0.0.1"))
	}()
	if bound, output, err := udhcpc(t, "guest1", "-a"); err != nil || bound["ip"] != "10.0.0.1" {
		t.Errorf("udhcpc -a: ip %q, %v\n%s", bound["ip"], err, output)
	}
	cancel()
	<-asked
}

// frames gives what comes in at a guest's end.
func frames(t *testing.T, guest string) *packet.Conn {
	t.Helper()
	var conn *packet.Conn
	inside(t, guest, func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(link, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestAGuestThatProbesIsNotProbed plays a guest that follows RFC 5227: to it any
// ARP probe for the address that it probes is a conflict.
func TestAGuestThatProbesIsNotProbed(t *testing.T) {
	bridge(t, mac1)
	conn := frames(t, "guest1")
	from, err := net.ParseMAC(mac1)
	must(t, err)
	everybody := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	arp := func(sender byte) []byte { // of 10.0.0.1, or of nobody
		b := append(append(slices.Clone(everybody), from...), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
		b = append(append(b, from...), 10*sender, 0, 0, sender)
		return append(b, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1)
	}
	result := make(chan bool, 1)
	start := time.Now()
	go func() {
		has, _ := answers(t, "tap1", netip.MustParseAddr("10.0.0.1"), 20*time.Second)
		result <- has
	}()
	var asked, probed int
	buffer := make([]byte, 2000)
	listen := func(d time.Duration) {
		must(t, conn.SetReadDeadline(time.Now().Add(d)))
		for {
			n, _, err := conn.ReadFrom(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			must(t, err)
			if frame := buffer[:n]; n >= 42 && frame[12] == 8 && frame[13] == 6 {
				if asked++; slices.Equal(frame[28:32], []byte{0, 0, 0, 0}) {
					probed++
				}
			}
		}
	}
	// Where the machine stands still the guest is late with its next probe, and may
	// be probed until that has been heard.
	late := false
	for round, intime := 0, 0; (intime < 3 || asked < 30) && round < 40; round++ {
		began, before := time.Now(), probed
		_, err := conn.WriteTo(arp(0), &packet.Addr{HardwareAddr: everybody})
		must(t, err)
		listen(1500 * time.Millisecond)
		stood := time.Since(began) > 2*time.Second
		if stood || late {
			probed = before
		} else {
			intime++
		}
		late = stood
	}
	if probed != 0 || asked < 30 {
		t.Errorf("asked %d times, %d of them by a probe", asked, probed)
	}
	select {
	case <-result:
		t.Fatalf("a probe was taken for an answer after %v", time.Since(start))
	default:
	}
	// It says that the address is its own now.
	_, err = conn.WriteTo(arp(1), &packet.Addr{HardwareAddr: everybody})
	must(t, err)
	if !<-result {
		t.Error("its announcement was not heard")
	}
}

func TestNobodyButTheGuestSeesTheQuestions(t *testing.T) {
	bridge(t, mac1, mac2)
	conn := frames(t, "guest2")
	tap, err := net.InterfaceByName("tap1")
	must(t, err)
	for _, prefix := range []string{"10.0.0.1/24", "fd00::1/64"} {
		address(t, "guest1", prefix)
		if has, err := answers(t, "tap1", netip.MustParsePrefix(prefix).Addr(), 10*time.Second); !has || err != nil {
			t.Fatalf("Answers(%s) gave %t, %v", prefix, has, err)
		}
	}
	must(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	for buffer := make([]byte, 2000); ; {
		n, _, err := conn.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		must(t, err)
		if frame := buffer[:n]; slices.Equal(frame[:6], tap.HardwareAddr) || slices.Equal(frame[6:12], tap.HardwareAddr) {
			t.Errorf("on another port: %x", frame)
		}
	}
}
