package console_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/console"
	"vxorch/remote/helper/internal/dhcp"
	"vxorch/remote/sandbox/guesttest"
)

const guestMAC = "02:00:00:00:00:21"

// boot starts the guest in the emulator, with a tap of that name that the test
// made, and gives the path of its serial line's socket.
func boot(t *testing.T, tap string) (serial string) {
	t.Helper()
	emulator, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	serial = filepath.Join(t.TempDir(), "serial")
	cmd := exec.Command(emulator,
		"-accel", "tcg", "-m", "128", "-display", "none", "-monitor", "none", "-no-reboot",
		"-serial", "unix:"+serial+",server=on,wait=off",
		"-drive", "if=virtio,format=qcow2,snapshot=on,file="+guesttest.Image(t),
		"-netdev", "tap,id=net,script=no,downscript=no,ifname="+tap,
		"-device", "virtio-net-pci,netdev=net,mac="+guestMAC)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return serial
}

// attach opens the serial line, as soon as there is one.
func attach(t *testing.T, serial string) *console.Console {
	t.Helper()
	var stream net.Conn
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if stream, err = net.Dial("unix", serial); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	return console.New(stream, console.Options{})
}

// TestARealGuest boots a guest as libvirt would, gives it its lease, waits for
// it, and does on its console all that there is to do.
func TestARealGuest(t *testing.T) {
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tap0"}, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR}
	must(t, netlink.LinkAdd(tap))
	t.Cleanup(func() { must(t, netlink.LinkDel(tap)) })
	must(t, netlink.LinkSetUp(tap))
	host, err := netlink.ParseAddr("192.168.100.1/24")
	must(t, err)
	must(t, netlink.AddrAdd(tap, host))
	must(t, netlink.AddrAdd(tap, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("fd00:100::1"), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}))

	ctx := within(t, 2*time.Minute)
	lease := dhcp.Lease{MAC: guestMAC, Address: netip.MustParsePrefix("192.168.100.21/24"), MTU: 1450, Hostname: "vm1"}
	server, err := dhcp.Serve(ctx, "tap0", []dhcp.Lease{lease})
	must(t, err)
	serial := boot(t, "tap0")
	c := attach(t, serial)
	defer func() { c.Close() }()
	start := time.Now()

	if has, err := dhcp.Answers(ctx, "tap0", lease.Address.Addr()); !has || err != nil {
		t.Fatalf("the guest does not answer (%v); its console:\n%s", err, c.Tail())
	}
	t.Logf("it answers after %v", time.Since(start))
	select {
	case <-server.Leased():
	default:
		t.Error("it answers without a lease")
	}
	must(t, server.Close())

	if err := c.Login(ctx, guesttest.User, guesttest.Password); err != nil {
		t.Fatalf("Login: %v\n%s", err, c.Tail())
	}
	t.Logf("logged in after %v", time.Since(start))
	if output, exit, err := c.Run(ctx, "id -un; cat /sys/class/net/eth0/mtu; uname -s"); output != "cirros\n1450\nLinux\n" || exit != 0 || err != nil {
		t.Errorf("Run: %q, %d, %v", output, exit, err)
	}
	more := []netip.Prefix{lease.Address, netip.MustParsePrefix("192.168.100.22/24"), netip.MustParsePrefix("fd00:100::21/64")}
	for range 2 {
		must(t, c.SetAddresses(ctx, []console.Interface{{MAC: guestMAC, MTU: 1440, Addresses: more}}))
	}
	for _, a := range more {
		if has, err := dhcp.Answers(ctx, "tap0", a.Addr()); !has || err != nil {
			t.Errorf("%s does not answer: %v", a, err)
		}
	}
	targets := []netip.Addr{
		netip.MustParseAddr("192.168.100.1"), netip.MustParseAddr("fd00:100::1"),
		netip.MustParseAddr("192.168.100.99"), netip.MustParseAddr("10.1.1.1"),
	}
	results, err := c.Ping(ctx, targets, 3)
	must(t, err)
	t.Logf("pinged after %v: %+v", time.Since(start), results)
	want := []console.PingResult{
		{Target: targets[0], Received: 1}, {Target: targets[1], Received: 1},
		{Target: targets[2], Sent: 3}, {Target: targets[3]},
	}
	for i := range 2 { // a busy machine's guest may need another try
		want[i].Sent = max(results[i].Sent, 1)
	}
	if diff := gocmp.Diff(want, results, cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(console.PingResult{}, "RTT", "Error")); diff != "" {
		t.Errorf("Ping (-want +got):\n%s", diff)
	}
	if results[3].Error == nil {
		t.Error("no route, and no error")
	}

	// Whoever comes next finds the session.
	must(t, c.Leave(ctx))
	must(t, c.Close())
	c = attach(t, serial)
	again := time.Now()
	must(t, c.Login(ctx, guesttest.User, "not needed"))
	t.Logf("in again after %v", time.Since(again))
	must(t, c.Leave(ctx))
}
