package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// plain makes a namespace that is nobody's, for the time of the test.
func plain(t *testing.T, name string) {
	t.Helper()
	if err := ns.Create(name, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ns.Remove(name), ns.Tidy()); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

// marked makes a bridge that bears lab's mark in the named namespace.
func marked(t *testing.T, netns, lab string) {
	t.Helper()
	err := ns.Do(netns, func() error {
		bridge := &netlink.Bridge{LinkAttrs: attributes("stray0", nil)}
		return errors.Join(netlink.LinkAdd(bridge), netlink.LinkSetAlias(bridge, own.FormatMark(hostapi.Mark{Lab: lab, For: "net", User: "u", Controller: "c"})))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sleeper runs a process in the named namespace and gives its pid.
func sleeper(t *testing.T, netns string) int {
	t.Helper()
	sleep := exec.Command("sleep", "600")
	if err := ns.Do(netns, sleep.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sleep.Process.Kill()
		_ = sleep.Wait()
	})
	return sleep.Process.Pid
}

func TestRemainsAreFoundWhereverTheyAre(t *testing.T) {
	m := newMachine(t)
	lab := fmt.Sprintf("r%d", os.Getpid()) // no other test's, whose namespaces are seen too
	check := func(want ...string) {
		t.Helper()
		got, err := m.kernel.Remains(context.Background(), lab)
		if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("Remains gives %q, %v; want %q", got, err, want)
		}
	}
	check()

	// In a namespace of somebody else's.
	plain(t, "theirs")
	marked(t, "theirs", lab)
	check("link stray0 in namespace theirs")
	marked(t, "", "other")
	check("link stray0 in namespace theirs")
	m.delete("stray0")

	// In one without a name: a process lives there.
	plain(t, "nameless")
	marked(t, "nameless", lab)
	pid := sleeper(t, "nameless")
	if err := errors.Join(ns.Remove("nameless"), ns.Remove("theirs")); err != nil {
		t.Fatal(err)
	}
	process := fmt.Sprintf("process %d (sleep)", pid)
	check("link stray0 in " + process)
	if got, err := m.kernel.Remains(context.Background(), "other"); err != nil || len(got) > 0 {
		t.Errorf("another lab's remains are %q, %v; want none", got, err)
	}
}

func TestNamespaceThatLostItsNameIsFound(t *testing.T) {
	m := newMachine(t)
	lab := fmt.Sprintf("r%d", os.Getpid())
	plain(t, "workload")
	if err := ns.Do("workload", func() error {
		lo, err := netlink.LinkByName("lo")
		return errors.Join(err, netlink.LinkSetAlias(lo, own.FormatMark(hostapi.Mark{Lab: lab, For: "cn1", User: "u", Controller: "c"})))
	}); err != nil {
		t.Fatal(err)
	}
	marked(t, "workload", lab)
	if got, err := m.kernel.Remains(context.Background(), lab); err != nil || len(got) > 0 {
		t.Errorf("with its name, Remains gives %q, %v; Observe reports it", got, err)
	}
	// Kept by another mount, as container engines do.
	mount := filepath.Join("/run", "kept netns")
	if err := errors.Join(os.WriteFile(mount, nil, 0o600), unix.Mount(filepath.Join(ns.Dir, "workload"), mount, "", unix.MS_BIND, ""), ns.Remove("workload")); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(unix.Unmount(mount, unix.MNT_DETACH), os.Remove(mount)); err != nil {
			t.Error(err)
		}
	}()
	want := []string{"link stray0 in the mount /run/kept netns", "the network namespace of cn1, which lives on in the mount /run/kept netns"}
	got, err := m.kernel.Remains(context.Background(), lab)
	if err != nil || len(got) != 2 || !(got[0] == want[0] && got[1] == want[1] || got[0] == want[1] && got[1] == want[0]) {
		t.Errorf("Remains gives %q, %v; want %q", got, err, want)
	}
}
