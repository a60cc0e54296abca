package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns/nstest"
)

// upVariable makes the test binary a program that makes the sandbox "other" in
// that directory and ends.
const upVariable = "VXORCH_SANDBOX_TEST_UP"

func TestMain(m *testing.M) {
	InitIfAsked()
	if state := os.Getenv(upVariable); state != "" {
		if _, err := Up(context.Background(), Options{Name: "other", State: state}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// So that what the sandbox does to the machine can be compared, whatever
	// else goes on there.
	nstest.Main(m)
}

// needRoot skips a test that cannot run here.
func needRoot(t *testing.T) {
	t.Helper()
	reason := ""
	if users, err := os.ReadFile("/proc/self/uid_map"); err != nil || !slices.Equal(strings.Fields(string(users)), []string{"0", "0", "4294967295"}) {
		reason = "a sandbox needs the machine's root"
	} else if _, err := findSSHD(); err != nil {
		reason = err.Error()
	}
	switch {
	case reason == "":
	case os.Getenv("VXORCH_MUST_RUN") == "1":
		t.Fatal(reason)
	default:
		t.Skip(reason)
	}
}

// makeSandbox makes a sandbox for one test.
func makeSandbox(t *testing.T, o Options) *Sandbox {
	t.Helper()
	needRoot(t)
	if o.State == "" {
		o.State = t.TempDir()
	}
	if o.Owner == 0 {
		o.Owner = os.Getpid()
	}
	begin := time.Now()
	s, err := Up(t.Context(), o)
	if err != nil {
		t.Fatalf("Up(%+v): %v", o, err)
	}
	t.Logf("Up: %v", time.Since(begin))
	t.Cleanup(func() { takeAway(t, s) })
	return s
}

func takeAway(t *testing.T, s *Sandbox) {
	t.Helper()
	begin := time.Now()
	if err := s.Down(context.Background()); err != nil {
		t.Errorf("Down: %v", err)
	}
	t.Logf("Down: %v", time.Since(begin))
}

// onHost runs a shell script on a host and gives what it wrote.
func onHost(t *testing.T, s *Sandbox, host, script string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code, err := s.HostExec(t.Context(), host, []string{"bash", "-ec", script}, nil, &stdout, &stderr)
	if err != nil || code != 0 {
		t.Fatalf("on %s: %s: exit %d, error %v: %s", host, script, code, err, stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// snapshot is what a sandbox could leave behind on a machine.
type snapshot struct {
	Mounts []string
	Links  []string
	Names  []string // of network namespaces
	Inits  []string // sandboxes' processes
	Files  []string
}

func takeSnapshot(t *testing.T, state string) snapshot {
	t.Helper()
	var s snapshot
	list, err := mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if under(m.point, DefaultState) {
			continue // others' sandboxes, as they were when this test's mounts were copied
		}
		s.Mounts = append(s.Mounts, m.point+" "+m.kind)
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		s.Links = append(s.Links, l.Attrs().Name)
	}
	names, _ := filepath.Glob("/run/netns/*")
	s.Names = names
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		// Tests of other packages may have sandboxes of their own: only what
		// sees this test's mounts counts.
		if text, err := os.ReadFile(path); err == nil && bytes.HasPrefix(text, []byte(initName)) && mentions(filepath.Dir(path), state) {
			s.Inits = append(s.Inits, path)
		}
	}
	err = filepath.WalkDir(state, func(path string, _ fs.DirEntry, err error) error {
		s.Files = append(s.Files, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mentions says whether the mounts of a process have to do with dir.
func mentions(proc, dir string) bool {
	text, _ := os.ReadFile(proc + "/mountinfo")
	return bytes.Contains(text, []byte(dir))
}

// inNamespacesOf lists the processes in any of these pid namespaces.
func inNamespacesOf(t *testing.T, pidNamespaces []string) []string {
	t.Helper()
	var found []string
	paths, _ := filepath.Glob("/proc/[0-9]*/ns/pid")
	for _, path := range paths {
		if target, err := os.Readlink(path); err == nil && slices.Contains(pidNamespaces, target) {
			found = append(found, path)
		}
	}
	return found
}

func TestDownLeavesNothing(t *testing.T) {
	state := filepath.Join(t.TempDir(), "below")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	keep := filepath.Join(state, "not-a-sandbox.txt")
	if err := os.WriteFile(keep, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	needRoot(t)
	before := takeSnapshot(t, state)
	s := makeSandbox(t, Options{State: state, Hosts: 3})
	status, err := s.Status()
	if err != nil {
		t.Fatal(err)
	}
	var pidNamespaces []string
	for _, h := range status.Hosts {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", h.PID))
		if err != nil {
			t.Fatal(err)
		}
		pidNamespaces = append(pidNamespaces, target)
		onHost(t, s, h.Name, `
			ip link add dummy-br type bridge
			ip netns add container0
			(setsid sleep 1000 </dev/null >/dev/null 2>&1 &)
			rm -rf /usr/share/doc/bash; echo x > /usr/x; mkdir -p /var/deep/er; mount -t tmpfs none /var/deep/er`)
	}
	if got := inNamespacesOf(t, pidNamespaces); len(got) < 3*3 { // init, sshd, sleep
		t.Errorf("processes in the hosts: %q, want at least 9", got)
	}
	takeAway(t, s)
	if diff := cmp.Diff(before, takeSnapshot(t, state)); diff != "" {
		t.Errorf("left by Down (-before +after):\n%s", diff)
	}
	if got := inNamespacesOf(t, pidNamespaces); got != nil {
		t.Errorf("processes left in the hosts: %q", got)
	}
	if _, err := os.Stat("/usr/share/doc/bash"); err != nil {
		t.Errorf("removed in a host, gone from the machine: %v", err)
	}
	if err := s.Down(t.Context()); err != nil {
		t.Errorf("second Down: %v", err)
	}
	if _, err := Open(state, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open after Down: %v, want fs.ErrNotExist", err)
	}
}

func TestDownRemovesTheEmptyStateDirectory(t *testing.T) {
	needRoot(t)
	state := filepath.Join(t.TempDir(), "a", "b")
	takeAway(t, makeSandbox(t, Options{State: state}))
	if _, err := os.Stat(state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat(%s): %v, want fs.ErrNotExist", state, err)
	}
}

func TestFailedUpLeavesNothing(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	before := takeSnapshot(t, state)
	keeper := filepath.Join(state, "keeper") // keeps state from being removed as empty
	if err := os.WriteFile(keeper, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Up(t.Context(), Options{State: state, SSHDConfig: "Nonsense yes"})
	if err == nil || !strings.Contains(err.Error(), "Nonsense") || !strings.Contains(err.Error(), "host") {
		t.Errorf("Up with a bad sshd_config: %v, want an error that names the host and quotes sshd", err)
	}
	for delay := time.Duration(0); delay < 120*time.Millisecond; delay += 7 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), delay)
		s, err := Up(ctx, Options{State: state})
		cancel()
		if err == nil {
			takeAway(t, s)
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Up cut off after %v: %v, want context.DeadlineExceeded", delay, err)
		}
	}
	if err := os.Remove(keeper); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, takeSnapshot(t, state)); diff != "" {
		t.Errorf("left by Up (-before +after):\n%s", diff)
	}
}

func TestKilledUpIsCleanedUp(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	if err := os.WriteFile(filepath.Join(state, "keeper"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := takeSnapshot(t, state)
	for delay := time.Duration(0); delay < 150*time.Millisecond; delay += 10 * time.Millisecond {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), upVariable+"="+state)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay) // whenever it dies
		cmd.Process.Kill()
		cmd.Wait()
		s, err := Open(state, "other")
		if errors.Is(err, fs.ErrNotExist) {
			continue // it had not begun
		}
		if err != nil {
			t.Fatal(err)
		}
		// Every other time it is the next Up that has to clean up.
		if status, err := s.Status(); err == nil && status.Stale && delay%(20*time.Millisecond) == 0 {
			if s, err = Up(t.Context(), Options{Name: "other", State: state}); err != nil {
				t.Fatalf("Up after one that was killed: %v", err)
			}
		}
		if err := s.Down(t.Context()); err != nil {
			t.Errorf("Down after an Up killed after %v: %v", delay, err)
		}
		awaitSnapshot(t, before, state)
	}
}

// awaitSnapshot waits for inits that were started but not told what to be, and
// end by themselves.
func awaitSnapshot(t *testing.T, want snapshot, state string) {
	t.Helper()
	var diff string
	for range 3000 {
		if diff = cmp.Diff(want, takeSnapshot(t, state)); diff == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("left behind (-before +after):\n%s", diff)
}

func TestSandboxOutlivesItsMaker(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), upVariable+"="+state)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s, err := Open(state, "other")
	if err != nil {
		t.Fatal(err)
	}
	defer takeAway(t, s)
	if got := onHost(t, s, "host2", "hostname"); got != "host2" {
		t.Errorf("hostname: %q, want host2", got)
	}
	if err := s.Reboot(t.Context(), "host2"); err != nil {
		t.Errorf("Reboot by another process: %v", err)
	}
}

func TestSandboxWithoutOwnerIsSwept(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	owner := exec.Command("sleep", "1000")
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	lost := makeSandbox(t, Options{Name: "lost", State: state, Owner: owner.Process.Pid})
	kept := makeSandbox(t, Options{Name: "kept", State: state})

	if err := Sweep(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	if got := onHost(t, lost, "host1", "hostname"); got != "host1" {
		t.Errorf("swept while its owner lives")
	}

	// A zombie until the deferred Wait: dead all the same.
	defer owner.Wait()
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lost.record.Owner.alive() {
		time.Sleep(time.Millisecond)
	}
	if status, err := lost.Status(); err != nil || !status.Stale {
		t.Errorf("Status = %+v, %v; want Stale", status, err)
	}
	makeSandbox(t, Options{Name: "next", State: state})
	if _, err := Open(state, "lost"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open(lost) after the next Up: %v, want fs.ErrNotExist", err)
	}
	if got := onHost(t, kept, "host1", "hostname"); got != "host1" {
		t.Errorf("hostname: %q, want host1", got)
	}
}

func TestReusedProcessNumberIsNoOwner(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	s := makeSandbox(t, Options{State: state})
	s.record.Owner.Start-- // another process once had this one's number
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(state, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v, want fs.ErrNotExist", err)
	}
}

func TestOnlyOurProcessesAreKilled(t *testing.T) {
	needRoot(t)
	s := makeSandbox(t, Options{Hosts: 1})
	init, running := s.running("host1")
	if !running {
		t.Fatal("host1 is not running")
	}
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	if err := (process{PID: other.Process.Pid, Start: init.Start}).kill(t.Context()); err != nil {
		t.Errorf("kill of a process that had that number once: %v", err)
	}
	if now, dead, err := identify(other.Process.Pid); err != nil || dead {
		t.Errorf("identify = %v, dead %v, %v; want it alive", now, dead, err)
	}
}

func TestSandboxOfAnEarlierBootIsReplaced(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	s := makeSandbox(t, Options{State: state})
	// What a reboot leaves: files, and numbers of processes that are others' now.
	for _, h := range s.Hosts() {
		init, _ := s.running(h.Name)
		if err := init.kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := writeJSON(filepath.Join(s.hostDir(h.Name), processFile), process{PID: os.Getpid(), Start: init.Start}); err != nil {
			t.Fatal(err)
		}
	}
	if err := unmountUnder(s.dir); err != nil {
		t.Fatal(err)
	}
	s.record.BootID = newUUID()
	s.record.Owner = nil
	if err := s.save(); err != nil {
		t.Fatal(err)
	}

	old, err := Open(state, "")
	if err != nil {
		t.Fatal(err)
	}
	if status, err := old.Status(); err != nil || !status.Stale || status.Hosts[0].PID != 0 {
		t.Errorf("Status = %+v, %v; want Stale and no host running", status, err)
	}
	if _, err := old.Exec(t.Context(), []string{"true"}, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "no controller namespace") {
		t.Errorf("Exec: %v, want no controller namespace", err)
	}
	makeSandbox(t, Options{State: state})
}

func TestUnreadableSandboxIsTakenAway(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	before := takeSnapshot(t, state)
	s := makeSandbox(t, Options{State: state})
	if err := os.WriteFile(filepath.Join(s.dir, recordFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	takeAway(t, s)
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, takeSnapshot(t, state)); diff != "" {
		t.Errorf("left by Down (-before +after):\n%s", diff)
	}
}

func TestSandboxesStandSideBySide(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	a := makeSandbox(t, Options{Name: "a", State: state})
	b := makeSandbox(t, Options{Name: "b", State: state})
	onHost(t, a, "host1", "touch /etc/of-a")
	if got := onHost(t, b, "host1", "ls /etc/of-a 2>&1 || true"); !strings.Contains(got, "No such file") {
		t.Errorf("host1 of b sees what host1 of a wrote: %s", got)
	}
	_, err := Up(t.Context(), Options{Name: "a", State: state})
	if e := new(hostapi.Error); !errors.As(err, &e) || e.Kind != hostapi.KindBusy || e.Hint == "" {
		t.Errorf("Up of a sandbox that is up: %v, want KindBusy with a hint", err)
	}
	if got := onHost(t, a, "host1", "hostname"); got != "host1" {
		t.Errorf("hostname after the refused Up: %q, want host1", got)
	}
}

func TestForeignDirectoriesAreLeftAlone(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	foreign := filepath.Join(state, "projects", "thesis")
	if err := os.MkdirAll(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	makeSandbox(t, Options{State: state}) // sweeps
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("after a sweep: %v", err)
	}
	if s, err := Up(t.Context(), Options{Name: "projects", State: state}); !errors.Is(err, hostapi.ErrForeign) {
		t.Errorf("Up in a foreign directory: %v, %v, want ErrForeign", s, err)
	}
	if _, err := Open(state, "projects"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of a foreign directory: %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("after Up: %v", err)
	}
}

func TestUpsOfOneNameAtOnce(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	const tries = 4
	results := make(chan error, tries)
	for range tries {
		go func() {
			_, err := Up(t.Context(), Options{State: state})
			results <- err
		}()
	}
	won := 0
	for range tries {
		if err := <-results; err == nil {
			won++
		} else if !errors.Is(err, hostapi.ErrBusy) {
			t.Errorf("Up: %v, want ErrBusy", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d succeeded, want 1", won, tries)
	}
	s, err := Open(state, "")
	if err != nil {
		t.Fatal(err)
	}
	takeAway(t, s)
}

// The hosts' disks cannot be on an overlay, as in a container of Docker's.
func TestStateOnAnOverlay(t *testing.T) {
	needRoot(t)
	place := t.TempDir()
	for _, dir := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(place, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(place, "merged")
	data := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", place)
	if err := unix.Mount("overlay", merged, "overlay", 0, data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(merged, 0); err != nil {
			t.Errorf("unmount the overlay: %v", err)
		}
	})
	state := filepath.Join(merged, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	before := takeSnapshot(t, merged)
	s := makeSandbox(t, Options{State: state})
	onHost(t, s, "host1", "echo kept > /etc/kept")
	if err := s.Reboot(t.Context(), "host1"); err != nil {
		t.Fatal(err)
	}
	if got := onHost(t, s, "host1", "cat /etc/kept"); got != "kept" {
		t.Errorf("after a reboot the disk has %q, want kept", got)
	}
	takeAway(t, s)
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, takeSnapshot(t, merged)); diff != "" {
		t.Errorf("left by Down (-before +after):\n%s", diff)
	}
}

// A machine may have its system on several file systems.
func TestMountsOfTheMachineAreShared(t *testing.T) {
	needRoot(t)
	for _, point := range []string{"/usr", "/etc", "/etc/hostname"} {
		if err := unix.Mount(point, point, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", point, err)
			}
		})
	}
	list, err := mounts()
	if err != nil {
		t.Fatal(err)
	}
	if got := systemMounts(list, "/none"); !slices.Contains(got, "/usr") {
		t.Skipf("the machine's root file system is none that is shared: %q", got)
	}
	s := makeSandbox(t, Options{Hosts: 1})
	onHost(t, s, "host1", "echo x > /usr/x; rm /usr/bin/env")
	if got := onHost(t, s, "host1", "stat -f -c %T /usr"); got != "overlayfs" {
		t.Errorf("/usr is on %s, want overlayfs", got)
	}
	if got := onHost(t, s, "host1", "ls /etc/ssh"); got != "ssh_host_ed25519_key\nssh_host_ed25519_key.pub\nsshd_config" {
		t.Errorf("/etc/ssh: %q, want nothing of the machine's", got)
	}
	if _, err := os.Stat("/usr/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("written in the host, on the machine: %v", err)
	}
	if _, err := os.Stat("/usr/bin/env"); err != nil {
		t.Errorf("removed in the host, gone from the machine: %v", err)
	}
}
