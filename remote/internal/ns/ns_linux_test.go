package ns_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/internal/ns"
	"vxorch/remote/internal/ns/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// create makes a namespace and removes it, Dir too, when the test ends.
func create(t *testing.T, name string) {
	t.Helper()
	if err := ns.Create(name, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if err := ns.Tidy(); err != nil {
			t.Error(err)
		}
	})
}

// here names the network namespace of the calling thread.
func here() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }

func setLoopback(up bool) func() error {
	return func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if up {
			return netlink.LinkSetUp(lo)
		}
		return netlink.LinkSetDown(lo)
	}
}

func list(t *testing.T) []ns.Entry {
	t.Helper()
	entries, err := ns.List()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestCreatePreparesBeforeTheNameIsSeen(t *testing.T) {
	home, err := here()
	if err != nil {
		t.Fatal(err)
	}
	var inside string
	err = ns.Create("a", func() (err error) {
		if entries := list(t); len(entries) != 0 {
			t.Errorf("List during prepare = %v, want none", entries)
		}
		inside, err = here()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Remove("a"); ns.Tidy() })
	if inside == home {
		t.Errorf("prepare ran in the process's own namespace")
	}
	if diff := cmp.Diff([]ns.Entry{{Name: "a", Valid: true}}, list(t)); diff != "" {
		t.Errorf("List after Create (-want +got):\n%s", diff)
	}
	var entered string
	if err := ns.Do("a", func() (err error) { entered, err = here(); return err }); err != nil {
		t.Fatal(err)
	}
	if entered != inside {
		t.Errorf("Do entered %s, want %s", entered, inside)
	}
}

func TestANameIsTakenOnce(t *testing.T) {
	create(t, "a")
	err := ns.Create("a", func() error { t.Error("prepare was run"); return nil })
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create of a taken name = %v, want fs.ErrExist", err)
	}
	if err := os.WriteFile(filepath.Join(ns.Dir, "plain"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ns.Create("plain", func() error { return nil }); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create where a plain file is = %v, want fs.ErrExist", err)
	}
	if err := ns.Remove("plain"); err != nil {
		t.Error(err)
	}
}

func TestOfTwoThatCreateTheSameNameOneWins(t *testing.T) {
	// Both are past the first look at the name when they bind.
	var ready sync.WaitGroup
	ready.Add(2)
	errs := make(chan error)
	for range 2 {
		go func() {
			errs <- ns.Create("a", func() error { ready.Done(); ready.Wait(); return nil })
		}()
	}
	first, second := <-errs, <-errs
	t.Cleanup(func() { ns.Remove("a"); ns.Tidy() })
	if first == nil {
		first, second = second, first
	}
	if second != nil || !errors.Is(first, fs.ErrExist) {
		t.Errorf("Create twice = %v and %v, want nil and fs.ErrExist", second, first)
	}
	if diff := cmp.Diff([]ns.Entry{{Name: "a", Valid: true}}, list(t)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func TestAFailedCreateLeavesNothing(t *testing.T) {
	cause := errors.New("no luck")
	if err := ns.Create("a", func() error { return cause }); !errors.Is(err, cause) {
		t.Errorf("Create = %v, want %v", err, cause)
	}
	if err := ns.Create("bad/name", func() error { return nil }); err == nil {
		t.Error("Create of bad/name = nil, want an error")
	}
	if diff := cmp.Diff("", tree(t)); diff != "" {
		t.Errorf("/run (-want +got):\n%s", diff)
	}
}

func TestNamesThatLeaveTheDirectoryAreRefused(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "../x", "nul\x00"} {
		if err := ns.Create(name, func() error { return nil }); err == nil {
			t.Errorf("Create(%q) = nil, want an error", name)
		}
		if err := ns.Remove(name); err == nil {
			t.Errorf("Remove(%q) = nil, want an error", name)
		}
		if file, err := ns.Open(name); err == nil {
			file.Close()
			t.Errorf("Open(%q) = nil, want an error", name)
		}
		if name == "" {
			continue // the process's own
		}
		if err := ns.Do(name, func() error { return nil }); err == nil {
			t.Errorf("Do(%q) = nil, want an error", name)
		}
	}
}

func TestAbsentNamespacesAreSaidToBeAbsent(t *testing.T) {
	if diff := cmp.Diff([]ns.Entry(nil), list(t)); diff != "" {
		t.Errorf("List without %s (-want +got):\n%s", ns.Dir, diff)
	}
	if err := ns.Do("nobody", func() error { t.Error("f was run"); return nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Do = %v, want fs.ErrNotExist", err)
	}
	if err := ns.Remove("nobody"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove = %v, want fs.ErrNotExist", err)
	}
}

func TestWhatAMakerThatDiedLeftIsListedAndRemoved(t *testing.T) {
	create(t, "whole")
	if err := os.WriteFile(filepath.Join(ns.Dir, "half"), nil, 0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]ns.Entry{{Name: "half"}, {Name: "whole", Valid: true}}, list(t)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if err := ns.Do("half", func() error { t.Error("f was run"); return nil }); err == nil {
		t.Error("Do in a plain file = nil, want an error")
	}
	if err := ns.Remove("half"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]ns.Entry{{Name: "whole", Valid: true}}, list(t)); diff != "" {
		t.Errorf("List after Remove (-want +got):\n%s", diff)
	}
}

func TestDoGivesTheThreadBackAsItWas(t *testing.T) {
	create(t, "a")
	home, err := here()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			if i%2 == 0 {
				if err := ns.Do("a", func() error { return nil }); err != nil {
					t.Error(err)
				}
				return
			}
			if got, err := here(); err != nil || got != home {
				t.Errorf("a goroutine beside Do runs in %s (%v), want %s", got, err, home)
			}
		})
	}
	group.Wait()
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if got, err := os.Readlink(task); err == nil && got != home {
			t.Errorf("%s is in %s after all Do returned, want %s", task, got, home)
		}
	}
}

func TestDoOfManyNamespacesAtOnceKeepsThemApart(t *testing.T) {
	const count = 8
	want := make([]string, count)
	for i := range count {
		name := fmt.Sprintf("n%d", i)
		create(t, name)
		if err := ns.Do(name, func() (err error) { want[i], err = here(); return err }); err != nil {
			t.Fatal(err)
		}
	}
	var group sync.WaitGroup
	for i := range count {
		for range 20 {
			group.Go(func() {
				var got string
				err := ns.Do(fmt.Sprintf("n%d", i), func() (err error) { got, err = here(); return err })
				if err != nil || got != want[i] {
					t.Errorf("Do(n%d) ran in %s (%v), want %s", i, got, err, want[i])
				}
			})
		}
	}
	group.Wait()
}

func TestDoNested(t *testing.T) {
	create(t, "a")
	create(t, "b")
	err := ns.Do("a", func() error {
		before, err := here()
		if err != nil {
			return err
		}
		if err := ns.Do("b", setLoopback(true)); err != nil {
			return err
		}
		after, err := here()
		if err == nil && after != before {
			err = fmt.Errorf("in %s after the inner Do, want %s", after, before)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDoReturnsWhenItsFunctionEndsTheGoroutine(t *testing.T) {
	create(t, "a")
	inner := &testing.T{}
	if err := ns.Do("a", func() error { inner.FailNow(); return nil }); err == nil {
		t.Error("Do = nil, want an error")
	}
}

func TestDoWithoutANameIsACall(t *testing.T) {
	cause := errors.New("as returned")
	if err := ns.Do("", func() error { return cause }); err != cause {
		t.Errorf("Do = %v, want %v", err, cause)
	}
}

func TestRemoveEndsTheNamespaceAlsoWhileItIsOpen(t *testing.T) {
	create(t, "a")
	file, err := ns.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := ns.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]ns.Entry(nil), list(t)); diff != "" {
		t.Errorf("List after Remove (-want +got):\n%s", diff)
	}
}

func TestRemoveOfANamespaceBoundTwice(t *testing.T) {
	create(t, "a")
	path := filepath.Join(ns.Dir, "a")
	if err := unix.Mount(path, path, "none", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := ns.Remove("a"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]ns.Entry(nil), list(t)); diff != "" {
		t.Errorf("List after Remove (-want +got):\n%s", diff)
	}
}

func TestRemoveOfALinkTakesTheLinkAlone(t *testing.T) {
	create(t, "a")
	if err := os.Symlink("a", filepath.Join(ns.Dir, "b")); err != nil {
		t.Fatal(err)
	}
	if err := ns.Remove("b"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]ns.Entry{{Name: "a", Valid: true}}, list(t)); diff != "" {
		t.Errorf("List after Remove (-want +got):\n%s", diff)
	}
}

// tree lists what is in /run and the mounts there.
func tree(t *testing.T) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir("/run", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == "/run" {
			return err
		}
		info, err := entry.Info()
		lines = append(lines, fmt.Sprint(info.Mode(), " ", path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], "/run/") {
			lines = append(lines, "mount "+fields[4])
		}
	}
	return strings.Join(lines, "\n")
}

func TestTidyLeavesTheMachineAsFound(t *testing.T) {
	for name, c := range map[string]struct {
		before func() error // what is there already
		during func() error // what another does meanwhile
		after  func() error // takes what both made away
		same   bool         // /run is as before
	}{
		"nothing was there": {same: true},
		"the directory was there": {
			before: func() error { return os.Mkdir(ns.Dir, 0o700) },
			after:  func() error { return os.Remove(ns.Dir) },
			same:   true,
		},
		"directory and mount were there": {
			before: func() error {
				return errors.Join(os.Mkdir(ns.Dir, 0o755), unix.Mount(ns.Dir, ns.Dir, "none", unix.MS_BIND, ""))
			},
			after: func() error { return errors.Join(unix.Unmount(ns.Dir, 0), os.Remove(ns.Dir)) },
			same:  true,
		},
		"mounts on /run are shared, as systemd has it": {
			before: func() error { return unix.Mount("", "/run", "", unix.MS_SHARED, "") },
			after:  func() error { return unix.Mount("", "/run", "", unix.MS_PRIVATE, "") },
			same:   true,
		},
		"another put a file there": {
			during: func() error { return os.WriteFile(filepath.Join(ns.Dir, "other"), nil, 0o600) },
			after:  func() error { return errors.Join(os.Remove(filepath.Join(ns.Dir, "other")), ns.Tidy()) },
		},
		"another makes it private": {
			during: func() error { return unix.Mount("", ns.Dir, "none", unix.MS_PRIVATE, "") },
			same:   true,
		},
		"another took it away": {
			during: func() error { return errors.Join(unix.Unmount(ns.Dir, unix.MNT_DETACH), os.Remove(ns.Dir)) },
			same:   true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			do := func(f func() error) {
				t.Helper()
				if f == nil {
					return
				}
				if err := f(); err != nil {
					t.Fatal(err)
				}
			}
			empty := tree(t)
			do(c.before)
			before := tree(t)
			do(func() error { return ns.Create("a", func() error { return nil }) })
			do(ns.Tidy) // nothing, as long as there is a namespace
			if diff := cmp.Diff([]ns.Entry{{Name: "a", Valid: true}}, list(t)); diff != "" {
				t.Errorf("List after the first Tidy (-want +got):\n%s", diff)
			}
			do(func() error { return ns.Remove("a") })
			do(c.during)
			do(ns.Tidy)
			do(ns.Tidy)
			if diff := cmp.Diff(before, tree(t)); (diff == "") != c.same {
				t.Errorf("/run is as before: %t, want %t (-before +after):\n%s", !c.same, c.same, diff)
			}
			do(c.after)
			if diff := cmp.Diff(empty, tree(t)); diff != "" {
				t.Errorf("/run in the end (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatAMakerThatDiedPromisedIsTidied(t *testing.T) {
	nothing := func() error { return nil }
	directory := func() error { return os.Mkdir(ns.Dir, 0o755) }
	mount := func() error {
		return errors.Join(directory(), unix.Mount(ns.Dir, ns.Dir, "none", unix.MS_BIND, ""))
	}
	for name, c := range map[string]struct {
		promised string
		made     func() error
	}{
		"before the directory": {"directory\n", nothing},
		"after the directory":  {"directory\n", directory},
		"before the mount":     {"directory\nmount\n", directory},
		"after the mount":      {"directory\nmount\n", mount},
		"while tidying up":     {"directory\nmount\n", nothing},
	} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, again %t", name, again), func(t *testing.T) {
				if err := errors.Join(os.Mkdir("/run/vxorch", 0o700), os.WriteFile("/run/vxorch/netns.made", []byte(c.promised), 0o600), c.made()); err != nil {
					t.Fatal(err)
				}
				if again {
					create(t, "a")
					if err := ns.Remove("a"); err != nil {
						t.Error(err)
					}
				}
				if err := ns.Tidy(); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff("", tree(t)); diff != "" {
					t.Errorf("/run (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestWhatDyingBeforeThePromiseLeftIsTidied(t *testing.T) {
	if err := errors.Join(os.Mkdir("/run/vxorch", 0o700), os.WriteFile("/run/vxorch/.netns.made", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := ns.Tidy(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff("", tree(t)); diff != "" {
		t.Errorf("/run (-want +got):\n%s", diff)
	}
}

func TestTidyWaitsForWhoeverHasTheDirectoryOpen(t *testing.T) {
	create(t, "a")
	if err := ns.Remove("a"); err != nil {
		t.Fatal(err)
	}
	busy, err := os.Open(ns.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Tidy(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ns.Dir); err != nil {
		t.Errorf("%s was removed under a user: %v", ns.Dir, err)
	}
	busy.Close()
	if err := ns.Tidy(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff("", tree(t)); diff != "" {
		t.Errorf("/run (-want +got):\n%s", diff)
	}
}

func TestManyMakersAndTidiersAtOnceLoseNothing(t *testing.T) {
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			name := fmt.Sprintf("n%d", i)
			for range 10 {
				if err := ns.Create(name, setLoopback(true)); err != nil {
					t.Error(err)
					return
				}
				if err := ns.Do(name, func() error { return nil }); err != nil {
					t.Error(err)
				}
				if err := errors.Join(ns.Remove(name), ns.Tidy()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	// The last ones may have stood in each other's way.
	if err := ns.Tidy(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff("", tree(t)); diff != "" {
		t.Errorf("/run (-want +got):\n%s", diff)
	}
}

func TestIproute2AgreesOnNamespaces(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no iproute2 to compare with: %v", err)
	}
	ip := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	create(t, "ours")
	ip("netns", "add", "theirs")
	if got := strings.Fields(ip("netns", "list")); !cmp.Equal([]string{"theirs", "ours"}, got) && !cmp.Equal([]string{"ours", "theirs"}, got) {
		t.Errorf("ip netns list = %q, want ours and theirs", got)
	}
	ip("-n", "ours", "link", "set", "lo", "up")
	if err := ns.Do("theirs", setLoopback(true)); err != nil {
		t.Error(err)
	}
	ip("netns", "delete", "ours")
	if err := ns.Remove("theirs"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]ns.Entry(nil), list(t)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}
