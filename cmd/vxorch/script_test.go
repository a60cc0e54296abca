package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vxorch/remote/sandbox"
	"vxorch/remote/sandbox/guesttest"
)

func TestMain(m *testing.M) {
	sandbox.InitIfAsked()
	testscript.Main(m, map[string]func(){"vxorch": main, "vxorch-player": player})
}

// TestScripts runs the verbs as users do, on no host at all.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: filepath.Join("testdata", "script"), Setup: setup})
}

// TestLabScripts runs the verbs on sandbox hosts.
func TestLabScripts(t *testing.T) {
	needRoot(t)
	// What a run that was killed left behind goes first.
	if err := sandbox.Sweep(t.Context(), sandbox.DefaultState); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "lab"),
		Setup: func(env *testscript.Env) error {
			name := fmt.Sprintf("t%d-%s", os.Getpid(), strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"))
			env.Setenv("VXORCH_SANDBOX", name)
			env.Setenv("VXORCH_SANDBOX_OWNER", strconv.Itoa(os.Getpid()))
			env.Setenv("SANDBOX", filepath.Join(sandbox.DefaultState, name))
			env.Defer(func() { takeDown(t, name) })
			return setup(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"snapshot": snapshot, "expand": expand, "guest": guest(t), "follows": follows},
	})
}

func needRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Getuid() == 0:
	case os.Getenv("VXORCH_MUST_RUN") == "1":
		t.Fatal("sandbox hosts need root")
	default:
		t.Skip("sandbox hosts need root")
	}
}

// withoutExitSleep keeps the race detector from having each vxorch sleep for a
// second at its end, of which a test of interruptions would make its own sense.
const withoutExitSleep = "atexit_sleep_ms=0"

func setup(env *testscript.Env) error {
	env.Setenv("GORACE", withoutExitSleep)
	env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, ".state"))
	env.Setenv("HOME", env.WorkDir)
	return nil
}

// takeDown removes what a script that failed left behind.
func takeDown(t *testing.T, name string) {
	box, err := sandbox.Open(sandbox.DefaultState, name)
	if err != nil {
		return // it took its sandbox down itself
	}
	if err := box.Down(context.Background()); err != nil {
		t.Error(err)
	}
}

// guest gives the command guest FILE, which puts a guest's disk image there.
func guest(t *testing.T) func(*testscript.TestScript, bool, []string) {
	image := sync.OnceValue(func() string { return guesttest.Image(t) })
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: guest FILE")
		}
		ts.Check(os.Symlink(image(), ts.MkAbs(args[0])))
	}
}

// expand FILE replaces $SANDBOX, where the sandbox keeps its keys, and $HOST1,
// $HOST2, …, its hosts' addresses, in a file of the script.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	box, err := sandbox.Open(sandbox.DefaultState, ts.Getenv("VXORCH_SANDBOX"))
	ts.Check(err)
	text := os.Expand(ts.ReadFile(args[0]), func(name string) string {
		for i, h := range box.Hosts() {
			if name == fmt.Sprintf("HOST%d", i+1) {
				return h.Address.String()
			}
		}
		return ts.Getenv(name)
	})
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// snapshot HOST FILE writes what stands on a sandbox host: see hostState.
func snapshot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: snapshot HOST FILE")
	}
	box, err := sandbox.Open(sandbox.DefaultState, ts.Getenv("VXORCH_SANDBOX"))
	ts.Check(err)
	state, err := hostState(box, args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(state), 0o600))
}

// hostState is a sandbox host as its kernel and its disk show it: links,
// addresses, routes and rules, neighbours and forwarding entries, groups, packet
// filter, namespaces, mounts, files and what is in small ones, processes, sysctls,
// and what libvirt has. Of its disk it takes what differs from the machine's,
// which others use too.
func hostState(box *sandbox.Sandbox, host string) (string, error) {
	var out, errs strings.Builder
	code, err := box.HostExec(context.Background(), host, []string{"sh", "-c", kernelState}, strings.NewReader(""), &out, &errs)
	if err == nil && code != 0 {
		err = fmt.Errorf("look at %s: exit %d: %s", host, code, errs.String())
	}
	if err != nil {
		return "", err
	}
	disks, err := filepath.Glob(filepath.Join(filepath.Dir(box.Inventory()), "disk", host, "*", "upper"))
	if err != nil {
		return "", err
	}
	for _, disk := range disks {
		err := filepath.WalkDir(disk, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel := strings.TrimPrefix(path, disk)
			if transient[rel] {
				return filepath.SkipDir
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			size := info.Size()
			if entry.IsDir() {
				size = 0 // it tells of the past
			}
			var sum [sha256.Size]byte
			if info.Mode().IsRegular() && size <= smallFile {
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				sum = sha256.Sum256(text)
			}
			fmt.Fprintf(&out, "%s %v %d %x\n", rel, info.Mode(), size, sum[:8])
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// transient is what may come or change: the helper's cache, base images that wait
// for the next lab, and what logins and libvirtd write for themselves.
var transient = map[string]bool{
	"/root/.cache": true, "/var/log": true, "/var/cache/libvirt": true, "/var/lib/libvirt/images/vxorch": true, "/var/lib/libvirt/qemu": true, "/etc/libvirt/qemu": true,
}

// smallFile is the size up to which a snapshot tells what is in a file.
const smallFile = 64 << 10

// kernelState leaves out what changes by the way: neighbours on the underlay, what
// bridges and VTEPs learn, and counters.
const kernelState = `
while grep -qs vxhelper /proc/[0-9]*/comm; do sleep 0.02; done
while ip addr | grep -q tentative; do sleep 0.05; done
ip -d -o link | sed 's/^[0-9]*: //; s/_timer *[0-9.]*//g'
ip -o addr | sed 's/^[0-9]*: //; s/valid_lft.*//'
ip route show table all
ip -6 route show table all
ip rule; ip -6 rule
ip neigh | grep -v 'dev \(eth0\|ens7\) '
bridge fdb show | grep 'permanent\|static'
bridge vlan show
bridge mdb show | grep -v ' temp$'
ip maddr | sed 's/^[0-9]*://'
if command -v nft >/dev/null; then nft list ruleset; fi
if [ -S /run/libvirt/libvirt-sock ]; then for what in list net-list pool-list nwfilter-list; do virsh -q $what $([ $what = nwfilter-list ] || echo --all); done; fi
ip netns list
cut -d' ' -f5,9- /proc/self/mountinfo | sort
find /run /tmp -path /run/libvirt -prune -o -printf '%p %y %m %s\n' | sort
find /run /tmp -path /run/libvirt -prune -o -type f -size -64k -print0 | sort -z | xargs -0 sha256sum
for p in /proc/[0-9]*; do tr '\0\n' '  ' <$p/cmdline 2>/dev/null; echo; done | grep -v 'sh -c\|sshd: \|^$\|tr \|sort\|grep' | sort
sysctl -a -r '^net' 2>/dev/null | grep -v 'nf_conntrack_count\|gc_stats' | sort
`
