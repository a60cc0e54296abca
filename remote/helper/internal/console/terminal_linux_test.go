package console_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/console"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// terminal makes a pseudo terminal and gives its master's end, which stands for
// the guest's serial line as the host sees it, and the other's path.
func terminal(t testing.TB) (master *os.File, path string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	// Fd has set the file to blocking, so that Close would wait for a Read.
	must(t, unix.SetNonblock(int(master.Fd()), true))
	again, err := unix.Dup(int(master.Fd()))
	must(t, err)
	master.Close()
	return os.NewFile(uintptr(again), "pty"), fmt.Sprintf("/dev/pts/%d", number)
}

// printk is where a kernel's messages are kept off its console. No namespace keeps
// that apart: what the tests' shells find there is a file of the test's own.
const printk = "/proc/sys/kernel/printk"

func ownPrintk(t testing.TB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "printk")
	must(t, os.WriteFile(path, []byte("4\t4\t1\t7\n"), 0o644))
	must(t, unix.Mount(path, printk, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, unix.Unmount(printk, unix.MNT_DETACH)) })
}

// loglevel waits until the console's is as wanted.
func loglevel(t testing.TB, want string) {
	t.Helper()
	got := ""
	for ctx := within(t, 10*time.Second); got != want; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(printk)
		must(t, err)
		if got, _, _ = strings.Cut(strings.TrimSpace(string(text)), "\t"); ctx.Err() != nil {
			t.Fatalf("the kernel's messages: level %q, want %q", got, want)
		}
	}
}

// shell runs a program on a terminal of its own and gives a console to it.
func shell(t testing.TB, env []string, args ...string) *console.Console {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skipf("%s is missing", args[0])
	}
	ownPrintk(t)
	master, path := terminal(t)
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	slave.Close()
	c := console.New(master, console.Options{})
	t.Cleanup(func() {
		must(t, c.Close())
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		cmd.Wait()
	})
	return c
}

// shells are real shells as a guest may have them.
func shells(t *testing.T, test func(t *testing.T, c *console.Console)) {
	for name, args := range map[string][]string{
		"busybox ash": {"busybox", "sh"},
		"bash":        {"bash", "--norc", "--noprofile"},
		"dash":        {"dash"},
	} {
		t.Run(name, func(t *testing.T) {
			c := shell(t, []string{"PS1=$ ", "TERM=vt100"}, args...)
			test(t, c)
		})
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestCommandsOfRealShells(t *testing.T) {
	shells(t, func(t *testing.T, c *console.Console) {
		ctx := within(t, 20*time.Second)
		if err := c.Login(ctx, "nobody", "nothing"); err != nil {
			t.Fatalf("Login: %v", err)
		}
		for name, w := range map[string]struct {
			command, output string
			exit            int
		}{
			"nothing":            {"true", "", 0},
			"a line":             {"echo one", "one\n", 0},
			"lines":              {`printf 'a\n\n  b\tc\nd\n'`, "a\n\n  b\tc\nd\n", 0},
			"no newline":         {"printf abc", "abc", 0},
			"an exit code":       {"echo x; exit 42", "x\n", 42},
			"both outputs":       {"echo out; echo err >&2", "out\nerr\n", 0},
			"escape sequences":   {`printf '\033[1;31mred\033[0m\033]0;title\007 \033(B.\n'`, "red .\n", 0},
			"what looks ended":   {"echo '__RC_$?_'; echo __RC_0__", "__RC_$?_\n__RC_0__\n", 0},
			"quotes":             {`echo "it's"`, "it's\n", 0},
			"a syntax error":     {"case", "", 2},
			"no reading of ours": {"cat", "", 0},
			"a long line":        {"echo " + strings.Repeat("x", 3500), strings.Repeat("x", 3500) + "\n", 0},
			"an echo that wraps": {": " + strings.Repeat("y ", 300) + "; echo z", "z\n", 0},
			"a query":            {`printf '\033[6n'; echo done`, "done\n", 0},
		} {
			output, exit, err := c.Run(ctx, w.command)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if name == "a syntax error" {
				output = ""
			}
			if output != w.output || exit != w.exit {
				t.Errorf("%s: output %q, exit %d; want %q, %d", name, output, exit, w.output, w.exit)
			}
		}
	})
}

// guestFiles gives the namespace's /etc one user more, cirros, by mounts of the
// test's own, and a login that checks its password.
func guestFiles(t *testing.T) (login string) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip("busybox is missing")
	}
	hash, err := exec.Command(busybox, "mkpasswd", "-m", "sha512", "gocubsgo").Output()
	must(t, err)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	for name, line := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\ncirros:x:0:0:cirros:/:" + busybox + "sh\n",
		"shadow": "root:*:19000:0:99999:7:::\ncirros:" + strings.TrimSpace(string(hash)) + ":19000:0:99999:7:::\n",
	} {
		path := filepath.Join(dir, name)
		line = strings.ReplaceAll(line, busybox+"sh", filepath.Join(dir, "sh"))
		must(t, os.WriteFile(path, []byte(line), 0o644))
		must(t, unix.Mount(path, "/etc/"+name, "", unix.MS_BIND, ""))
		t.Cleanup(func() { must(t, unix.Unmount("/etc/"+name, unix.MNT_DETACH)) })
	}
	for _, applet := range []string{"login", "sh"} {
		must(t, os.Symlink(busybox, filepath.Join(dir, applet)))
	}
	return filepath.Join(dir, "login")
}

// getty runs busybox' getty on a terminal, again whenever it ends, as init does.
func getty(t *testing.T) *console.Console {
	t.Helper()
	login := guestFiles(t)
	ownPrintk(t)
	master, path := terminal(t)
	// A serial line is there between two gettys, too.
	line, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for ctx.Err() == nil {
			cmd := exec.CommandContext(ctx, "busybox", "getty", "-L", "-l", login, "115200", strings.TrimPrefix(path, "/dev/"), "vt100")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			cmd.Run()
		}
	}()
	c := console.New(master, console.Options{})
	t.Cleanup(func() {
		must(t, c.Close())
		cancel()
		<-stopped
		line.Close()
	})
	return c
}

func TestARealGettyAndLogin(t *testing.T) {
	c := getty(t)
	ctx := within(t, 30*time.Second)
	if err := c.Login(ctx, "cirros", "gocubsgo"); err != nil {
		t.Fatalf("Login: %v", err)
	}
	if output, exit, err := c.Run(ctx, "echo $USER"); output != "cirros\n" || exit != 0 || err != nil {
		t.Errorf("Run: %q, %d, %v", output, exit, err)
	}
	// A second one finds the session that is still there.
	if err := c.Login(ctx, "cirros", "wrong"); err != nil {
		t.Errorf("Login to a session that stands: %v", err)
	}
	if _, exit, err := c.Run(ctx, "true"); exit != 0 || err != nil {
		t.Errorf("Run in it: %d, %v", exit, err)
	}
}

func TestARealLoginThatRefuses(t *testing.T) {
	c := getty(t)
	ctx := within(t, 60*time.Second)
	err := c.Login(ctx, "cirros", "cubswin:)")
	if !errors.Is(err, hostapi.ErrAuth) {
		t.Fatalf("Login: %v\n%s", err, c.Tail())
	}
	// The right one is let in afterwards, and finds the session again.
	for range 2 {
		must(t, c.Login(ctx, "cirros", "gocubsgo"))
		must(t, c.Leave(ctx))
	}
}

// TestAddressesAndPingsByRealShells holds them with busybox' own ip and ping and
// with iproute2's and iputils'.
func TestAddressesAndPingsByRealShells(t *testing.T) {
	shells(t, func(t *testing.T, c *console.Console) {
		// The machine's /sys shows the network that it was mounted in.
		must(t, unix.Mount("sysfs", "/sys", "sysfs", 0, ""))
		t.Cleanup(func() { must(t, unix.Unmount("/sys", unix.MNT_DETACH)) })
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "guest0"}, PeerName: "peer0"}
		must(t, netlink.LinkAdd(link))
		t.Cleanup(func() { must(t, netlink.LinkDel(link)) })
		made, err := netlink.LinkByName("guest0")
		must(t, err)
		ctx := within(t, 30*time.Second)
		must(t, c.Login(ctx, "", ""))
		want := console.Interface{
			MAC: strings.ToUpper(made.Attrs().HardwareAddr.String()), MTU: 1450,
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.1/24"), netip.MustParsePrefix("fd00:7::1/64")},
		}
		for range 2 { // the second finds them there
			if err := c.SetAddresses(ctx, []console.Interface{want}); err != nil {
				t.Fatalf("SetAddresses: %v", err)
			}
		}
		made, err = netlink.LinkByName("guest0")
		must(t, err)
		if made.Attrs().MTU != 1450 || made.Attrs().RawFlags&unix.IFF_UP == 0 {
			t.Errorf("mtu %d, flags %#x", made.Attrs().MTU, made.Attrs().RawFlags)
		}
		if err := c.SetAddresses(ctx, []console.Interface{{MAC: "02:99:99:99:99:99"}}); err == nil || !strings.Contains(err.Error(), "no such device") {
			t.Errorf("an absent MAC: %v", err)
		}

		peer, err := netlink.LinkByName("peer0")
		must(t, err)
		must(t, netlink.LinkSetUp(peer))
		results, err := c.Ping(ctx, []netip.Addr{
			netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("10.7.0.1"),
			netip.MustParseAddr("10.7.0.9"), netip.MustParseAddr("10.99.0.1"),
		}, 2)
		if err != nil {
			t.Fatalf("Ping: %v", err)
		}
		for i, r := range results {
			if ok := r.Received == 1 && r.Sent == 1 && r.RTT > 0; ok != (i < 3) {
				t.Errorf("%s: %+v", r.Target, r)
			}
		}
		if r := results[3]; r.Sent != 2 || r.Error != nil {
			t.Errorf("nobody there: %+v", r)
		}
		loglevel(t, "4")
		if r := results[4]; r.Error == nil || !strings.Contains(r.Error.Message, "unreachable") {
			t.Errorf("no route: %+v", r)
		}
	})
}

// TestTheKernelIsQuietWhileRootWorks also if what runs is given up: its messages
// come back.
func TestTheKernelIsQuietWhileRootWorks(t *testing.T) {
	shells(t, func(t *testing.T, c *console.Console) {
		ctx := within(t, 30*time.Second)
		must(t, c.Login(ctx, "", ""))
		loglevel(t, "4")
		link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "quiet0"}} // where nobody answers
		must(t, netlink.LinkAdd(link))
		t.Cleanup(func() { must(t, netlink.LinkDel(link)) })
		must(t, netlink.LinkSetUp(link))
		must(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 7, 1, 1), Mask: net.CIDRMask(24, 32)}}))
		given, giveUp := context.WithCancel(ctx)
		ended := make(chan error)
		go func() {
			_, err := c.Ping(given, []netip.Addr{netip.MustParseAddr("10.7.1.9")}, 3)
			ended <- err
		}()
		loglevel(t, "1")
		giveUp()
		if err := <-ended; !errors.Is(err, hostapi.ErrCanceled) {
			t.Errorf("Ping: %v", err)
		}
		loglevel(t, "4")
	})
}

func TestManyPingsAtOnce(t *testing.T) {
	c := shell(t, []string{"PS1=# "}, "bash", "--norc", "--noprofile")
	ctx := within(t, 60*time.Second)
	must(t, c.Login(ctx, "", ""))
	var targets []netip.Addr
	for i := range 200 {
		targets = append(targets, netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}))
	}
	results, err := c.Ping(ctx, targets, 3)
	must(t, err)
	for _, r := range results {
		if r.Received != 1 {
			t.Errorf("%+v", r)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
