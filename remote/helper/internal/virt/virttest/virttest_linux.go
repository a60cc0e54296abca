package virttest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/internal/ns/nstest"
)

// stageVariable tells a process of the test binary where it stands: outside, as
// process 1 of the new ones, or among the tests.
const stageVariable = "VXORCH_VIRTTEST"

// Socket is where libvirt's daemon answers once Start was called.
const Socket = "/run/libvirt/libvirt-sock"

// Main runs the tests of m and ends the process. Without root, libvirt or QEMU
// they are skipped, or fail if VXORCH_MUST_RUN=1.
func Main(m *testing.M) {
	switch os.Getenv(stageVariable) {
	case "":
		os.Exit(outside())
	case "first":
		os.Exit(first())
	}
	nstest.Main(m)
}

func outside() int {
	for _, program := range []string{"libvirtd", "virtlogd", "virsh", "qemu-img", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(program); err != nil {
			giveUp(err.Error())
		}
	}
	runtime.LockOSThread() // the children's lives hang on it
	cmd := again("first")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		giveUp(err.Error())
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	_ = cmd.Wait()
	return max(cmd.ProcessState.ExitCode(), -cmd.ProcessState.ExitCode())
}

// first is process 1: it gives the tests a /proc, waits for whatever ends and
// takes everything along when the tests have.
func first() int {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		giveUp(err.Error())
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		giveUp(err.Error())
	}
	runtime.LockOSThread()
	cmd := again("tests")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		giveUp(err.Error())
	}
	go func() {
		for s := range signals {
			_ = unix.Kill(cmd.Process.Pid, s.(syscall.Signal))
		}
	}()
	for {
		var status unix.WaitStatus
		switch pid, err := unix.Wait4(-1, &status, 0, nil); {
		case err != nil && err != unix.EINTR:
			fmt.Fprintln(os.Stderr, "virttest: wait:", err)
			return 1
		case pid == cmd.Process.Pid && status.Exited():
			return status.ExitStatus()
		case pid == cmd.Process.Pid:
			return 1
		}
	}
}

func again(stage string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), stageVariable+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// Furnish gives libvirt empty directories and a configuration that works inside
// namespaces, once for all tests.
func Furnish(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/run/libvirt"); err == nil {
		return
	}
	if err := furnish(); err != nil {
		t.Fatal(err)
	}
}

func furnish() error {
	config := map[string][]byte{}
	err := filepath.WalkDir("/etc/libvirt", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		config[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		return err
	}
	config["/etc/libvirt/qemu.conf"] = []byte(strings.Join([]string{
		`cgroup_controllers = []`, `namespaces = []`, `security_driver = "none"`, `user = "root"`, `group = "root"`,
	}, "\n") + "\n")
	for _, dir := range []string{"/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=1g"); err != nil {
			return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
		}
	}
	for path, text := range config {
		if strings.Contains(path, "/autostart/") {
			continue
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o600)); err != nil {
			return err
		}
	}
	// /var/lock is a link to the second: libvirt locks terminals there.
	return errors.Join(os.Mkdir("/var/lib/libvirt/images", 0o711), os.Mkdir("/run/lock", 0o755), os.Mkdir("/run/libvirt", 0o755))
}

// Daemon is a libvirtd that runs.
type Daemon struct {
	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{}
	log  bytes.Buffer // after done
}

// Start has libvirtd run until the test ends, with virtlogd beside it.
func Start(t testing.TB) *Daemon {
	t.Helper()
	Furnish(t)
	logs, d := &Daemon{t: t}, &Daemon{t: t}
	logs.run("virtlogd")
	t.Cleanup(logs.Stop)
	d.Restart()
	t.Cleanup(d.Stop)
	return d
}

// Restart has libvirtd run after it was stopped, and waits until it answers.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.run("libvirtd")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("unix", Socket)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-d.done:
			d.t.Fatal("libvirtd ended")
		default:
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("libvirtd does not answer: %v", err)
		}
	}
}

func (d *Daemon) run(program string) {
	d.t.Helper()
	cmd, done := exec.Command(program), make(chan struct{})
	cmd.Stderr, cmd.WaitDelay = &d.log, time.Second
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	d.cmd, d.done = cmd, done
}

// Stop ends it; its guests run on. A second time does nothing.
func (d *Daemon) Stop() {
	if d.t.Failed() {
		defer func() {
			text := d.log.Bytes()
			d.t.Logf("%s said at its end:\n%s", d.cmd.Path, text[max(0, len(text)-2000):])
		}()
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(20 * time.Second):
		d.t.Error("it does not end: ", d.cmd.Path)
		_ = d.cmd.Process.Kill()
		<-d.done
	}
}

// Freeze has it answer nothing any more, until thaw.
func (d *Daemon) Freeze() (thaw func()) {
	_ = d.cmd.Process.Signal(syscall.SIGSTOP)
	return func() { _ = d.cmd.Process.Signal(syscall.SIGCONT) }
}

// Virsh runs virsh and gives what it prints.
func Virsh(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("virsh", append([]string{"-q", "-c", "qemu:///system"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("virsh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Redefine defines a domain anew, as edit has what libvirt keeps of it. One that
// runs goes on as it is.
func Redefine(t testing.TB, name string, edit func(text string) string) {
	t.Helper()
	before := Virsh(t, "dumpxml", "--inactive", name)
	after := edit(before)
	if after == before {
		t.Fatalf("nothing is to be changed in the definition of %s:\n%s", name, before)
	}
	file := filepath.Join(t.TempDir(), "domain.xml")
	if err := os.WriteFile(file, []byte(after), 0o600); err != nil {
		t.Fatal(err)
	}
	Virsh(t, "define", file)
}

// Snapshot is what a lab could leave behind: what libvirt knows, and the files
// of its images.
func Snapshot(t testing.TB) string {
	t.Helper()
	out := Virsh(t, "list", "--all") + "\n" + Virsh(t, "net-list", "--all") + "\n" + Virsh(t, "pool-list", "--all") + "\n"
	err := filepath.WalkDir("/var/lib/libvirt/images", func(path string, e fs.DirEntry, err error) error {
		out += path + "\n"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Plant defines a network and a domain of that name as others would, until the
// test ends.
func Plant(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	network, domain := filepath.Join(dir, "network.xml"), filepath.Join(dir, "domain.xml")
	err := errors.Join(
		os.WriteFile(network, fmt.Appendf(nil, `<network><name>%s</name><forward mode='bridge'/><bridge name='elsewhere'/></network>`, name), 0o600),
		os.WriteFile(domain, fmt.Appendf(nil, `<domain type='qemu'><name>%s</name><memory>65536</memory><os><type>hvm</type></os></domain>`, name), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	Virsh(t, "net-define", network)
	Virsh(t, "define", domain)
	t.Cleanup(func() {
		Virsh(t, "net-undefine", name)
		Virsh(t, "undefine", name)
	})
}
