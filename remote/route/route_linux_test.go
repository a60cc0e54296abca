package route_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
	"vxorch/remote/internal/ns/nstest"
	"vxorch/remote/internal/sshdtest"
	"vxorch/remote/route"
	"vxorch/remote/sshmaster"
)

func TestMain(m *testing.M) {
	sshmaster.AskIfAsked()
	nstest.Main(m)
}

const (
	gateOutside, gateInside = "10.7.0.1", "10.8.0.1" // the bastion's, towards us and towards the hosts
	us, inside              = "10.7.0.2", "10.8.0.2"
)

// bastioned makes two namespaces: "gate" that we reach, and "inside" that only
// gate does.
func bastioned(t *testing.T) {
	t.Helper()
	for _, name := range []string{"gate", "inside"} {
		must(t, ns.Create(name, func() error { return up("lo") }))
		t.Cleanup(func() { must(t, ns.Remove(name)) })
	}
	pair(t, "", "us", us, "gate", "out", gateOutside)
	pair(t, "gate", "in", gateInside, "inside", "eth0", inside)
}

// pair connects two namespaces.
func pair(t *testing.T, ns1, link1, address1, ns2, link2, address2 string) {
	t.Helper()
	far, err := ns.Open(ns2)
	must(t, err)
	defer far.Close()
	must(t, ns.Do(ns1, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = link1
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: link2, PeerNamespace: netlink.NsFd(far.Fd())}); err != nil {
			return err
		}
		return addressed(link1, address1)
	}))
	must(t, ns.Do(ns2, func() error { return addressed(link2, address2) }))
	// A namespace's end takes its links along in its own time.
	t.Cleanup(func() {
		must(t, ns.Do(ns1, func() error {
			link, err := netlink.LinkByName(link1)
			if err != nil {
				return err
			}
			return netlink.LinkDel(link)
		}))
	})
}

func addressed(link, address string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(address + "/24")
	if err != nil {
		return err
	}
	return errors.Join(netlink.AddrAdd(l, addr), netlink.LinkSetUp(l))
}

func up(link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// configured gives a network that reads that ssh_config, and knows servers.
func configured(t *testing.T, config string, servers ...*sshdtest.Server) *route.Network {
	t.Helper()
	return route.New(options(t, config, servers...))
}

func options(t *testing.T, config string, servers ...*sshdtest.Server) route.Options {
	t.Helper()
	dir := t.TempDir()
	var known, stanzas strings.Builder
	for i, s := range servers {
		known.WriteString(s.KnownHostsLine("ssh-ed25519"))
		fmt.Fprintf(&stanzas, "Host s%d\n  HostName %s\n  Port %d\n  IdentityFile %s\n  User %s\n", i, s.Address, s.Port, s.Identity, s.User)
	}
	file := filepath.Join(dir, "config")
	must(t, os.WriteFile(filepath.Join(dir, "known_hosts"), []byte(known.String()), 0o600))
	must(t, os.WriteFile(file, []byte(stanzas.String()+config+"\nHost *\n  UserKnownHostsFile "+dir+"/known_hosts\n"), 0o600))
	return route.Options{Home: dir, ConfigFile: file}
}

func alias(i int) route.Target {
	return route.Target{Name: fmt.Sprint("host", i), Address: fmt.Sprint("s", i)}
}

// run checks that commands run there.
func run(t *testing.T, c *route.Conn) {
	t.Helper()
	session, err := c.Start(t.Context(), "exit 0")
	if err == nil {
		err = session.Wait()
	}
	if err != nil {
		t.Error(err)
	}
}

func TestHostsBehindABastionShareItsConnection(t *testing.T) {
	bastioned(t)
	bastion := sshdtest.Start(t, sshdtest.Config{Address: gateOutside, Netns: "gate", Daemon: true, Lines: []string{"MaxStartups 2"}})
	servers := []*sshdtest.Server{bastion}
	for range 12 {
		servers = append(servers, sshdtest.Start(t, sshdtest.Config{Address: inside, Netns: "inside"}))
	}
	if conn, err := net.Dial("tcp", net.JoinHostPort(inside, fmt.Sprint(servers[1].Port))); err == nil {
		conn.Close()
		t.Fatal("the hosts are reached without the bastion")
	}
	n := configured(t, "Match host 10.8.0.*\n  ProxyJump s0", servers...)
	var dialling sync.WaitGroup
	conns := make([]*route.Conn, len(servers))
	for i := 1; i < len(servers); i++ {
		dialling.Go(func() {
			conn, err := n.Dial(t.Context(), alias(i))
			if err != nil {
				t.Errorf("host %d: %v", i, err)
				return
			}
			conns[i] = conn
			run(t, conn)
		})
	}
	dialling.Wait()
	if got := bastion.Connections(t); got != 1 {
		t.Errorf("%d connections to the bastion, want 1", got)
	}
	for _, c := range conns {
		if c != nil {
			must(t, c.Close())
		}
	}
	// The last has taken the bastion's along; the next makes a new one.
	conn, err := n.Dial(t.Context(), alias(1))
	must(t, err)
	must(t, conn.Close())
	if got := bastion.Connections(t); got != 2 {
		t.Errorf("%d connections to the bastion in all, want 2", got)
	}
}

func TestSeveralJumpHosts(t *testing.T) {
	bastioned(t)
	first := sshdtest.Start(t, sshdtest.Config{Address: gateOutside, Netns: "gate"})
	second := sshdtest.Start(t, sshdtest.Config{Address: gateInside, Netns: "gate"})
	host := sshdtest.Start(t, sshdtest.Config{Address: inside, Netns: "inside"})
	n := configured(t, "", first, second, host)
	target := alias(2)
	target.Jump = []string{"s0", "s1"}
	conn, err := n.Dial(t.Context(), target)
	must(t, err)
	run(t, conn)
	must(t, conn.Close())
}

func TestABastionThatRefusesIsAskedOnce(t *testing.T) {
	bastioned(t)
	bastion := sshdtest.Start(t, sshdtest.Config{Address: gateOutside, Netns: "gate"})
	host := sshdtest.Start(t, sshdtest.Config{Address: inside, Netns: "inside"})
	bastion.Identity = host.Identity // which it does not let in
	n := configured(t, "Match host 10.8.0.*\n  ProxyJump s0", bastion, host)
	for range 3 {
		_, err := n.Dial(t.Context(), alias(1))
		if !errors.Is(err, hostapi.ErrAuth) || !strings.Contains(err.Error(), "through s0") {
			t.Errorf("Dial = %v, want the bastion's refusal", err)
		}
	}
	if got := bastion.Connections(t); got != 1 {
		t.Errorf("the bastion was asked %d times, want once", got)
	}
}

func TestWhatABastionCannotReachIsSaid(t *testing.T) {
	bastioned(t)
	bastion := sshdtest.Start(t, sshdtest.Config{Address: gateOutside, Netns: "gate"})
	n := configured(t, "Host s*\n", bastion)
	target := route.Target{Address: inside, Port: 1, Jump: []string{"s0"}}
	if _, err := n.Dial(t.Context(), target); !errors.Is(err, hostapi.ErrUnreachable) || !strings.Contains(err.Error(), "through s0") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Dial = %v, want the bastion's words", err)
	}
	closed := sshdtest.Start(t, sshdtest.Config{Address: gateOutside, Netns: "gate", Lines: []string{"AllowTcpForwarding no"}})
	n = configured(t, "", closed)
	if _, err := n.Dial(t.Context(), target); !errors.Is(err, hostapi.ErrUnreachable) || !strings.Contains(hostapi.AsError(err).Hint, "AllowTcpForwarding") {
		t.Errorf("Dial = %v, want AllowTcpForwarding in the hint", err)
	}
}

func TestTheEndOfABastionIsTheReason(t *testing.T) {
	bastioned(t)
	bastion := sshdtest.Start(t, sshdtest.Config{Address: gateOutside, Netns: "gate"})
	host := sshdtest.Start(t, sshdtest.Config{Address: inside, Netns: "inside"})
	var hole sshdtest.BlackHole
	opts := options(t, "Match host 10.8.0.*\n  ProxyJump s0", bastion, host)
	opts.Lease, opts.Dialer = 4500*time.Millisecond, hole.Dial
	conn, err := route.New(opts).Dial(t.Context(), alias(1))
	must(t, err)
	hole.Open()
	<-conn.Done()
	if err := conn.Err(); !errors.Is(err, hostapi.ErrLost) || err.Error() != "the connection to the jump host was lost: nothing came for 3s" {
		t.Errorf("Err = %v, want the silence", err)
	}
	must(t, conn.Close())
}

func TestManyHandshakesWithAServerOfMaxStartups2(t *testing.T) {
	server := sshdtest.Start(t, sshdtest.Config{Daemon: true, Lines: []string{"MaxStartups 2"}})
	n := configured(t, "", server)
	var dialling sync.WaitGroup
	for range 12 {
		dialling.Go(func() {
			conn, err := n.Dial(t.Context(), alias(0))
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		})
	}
	dialling.Wait()
}

func TestCommandInPlaceOfAConnection(t *testing.T) {
	server := sshdtest.Start(t, sshdtest.Config{})
	n := configured(t, `Host s0
  ProxyCommand bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & exec cat >&3'
Host failing
  ProxyCommand sh -c 'printf "no way for \033[31m%r\033[0m to %h" >&2; exit 3'
Host silent
  ProxyCommand sleep 1000`, server)
	conn, err := n.Dial(t.Context(), alias(0))
	must(t, err)
	run(t, conn)
	must(t, conn.Close())

	_, err = n.Dial(t.Context(), route.Target{Address: "failing", User: "me"})
	if !errors.Is(err, hostapi.ErrUnreachable) || !strings.Contains(err.Error(), "no way for [31mme[0m to failing") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Dial = %v, want the command's words", err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err = n.Dial(ctx, route.Target{Address: "silent"}); !errors.Is(err, hostapi.ErrCanceled) {
		t.Errorf("Dial = %v, want ErrCanceled", err)
	}
}

func TestTheSystemsSSHConnects(t *testing.T) {
	bastioned(t)
	bastion := sshdtest.Start(t, sshdtest.Config{Address: gateOutside, Netns: "gate"})
	host := sshdtest.Start(t, sshdtest.Config{Address: inside, Netns: "inside"})
	opts := options(t, "Match host 10.8.0.*\n  ProxyJump s0", bastion, host)
	dir, err := os.MkdirTemp("", "m") // the path of a socket must be short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	opts.MasterDir = dir
	target := alias(1)
	target.OpenSSH = true
	dial := func(opts route.Options) {
		t.Helper()
		conn, err := route.New(opts).Dial(t.Context(), target)
		must(t, err)
		run(t, conn)
		must(t, conn.Close())
	}
	dial(opts)
	dial(opts)
	if got := host.Connections(t); got != 1 {
		t.Errorf("%d connections to the host by two runs, want 1", got)
	}

	// A master that hangs up is replaced.
	sockets, err := filepath.Glob(dir + "/????????????????")
	must(t, err)
	if len(sockets) != 1 {
		t.Fatalf("sockets: %v, want one", sockets)
	}
	must(t, exec.Command("ssh", "-F", "none", "-S", sockets[0], "-O", "exit", "x").Run())
	for _, err := os.Lstat(sockets[0]); err == nil; _, err = os.Lstat(sockets[0]) { // it goes a moment later
		time.Sleep(5 * time.Millisecond)
	}
	listener, err := net.Listen("unix", sockets[0])
	must(t, err)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	dial(opts)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
	if got := host.Connections(t); got != 2 {
		t.Errorf("%d connections to the host, want a second", got)
	}

	opts.EndMasters = true
	dial(opts)
	if _, err := os.Stat(sockets[0]); err == nil {
		t.Error("the master is still there")
	}
	target.HostKey = "SHA256:x"
	if _, err := route.New(opts).Dial(t.Context(), target); err == nil || !strings.Contains(err.Error(), "fingerprint") {
		t.Errorf("Dial with a pinned key = %v, want it refused", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
