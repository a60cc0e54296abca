package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stageVariable tells a process of the test binary where it stands. What the
// tests start, fuzzing workers among it, inherits "inside".
const stageVariable = "VXORCH_NSTEST"

// Main runs the tests of m and ends the process. Without root they run in a
// user namespace too. Where that is not to be had they are skipped, or fail if
// VXORCH_MUST_RUN=1.
func Main(m *testing.M) {
	switch os.Getenv(stageVariable) {
	case "":
		// Past the race detector's second of waiting: no test ran here.
		syscall.Exit(again())
	case "outside":
		if err := furnish(); err != nil {
			giveUp(err.Error())
		}
		os.Setenv(stageVariable, "inside")
	}
	os.Exit(m.Run())
}

// again runs this test binary once more, in new namespaces, and gives its exit
// code.
func again() int {
	const flags = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
	withUser := &syscall.SysProcAttr{
		Cloneflags:  flags | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	code, err := run(&syscall.SysProcAttr{Cloneflags: flags})
	if errors.Is(err, os.ErrPermission) {
		code, err = run(withUser)
	}
	if err != nil {
		giveUp(err.Error())
	}
	return code
}

func run(attr *syscall.SysProcAttr) (code int, err error) {
	// Whatever ends this process ends the tests. The signal comes when the
	// thread that started them ends: keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr.Pdeathsig = syscall.SIGKILL

	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), stageVariable+"=outside")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals: // go test asks for stacks by SIGQUIT
				cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err = cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		if code := exit.ExitCode(); code > 0 {
			return code, nil
		}
		fmt.Fprintln(os.Stderr, exit) // by a signal
		return 1, nil
	}
	return 0, err
}

// furnish makes the new namespaces ready for the tests.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs on /run: %w", err)
	}
	// /proc/sys/net shows the reader's namespace; containers have it read-only.
	if errors.Is(unix.Access("/proc/sys/net/ipv4/ip_forward", unix.W_OK), unix.EROFS) {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return fmt.Errorf("mount a writable /proc: %w", err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	return nil
}
