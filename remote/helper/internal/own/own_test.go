package own

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/hostapi"
)

func TestMarkSurvivesTheAlias(t *testing.T) {
	for name, c := range map[string]struct {
		mark hostapi.Mark
		want string
	}{
		"plain":                {hostapi.Mark{Lab: "lu", For: "cn1", User: "alice", Controller: "laptop"}, "vxorch lab=lu for=cn1 by=alice@laptop"},
		"nothing but a lab":    {hostapi.Mark{Lab: "lu"}, "vxorch lab=lu for= by=@"},
		"separators in values": {hostapi.Mark{Lab: "lu", For: "a by=b", User: "x@y lab=z", Controller: "100%"}, "vxorch lab=lu for=a%20by%3Db by=x%40y%20lab%3Dz@100%25"},
		"control characters":   {hostapi.Mark{Lab: "lu", User: "a\x1b[2J\n\x00"}, "vxorch lab=lu for= by=a%1B%5B2J%0A%00@"},
		"not ASCII":            {hostapi.Mark{Lab: "lu", User: "zoë"}, "vxorch lab=lu for= by=zo%C3%AB@"},
	} {
		t.Run(name, func(t *testing.T) {
			got := FormatMark(c.mark)
			if got != c.want {
				t.Errorf("FormatMark(%+v) = %q, want %q", c.mark, got, c.want)
			}
			parsed, ok := ParseMark(got)
			if diff := cmp.Diff(c.mark, parsed); diff != "" || !ok {
				t.Errorf("ParseMark(%q) ok=%t (-want +got):\n%s", got, ok, diff)
			}
		})
	}
}

func TestTextThatIsNotExactlyAMarkIsNone(t *testing.T) {
	for _, alias := range []string{
		"", "vxorch", "vxorch lab= for= by=@", "uplink to vxorch lab=lu for=a by=b@c",
		"vxorch lab=lu for=a by=b", "vxorch lab=lu for=a by=b@c extra", "vxorch lab=lu  for=a by=b@c",
		"vxorch lab=lu for=a by=b@c\n", "vxorch lab=l%75 for=a by=b@c", "vxorch lab=lu for=%zz by=b@c", "vxorch lab=lu for=% by=b@c",
		"vxorch lab=lu for=a by=b@c@d",
	} {
		if m, ok := ParseMark(alias); ok {
			t.Errorf("ParseMark(%q) = %+v, want none", alias, m)
		}
	}
}

func FuzzMarkFitsAndIsUnambiguous(f *testing.F) {
	f.Add("lu", "cn1", "alice", "laptop")
	f.Add("a b", strings.Repeat("ü", 300), "\xff\x00", "=@%")
	f.Fuzz(func(t *testing.T, lab, name, user, controller string) {
		text := FormatMark(hostapi.Mark{Lab: lab, For: name, User: user, Controller: controller})
		if len(text) > 255 {
			t.Fatalf("mark of %d bytes: %q", len(text), text)
		}
		for i := range len(text) {
			if text[i] < ' ' || text[i] > '~' {
				t.Fatalf("byte %q in mark %q", text[i], text)
			}
		}
		m, ok := ParseMark(text)
		if !strings.HasPrefix(lab, m.Lab) || !strings.HasPrefix(name, m.For) || !strings.HasPrefix(user, m.User) || !strings.HasPrefix(controller, m.Controller) {
			t.Fatalf("ParseMark(%q) = %+v, want beginnings of %q", text, m, []string{lab, name, user, controller})
		}
		if ok && FormatMark(m) != text {
			t.Fatalf("%q is read as %+v, which is written %q", text, m, FormatMark(m))
		}
	})
}

func FuzzParseMarkTakesOnlyWhatFormatMarkWrites(f *testing.F) {
	f.Add("vxorch lab=lu for=cn1 by=alice@laptop")
	f.Add("vxorch lab=%2 for=%20 by=%@%FF")
	f.Fuzz(func(t *testing.T, alias string) {
		if m, ok := ParseMark(alias); ok && FormatMark(m) != alias {
			t.Fatalf("%q is read as %+v, which is written %q", alias, m, FormatMark(m))
		}
	})
}

func newStore(t *testing.T) Store {
	return Store{Root: filepath.Join(t.TempDir(), "vxorch")}
}

func mustLock(t *testing.T, s Store, lab string, h hostapi.Holder) *Lock {
	t.Helper()
	lock, err := s.Lock(lab, h)
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

func TestIntentsAreThereUntilForgotten(t *testing.T) {
	s := newStore(t)
	if got, err := s.Intents("lu"); err != nil || got != nil {
		t.Fatalf("Intents of a lab that never was = %v, %v, want none", got, err)
	}
	lock := mustLock(t, s, "lu", hostapi.Holder{})
	link := Intent{hostapi.KindVeth, "odd=name", "02:00:00:00:00:01"}
	space := Intent{hostapi.KindNamespace, "cn1", ""}
	for _, i := range []Intent{link, space, link} {
		if err := lock.Intend(i); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Intents("lu")
	if diff := cmp.Diff([]Intent{space, link}, got); diff != "" || err != nil {
		t.Errorf("Intents: %v (-want +got):\n%s", err, diff)
	}
	if !Matches(got, hostapi.KindVeth, "odd=name", "02:00:00:00:00:01") || Matches(got, hostapi.KindVeth, "odd=name", "02:00:00:00:00:02") ||
		Matches(got, hostapi.KindBridge, "odd=name", "02:00:00:00:00:01") {
		t.Error("Matches does not go by kind, name and MAC")
	}
	for _, i := range []Intent{link, link} {
		if err := lock.Forget(i); err != nil {
			t.Errorf("Forget(%v): %v", i, err)
		}
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	// The next holder finds what a dead one left.
	if got, err := s.Intents("lu"); err != nil || len(got) != 1 || got[0] != space {
		t.Errorf("Intents after Release = %v, %v, want %v", got, err, space)
	}
	lock = mustLock(t, s, "lu", hostapi.Holder{})
	if err := lock.Forget(space); err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.Root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there after the last lab's end: %v", s.Root, err)
	}
}

func TestNamesThatWouldLeaveTheDirectoryAreRefused(t *testing.T) {
	s := newStore(t)
	for _, lab := range []string{"", "..", "a/b", "A", "lu\n", strings.Repeat("a", 21)} {
		if _, err := s.Lock(lab, hostapi.Holder{}); kindOf(err) != hostapi.KindInvalid {
			t.Errorf("Lock(%q): %v, want invalid", lab, err)
		}
		if _, err := s.Intents(lab); kindOf(err) != hostapi.KindInvalid {
			t.Errorf("Intents(%q): %v, want invalid", lab, err)
		}
	}
	lock := mustLock(t, s, "lu", hostapi.Holder{})
	for _, i := range []Intent{{"", "x", ""}, {"veth", "", ""}, {"veth", "../x", ""}, {"veth", "x\x00", ""}, {"veth", "x", "a=b"}} {
		if err := lock.Intend(i); kindOf(err) != hostapi.KindInvalid {
			t.Errorf("Intend(%v): %v, want invalid", i, err)
		}
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestLockTellsTheSecondWhoHoldsIt(t *testing.T) {
	s := newStore(t)
	alice := hostapi.Holder{User: "alice", Controller: "laptop", Verb: "deploy", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	lock := mustLock(t, s, "lu", alice)
	_, err := s.Lock("lu", hostapi.Holder{User: "bob"})
	if !errors.Is(err, hostapi.ErrLocked) || !strings.Contains(err.Error(), "alice") || !strings.Contains(err.Error(), "laptop") || !strings.Contains(err.Error(), "deploy") {
		t.Errorf("second Lock: %v, want locked by alice on laptop for deploy", err)
	}
	other := mustLock(t, s, "other", hostapi.Holder{User: "bob"})
	if err := errors.Join(lock.Release(), other.Release()); err != nil {
		t.Fatal(err)
	}
	if err := mustLock(t, s, "lu", hostapi.Holder{User: "bob"}).Release(); err != nil {
		t.Fatal(err)
	}
}

func TestLockOfASilentControllerTellsWhenItEnds(t *testing.T) {
	s := newStore(t)
	s.Lease = 15 * time.Second
	lock := mustLock(t, s, "lu", hostapi.Holder{User: "alice"})
	silentFor := func(d time.Duration) error {
		then := time.Now().Add(-d)
		if err := os.Chtimes(filepath.Join(s.Root, "lu", "lock"), then, then); err != nil {
			t.Fatal(err)
		}
		_, err := s.Lock("lu", hostapi.Holder{User: "bob"})
		if !errors.Is(err, hostapi.ErrLocked) || !strings.Contains(err.Error(), "alice") {
			t.Errorf("silent for %s: %v, want locked by alice", d, err)
		}
		return err
	}
	if err := silentFor(6 * time.Second); strings.Contains(err.Error(), "lost") { // one sign may be late
		t.Errorf("silent for 6 s: %v", err)
	}
	if e := hostapi.AsError(silentFor(11 * time.Second)); !strings.Contains(e.Message, "nothing came for 11s") || !strings.Contains(e.Hint, "ends in 4s") {
		t.Errorf("silent for 11 s: %q, %q", e.Message, e.Hint)
	}
	if err := lock.Heard(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock("lu", hostapi.Holder{}); strings.Contains(err.Error(), "lost") {
		t.Errorf("heard just now: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestLockFileIsPrivate(t *testing.T) {
	s := newStore(t)
	lock := mustLock(t, s, "lu", hostapi.Holder{})
	if err := lock.Intend(Intent{"veth", "x", ""}); err != nil {
		t.Fatal(err)
	}
	got := map[string]fs.FileMode{}
	if err := filepath.WalkDir(s.Root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		got[strings.TrimPrefix(path, s.Root)] = info.Mode()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{
		"": fs.ModeDir | 0o700, "/lu": fs.ModeDir | 0o700, "/lu/intents": fs.ModeDir | 0o700,
		"/lu/lock": 0o600, "/lu/intents/veth=x=": 0o600,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestOneOfManyGetsTheLockWhileOthersLeave(t *testing.T) {
	s := newStore(t)
	var mu sync.Mutex
	holders := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				lock, err := s.Lock("lu", hostapi.Holder{User: "x"})
				if errors.Is(err, hostapi.ErrLocked) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				holders++
				if holders != 1 {
					t.Errorf("%d hold the lock at once", holders)
				}
				mu.Unlock()
				// What the lock is for works in whatever the last holder left.
				i := Intent{"veth", "x", ""}
				if err := errors.Join(lock.Intend(i), lock.Forget(i)); err != nil {
					t.Error(err)
				}
				mu.Lock()
				holders--
				mu.Unlock()
				if err := lock.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := os.Lstat(s.Root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", s.Root, err)
	}
}

func TestDirectoriesPreparedByOthersAreRefused(t *testing.T) {
	for name, prepare := range map[string]func(root string) error{
		"symlink": func(root string) error { return os.Symlink(filepath.Dir(root), root) },
		"open to others": func(root string) error {
			if err := os.Mkdir(root, 0o700); err != nil {
				return err
			}
			return os.Chmod(root, 0o777)
		},
		"a file": func(root string) error { return os.WriteFile(root, nil, 0o700) },
		"foreign owner": func(root string) error {
			if os.Geteuid() != 0 {
				return errSkip
			}
			if err := os.Mkdir(root, 0o700); err != nil {
				return err
			}
			return os.Chown(root, 12345, 12345)
		},
		"lab is a symlink": func(root string) error {
			if err := os.Mkdir(root, 0o700); err != nil {
				return err
			}
			return os.Symlink(root, filepath.Join(root, "lu"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := prepare(s.Root); errors.Is(err, errSkip) {
				if os.Getenv("VXORCH_MUST_RUN") == "1" {
					t.Fatal("needs root")
				}
				t.Skip("needs root to give a directory away")
			} else if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Lock("lu", hostapi.Holder{}); kindOf(err) != hostapi.KindPermission {
				t.Errorf("Lock: %v, want it refused", err)
			}
			if _, err := s.Intents("lu"); kindOf(err) != hostapi.KindPermission {
				t.Errorf("Intents: %v, want it refused", err)
			}
		})
	}
}

var errSkip = errors.New("not here")

// kindOf is 0 of nil.
func kindOf(err error) hostapi.Kind {
	if err == nil {
		return 0
	}
	return hostapi.AsError(err).Kind
}

func TestRemainsAreWhatNoRunPutThere(t *testing.T) {
	store := Store{Root: filepath.Join(t.TempDir(), "vxorch")}
	lock, err := store.Lock("lu", hostapi.Holder{User: "u"})
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Intend(Intent{Kind: hostapi.KindBridge, Name: "br0", MAC: "02:00:00:00:00:01"}); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Remains("lu"); err != nil || len(got) > 0 {
		t.Errorf("under a lock and with an intent there remain %q, %v; want nothing", got, err)
	}
	dir := filepath.Join(store.Root, "lu")
	want := []string{filepath.Join(dir, "core"), filepath.Join(dir, "intents", "note")}
	for _, path := range want {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := store.Remains("lu")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Remains: %v, (-want +got):\n%s", err, diff)
	}
	if got, err := store.Remains("other"); err != nil || len(got) > 0 {
		t.Errorf("of another lab there remain %q, %v; want nothing", got, err)
	}
}

func TestHeldListsTheLocksThatAreHeld(t *testing.T) {
	s := Store{Root: filepath.Join(t.TempDir(), "vxorch")}
	is := func(want ...string) {
		t.Helper()
		if got, err := s.Held(); err != nil || !slices.Equal(got, want) {
			t.Errorf("Held() = %q, %v; want %q", got, err, want)
		}
	}
	is()
	a, err := s.Lock("a", hostapi.Holder{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Lock("b", hostapi.Holder{})
	if err != nil {
		t.Fatal(err)
	}
	is("a", "b")
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	is("b")
	if err := b.Release(); err != nil {
		t.Fatal(err)
	}
	is()
}

func FuzzParseIntentTakesOnlyWhatOneWrites(f *testing.F) {
	for _, name := range []string{"bridge=br0=02:00:00:00:00:01", "namespace=c0=", "veth=a=b=02:00:00:00:00:01", "", "=", "==", "x=\x00="} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if i, ok := parseIntent(name); ok && i.file() != name {
			t.Errorf("parseIntent(%q) = %+v, which is written %q", name, i, i.file())
		}
	})
}

func TestDirectoryForAnotherUserCanBeReachedAndNothingElseSeen(t *testing.T) {
	s := newStore(t)
	lock := mustLock(t, s, "lu", hostapi.Holder{})
	var dir string
	for range 2 { // the second time it is there
		var err error
		if dir, err = lock.OpenDir(FRR); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]fs.FileMode{
		s.Root: 0o711, filepath.Join(s.Root, "lu"): 0o711, dir: 0o711, filepath.Join(s.Root, "lu", "intents"): 0o700, filepath.Join(s.Root, "lu", "lock"): 0o600,
	} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %v", path, info.Mode(), err, want)
		}
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	lock = mustLock(t, s, "lu", hostapi.Holder{}) // it outlives the lock, and is in nobody's way
	if got, err := s.Remains("lu"); err != nil || len(got) > 0 {
		t.Errorf("there remain %q, %v; want nothing but what is observed by itself", got, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.Root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", s.Root, err)
	}
}
