package nstest_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/internal/ns/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestTheNetworkIsLoopbackAlone(t *testing.T) {
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) != 1 || links[0].Attrs().Name != "lo" {
		t.Errorf("links = %v, want lo alone", links)
	}
	if links[0].Attrs().Flags&1 == 0 {
		t.Error("lo is down")
	}
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "own"}}); err != nil {
		t.Errorf("make a link: %v", err)
	}
}

func TestSysctlsOfTheNetworkCanBeSet(t *testing.T) {
	const path = "/proc/sys/net/ipv6/conf/lo/accept_ra"
	if err := os.WriteFile(path, []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "0\n" {
		t.Errorf("%s = %q (%v), want 0", path, got, err)
	}
}

func TestRunIsEmptyAndMountsAreOurs(t *testing.T) {
	if entries, err := os.ReadDir("/run"); err != nil || len(entries) != 0 {
		t.Errorf("/run holds %v (%v), want nothing", entries, err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount("/run", 0); err != nil {
		t.Error(err)
	}
}

// TestFailsIfAsked is what the tests below run in a process of its own.
func TestFailsIfAsked(t *testing.T) {
	if os.Getenv("NSTEST_FAILS") == "1" {
		t.Error("asked to fail")
	}
}

func TestAFailureReachesTheExitCode(t *testing.T) {
	cmd := outside("-test.run=^TestFailsIfAsked$", "-test.v")
	cmd.Env = append(cmd.Env, "NSTEST_FAILS=1")
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("a failing run ended with %v, want exit code 1", err)
	}
	if !bytes.Contains(out, []byte("asked to fail")) {
		t.Errorf("its output lacks the failure:\n%s", out)
	}
}

func TestFlagsReachTheTests(t *testing.T) {
	out, err := outside("-test.list=FailsIf").CombinedOutput()
	if err != nil || string(out) != "TestFailsIfAsked\n" {
		t.Errorf("-test.list gave %q (%v)", out, err)
	}
}

func TestWithoutRootAUserNamespaceDoes(t *testing.T) {
	cmd := outside("-test.run=^Test(TheNetwork|Sysctls|Run)", "-test.v")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if bytes.Contains(out, []byte("skipped: no namespaces")) {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatalf("%v:\n%s", err, out)
		}
		t.Skipf("this kernel gives no user namespaces: %s", out)
	}
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestWhereThereAreNoNamespacesTestsAreSkippedUnlessTheyMustRun(t *testing.T) {
	for _, c := range []struct {
		must string
		want int
	}{{"0", 0}, {"1", 1}} {
		cmd := outside("-test.run=^TestFailsIfAsked$")
		cmd.Env = append(cmd.Env, "VXORCH_MUST_RUN="+c.must)
		// Whose ids have no mapping may not make namespaces of any kind.
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != c.want {
			t.Errorf("VXORCH_MUST_RUN=%s: exit code %d, want %d:\n%s", c.must, got, c.want, out)
		}
		if !bytes.Contains(out, []byte("skipped: no namespaces for the tests: ")) {
			t.Errorf("VXORCH_MUST_RUN=%s: no reason is given:\n%s", c.must, out)
		}
	}
}

// outside runs this test binary as go test does: it is not inside yet.
func outside(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), "VXORCH_NSTEST=")
	return cmd
}
