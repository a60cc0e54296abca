package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"vxorch/remote"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
	"vxorch/remote/internal/ns"
	"vxorch/remote/internal/ns/nstest"
	"vxorch/remote/internal/sshdtest"
	"vxorch/remote/push"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// bundle is the helper of this tree, built once for this machine.
var bundle = sync.OnceValues(func() (*push.Bundle, error) {
	dir, err := os.MkdirTemp("", "vxhelper")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "vxhelper")
	build := exec.Command("go", "build", "-o", file, "vxorch/cmd/vxhelper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return push.NewBundle(fstest.MapFS{"vxhelper-linux-" + runtime.GOARCH: &fstest.MapFile{Data: program}})
})

// host is this machine, reached by SSH.
type host struct {
	*sshdtest.Server
	cache string
	opts  remote.Options
}

func start(t *testing.T, lines ...string) host {
	t.Helper()
	helper, err := bundle()
	must(t, err)
	cache := t.TempDir()
	s := sshdtest.Start(t, sshdtest.Config{Lines: lines, Env: map[string]string{"XDG_CACHE_HOME": cache}})
	return host{s, cache, remote.Options{Bundle: helper}}
}

func (h host) target() remote.Target {
	return remote.Target{Name: "host1", Address: h.Address, Port: h.Port, User: h.User, Identity: []string{h.Identity}, KnownHosts: []string{h.KnownHosts}}
}

func (h host) dial(t *testing.T) hostapi.Host {
	t.Helper()
	remoteHost, err := remote.Dial(t.Context(), h.target(), h.opts)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { remoteHost.Close() })
	return remoteHost
}

func TestHostOverSSHKeepsTheContract(t *testing.T) {
	underlay, local := netlink.NewLinkAttrs(), netip.MustParseAddr("192.0.2.1")
	underlay.Name, underlay.MTU = "underlay", 1500
	veth := &netlink.Veth{LinkAttrs: underlay, PeerName: "underlay-peer"}
	must(t, netlink.LinkAdd(veth))
	t.Cleanup(func() { must(t, netlink.LinkDel(veth)) })
	address, err := netlink.ParseAddr(local.String() + "/24")
	must(t, err)
	must(t, netlink.AddrAdd(veth, address))
	peer, err := netlink.LinkByName(veth.PeerName)
	must(t, err)
	must(t, netlink.LinkSetUp(peer))
	must(t, netlink.LinkSetUp(veth))

	h := start(t)
	hosttest.Contract(t, func(t *testing.T) hosttest.Env {
		return hosttest.Env{
			Host: h.dial(t), Reopen: h.dial, Underlay: veth.Name, Local: local,
			Plant: func(t *testing.T, name string) {
				attrs := netlink.NewLinkAttrs()
				attrs.Name = name
				link := &netlink.Bridge{LinkAttrs: attrs}
				must(t, netlink.LinkAdd(link))
				t.Cleanup(func() { must(t, netlink.LinkDel(link)) })
			},
			PlantNet: func(t *testing.T, name string) {
				must(t, ns.Create(name, func() error { return nil }))
				t.Cleanup(func() { must(t, ns.Remove(name)) })
			},
		}
	})
}

func TestWarmStartIsOneSession(t *testing.T) {
	h := start(t)
	must(t, h.dial(t).Close())
	before := h.Sessions(t)
	warm := h.dial(t)
	if _, err := warm.Observe(t.Context(), hostapi.ObserveRequest{Lab: "warm"}); err != nil {
		t.Fatal(err)
	}
	must(t, warm.Close())
	if got := h.Sessions(t) - before; got != 1 {
		t.Errorf("a warm start took %d sessions, want 1", got)
	}
}

// helper finds the helper's process.
func (h host) helper(t *testing.T) int {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/exe")
	must(t, err)
	for _, exe := range processes {
		if program, err := os.Readlink(exe); err == nil && strings.HasPrefix(program, h.cache) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(exe)))
			must(t, err)
			return pid
		}
	}
	t.Fatal("no helper runs")
	return 0
}

// lost checks that a call fails with ErrLost and those words.
func lost(t *testing.T, h hostapi.Host, words ...string) {
	t.Helper()
	_, err := h.Observe(t.Context(), hostapi.ObserveRequest{Lab: "lost"})
	if !errors.Is(err, hostapi.ErrLost) {
		t.Fatalf("Observe = %v, want ErrLost", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("Observe: %q does not mention %q", err, w)
		}
	}
}

func TestKilledHelperFailsTheCallsWithTheReason(t *testing.T) {
	h := start(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	host := h.dial(t)
	must(t, syscall.Kill(h.helper(t), syscall.SIGKILL))
	lost(t, host, "killed by signal KILL")
	must(t, host.Close())
}

func TestVanishedHostFailsTheCallsWithTheReason(t *testing.T) {
	h := start(t)
	var hole sshdtest.BlackHole
	h.opts.Dialer, h.opts.Lease = hole.Dial, 4500*time.Millisecond
	host := h.dial(t)
	if _, err := host.Observe(t.Context(), hostapi.ObserveRequest{Lab: "lost"}); err != nil {
		t.Fatal(err)
	}
	hole.Open()
	lost(t, host, "the connection was lost: nothing came for 3s")
}

func TestHelperOutlivesItsLeaseWhileTheControllerIsThere(t *testing.T) {
	h := start(t)
	h.opts.Lease = 3 * time.Second
	host := h.dial(t)
	select { // there is no other sign of a lease that did not run out
	case <-time.After(2 * h.opts.Lease):
	case <-t.Context().Done():
	}
	if _, err := host.Observe(t.Context(), hostapi.ObserveRequest{Lab: "lease"}); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsHelperAndConnection(t *testing.T) {
	h := start(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var conns []*watched
	h.opts.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			conns = append(conns, &watched{Conn: conn})
			conn = conns[len(conns)-1]
		}
		return conn, err
	}
	host := h.dial(t)
	must(t, host.Close())
	must(t, host.Close())
	if len(conns) != 1 || !conns[0].closed.Load() {
		t.Errorf("%d connections, want one, closed", len(conns))
	}
	lost(t, host)
}

type watched struct {
	net.Conn
	closed atomic.Bool
}

func (w *watched) Close() error {
	w.closed.Store(true)
	return w.Conn.Close()
}

func TestFailedStartClosesTheConnection(t *testing.T) {
	h := start(t, "ForceCommand exit 7")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	if _, err := remote.Dial(t.Context(), h.target(), h.opts); !errors.Is(err, hostapi.ErrHelper) {
		t.Errorf("Dial = %v, want ErrHelper", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
