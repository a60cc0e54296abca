package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote"
	"vxorch/remote/hostapi"
)

// dial connects to a sandbox host as vxorch does for lab, from this process.
func (tr *trial) dial(host, lab string, lease time.Duration, wrap func(net.Conn) net.Conn) hostapi.Host {
	tr.t.Helper()
	for _, h := range tr.box.Hosts() {
		if h.Name != host {
			continue
		}
		dialled, err := remote.Dial(tr.t.Context(), remote.Target{
			Name: h.Name, Address: h.Address.String(), Port: h.Port, User: "root",
			Identity: []string{tr.box.Identity()}, KnownHosts: []string{tr.box.KnownHosts()},
		}, remote.Options{Lab: lab, Lease: lease, Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := tr.box.Dial(ctx, network, address)
			if err == nil && wrap != nil {
				conn = wrap(conn)
			}
			return conn, err
		}})
		if err != nil {
			tr.t.Fatal(err)
		}
		return dialled
	}
	tr.t.Fatalf("there is no %s", host)
	return nil
}

// mutable is a connection on which what is written can be made to vanish, as in
// a network that drops it.
type mutable struct {
	net.Conn
	mute atomic.Bool
}

func (m *mutable) Write(p []byte) (int, error) {
	if m.mute.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

// TestHeldLabIsReadButNotChanged has a run of somebody else hold one of two
// hosts, with a connection that is lost in the end.
func TestHeldLabIsReadButNotChanged(t *testing.T) {
	tr := newTrial(t, "held")
	inventory := tr.box.Inventory()
	tr.must("deploy", inventory)
	lab := labName(t, inventory)
	const lease = 12 * time.Second // half of it is long enough to see what is said then
	var line *mutable
	holder := tr.dial("host2", lab, lease, func(c net.Conn) net.Conn {
		line = &mutable{Conn: c}
		return line
	})
	defer holder.Close()
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if _, err := holder.Observe(t.Context(), hostapi.ObserveRequest{
		Lab: lab, Lock: &hostapi.Holder{User: "bob", Controller: "ci", Verb: "destroy", Since: since},
	}); err != nil {
		t.Fatal(err)
	}
	before := tr.snapshot("host1")
	refused := func(verb ...string) string {
		t.Helper()
		code, out := tr.run(append([]string{tr.bin}, verb...)...)
		if want := `vxorch: error: host2: observe: lab "` + lab + `" is locked by bob@ci: destroy, since 2026-01-02 03:04:05 UTC`; code != 1 || !strings.Contains(out, want) {
			t.Errorf("%q while bob holds the lab: exit %d, want 1 and %q\n%s", verb, code, want, out)
		}
		return out
	}
	for _, verb := range [][]string{{"deploy", inventory}, {"destroy", "--yes", inventory}} {
		if out := refused(verb...); !strings.Contains(out, "vxorch: hint: wait for that run to end or stop it") {
			t.Errorf("%q does not say what to do:\n%s", verb, out)
		}
	}
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(tr.snapshot("host1"), "\n")); diff != "" {
		t.Errorf("host1 was changed although host2 was locked (-before +after):\n%s", diff)
	}
	// Reading verbs do not wait.
	for _, verb := range [][]string{{"verify", inventory}, {"status", inventory}, {"plan", "--exit-code", inventory}, {"check", inventory}, {"report", inventory}} {
		tr.must(verb...)
	}

	line.mute.Store(true)
	gone := regexp.MustCompile(`its connection seems lost: nothing came for \d+s\nvxorch: hint: its lease ends in \ds: run this again then`)
	for deadline := time.Now().Add(lease); ; {
		code, out := tr.run(tr.bin, "deploy", inventory)
		if gone.MatchString(out) {
			break
		}
		if code != 1 || time.Now().After(deadline) {
			t.Fatalf("exit %d without a word of the lost connection\n%s", code, out)
		}
	}
	for deadline := time.Now().Add(2 * lease); ; {
		code, out := tr.run(tr.bin, "deploy", inventory)
		if code == 0 {
			break
		}
		if !strings.Contains(out, "is locked by") || time.Now().After(deadline) {
			t.Fatalf("after the lease: exit %d\n%s", code, out)
		}
	}
	tr.must("destroy", "--yes", inventory)
}

// TestDestroyNamesWhoStillReadsTheLab has a session of somebody else go on while
// the lab is destroyed.
func TestDestroyNamesWhoStillReadsTheLab(t *testing.T) {
	tr := newTrial(t, "reader")
	inventory := tr.box.Inventory()
	tr.must("deploy", inventory)
	reader := tr.dial("host2", labName(t, inventory), time.Minute, nil)
	code, out := tr.run(tr.bin, "destroy", "--yes", inventory)
	named := regexp.MustCompile(`vxorch: error: host2: look: still there: process \d+ \(vxhelper of another session\)\nvxorch: hint: somebody looks at the lab`)
	if code != 1 || !named.MatchString(out) || strings.Contains(out, "error: host1") {
		t.Errorf("destroy while somebody reads host2: exit %d, want 1 and the process named\n%s", code, out)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	tr.must("destroy", "--yes", inventory)
}

// labName is the lab of an inventory that the sandbox wrote.
func labName(t *testing.T, inventory string) string {
	t.Helper()
	text, err := os.ReadFile(inventory)
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`(?m)^lab: ([a-z0-9-]+)`).FindSubmatch(text)
	if name == nil {
		t.Fatalf("no lab in %s", text)
	}
	return string(name[1])
}

// TestOfTwoProcessesStartedAtOnceExactlyOneGoesOn starts two vxorch, the second
// of which has the hosts in the other order, calls each by the other's name, does
// something else or works on a part of them.
func TestOfTwoProcessesStartedAtOnceExactlyOneGoesOn(t *testing.T) {
	tr := newTrial(t, "twins")
	text := fmt.Sprintf("lab: twins\nssh: {user: root, identity: %s, known_hosts: %s}\nhosts:\n", tr.box.Identity(), tr.box.KnownHosts())
	one, two := tr.box.Hosts()[0].Address, tr.box.Hosts()[1].Address
	dir := t.TempDir()
	write := func(name, hosts string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text+hosts), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	inventory := write("a.yaml", fmt.Sprintf("  a: {address: %s}\n  b: {address: %s}\n", one, two))
	turned := write("turned.yaml", fmt.Sprintf("  b: {address: %s}\n  a: {address: %s}\n", two, one))
	renamed := write("renamed.yaml", fmt.Sprintf("  a: {address: %s}\n  b: {address: %s}\n", two, one))
	pairs := [][2][]string{
		{{"deploy", inventory}, {"deploy", inventory}},
		{{"deploy", inventory}, {"deploy", turned}},
		{{"deploy", inventory}, {"deploy", renamed}},
		{{"deploy", inventory}, {"destroy", inventory}},
		{{"destroy", inventory}, {"deploy", turned}},
		{{"deploy", "--only", "b", inventory}, {"deploy", turned}},
		{{"deploy", inventory}, {"destroy", "--only", "b", inventory}},
	}
	tr.must("deploy", inventory) // caches the helper
	locked := regexp.MustCompile(`vxorch: error: [ab]: observe: lab "twins" is locked by \S+@\S+: (deploy|destroy), since 20\d\d-\d\d-\d\d `)
	const rounds = 14
	met := 0
	for round := range rounds {
		var wg sync.WaitGroup
		codes, outs := make([]int, 2), make([]string, 2)
		pair := pairs[round%len(pairs)]
		for i, args := range pair {
			wg.Go(func() { codes[i], outs[i] = tr.run(append([]string{tr.bin, args[0], "--yes"}, args[1:]...)...) })
		}
		wg.Wait()
		passed := 0
		for i, code := range codes {
			switch {
			case code == 0:
				passed++
			case code == 1 && locked.MatchString(outs[i]) && strings.Contains(outs[i], "nothing changed"):
				met++
			default:
				t.Errorf("round %d, %q: exit %d, want 0, or 1 since the other holds the lab\n%s", round, pair[i], code, outs[i])
			}
		}
		if passed == 0 {
			t.Errorf("round %d, %q: neither went on:\n%s\n%s", round, pair, outs[0], outs[1])
		}
	}
	if met < rounds/4 { // where the younger is done before the elder has lost patience both go on, in turn
		t.Errorf("in %d of %d rounds only did the two meet: the test tests little", met, rounds)
	}
	tr.must("deploy", "--yes", inventory)
	tr.must("destroy", "--yes", inventory)
}
