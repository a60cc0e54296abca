package history

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vxorch/remote/hostapi"
)

// known is a host of which everything is known.
func known(n int) Host {
	return Host{
		Address: fmt.Sprintf("192.0.2.%d", n), User: "root", Port: 2222, Identity: []string{"/k"}, KnownHosts: []string{"/h"},
		When: time.Date(2026, 1, 2, 3, 4, n, 0, time.UTC),
		Facts: &hostapi.Facts{
			Hostname: "h", BootID: "b", Links: []hostapi.Link{{Name: "eth0", MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}},
		},
	}
}

func update(t *testing.T, s Store, change func(map[string]Host)) {
	t.Helper()
	if err := s.UpdateHosts("lu", change); err != nil {
		t.Fatal(err)
	}
}

func hosts(t *testing.T, s Store) map[string]Host {
	t.Helper()
	hosts, err := s.Hosts("lu")
	if err != nil {
		t.Fatal(err)
	}
	return hosts
}

func TestHostsAreRemembered(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "state")}
	if got := hosts(t, s); len(got) > 0 {
		t.Errorf("of a lab that never was %v is known", got)
	}
	update(t, s, func(all map[string]Host) { all["a"], all["b"] = known(1), known(2) })
	update(t, s, func(all map[string]Host) { delete(all, "a"); all["c"] = Host{Address: "c"} })
	want := map[string]Host{"b": known(2), "c": {Address: "c"}}
	if diff := cmp.Diff(want, hosts(t, s), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if runs, err := s.List("lu"); len(runs) > 0 || err != nil {
		t.Errorf("runs are %v, %v; want none", runs, err)
	}
	err := filepath.WalkDir(s.Root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v, want it for the user alone", path, info.Mode())
		}
		if strings.HasPrefix(entry.Name(), ".") {
			t.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHostsOfSeveralAtOnceAreAllRemembered(t *testing.T) {
	s := Store{t.TempDir()}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { update(t, s, func(all map[string]Host) { all[fmt.Sprint(i)] = known(i) }) })
	}
	wg.Wait()
	if got := hosts(t, s); len(got) != 8 {
		t.Errorf("%d hosts are known, want 8", len(got))
	}
}

func TestWhatIsKnownIsBounded(t *testing.T) {
	s := Store{t.TempDir()}
	update(t, s, func(all map[string]Host) {
		talker := known(1)
		talker.Facts.Hostname = strings.Repeat("x", maxFacts)
		talker.When = time.Now()
		all["talker"] = talker
		for i := range maxHosts {
			h := Host{Address: "x", When: time.Unix(int64(i), 0)}
			all[fmt.Sprintf("h%d", i)] = h
		}
	})
	got := hosts(t, s)
	if len(got) != maxHosts {
		t.Errorf("%d hosts are known, want %d", len(got), maxHosts)
	}
	if _, ok := got["h0"]; ok {
		t.Error("the host that was not heard of for the longest time is still known")
	}
	if h, ok := got["talker"]; !ok || h.Facts != nil {
		t.Errorf("of the talker %v, %t is known, want it without facts", h.Facts, ok)
	}
}

func TestHostsThatCannotBeReadAreAnError(t *testing.T) {
	for name, text := range map[string]string{"damaged": "{", "of a later version": `{"version": 2}`} {
		t.Run(name, func(t *testing.T) {
			s := Store{t.TempDir()}
			update(t, s, func(all map[string]Host) { all["a"] = known(1) })
			file := filepath.Join(s.Root, "vxorch", "lu", hostsFile)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Hosts("lu"); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("Hosts gives %v, want an error that names the file", err)
			}
			if err := s.UpdateHosts("lu", func(map[string]Host) {}); err == nil {
				t.Error("UpdateHosts overwrote what it could not read")
			}
		})
	}
}
