package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// on runs a shell command on a host.
func (tr *trial) on(host, command string) {
	tr.t.Helper()
	var out bytes.Buffer
	code, err := tr.box.HostExec(tr.t.Context(), host, []string{"sh", "-c", command}, strings.NewReader(""), &out, &out)
	if err != nil || code != 0 {
		tr.t.Fatalf("%s on %s: exit %d, %v\n%s", command, host, code, err, &out)
	}
}

// fails runs vxorch and fails the test unless it exits with code.
func (tr *trial) fails(code int, args ...string) {
	tr.t.Helper()
	if got, out := tr.run(append([]string{tr.bin}, args...)...); got != code {
		tr.t.Fatalf("vxorch %q: exit %d, want %d\n%s", args, got, code, out)
	}
}

// TestNothingDiffersFromBeforeTheFirstDeploy takes a lab through a life with every
// kind of luck and looks at the hosts before and after.
func TestNothingDiffersFromBeforeTheFirstDeploy(t *testing.T) {
	tr := newTrial(t, "trace")
	inventory := tr.box.Inventory()
	const (
		block   = "mkdir /run/netns && mount -t tmpfs -o ro none /run/netns" // no namespace can be made
		unblock = "umount -l /run/netns && rmdir /run/netns"
	)
	tr.on("host2", block+" && "+unblock) // mount(8) leaves a directory of its own
	before := map[string]string{}
	for _, h := range tr.box.Hosts() {
		before[h.Name] = tr.snapshot(h.Name)
	}
	same := func(when string) {
		t.Helper()
		for host, want := range before {
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(tr.snapshot(host), "\n")); diff != "" {
				t.Errorf("%s %s is not as it was (-before +after):\n%s", when, host, diff)
			}
		}
	}
	text, err := os.ReadFile(inventory)
	if err != nil {
		t.Fatal(err)
	}
	// Beside the sandbox's files, which it names by relative paths.
	changed := filepath.Join(filepath.Dir(inventory), "changed.yaml")
	more := string(text)
	for _, section := range []string{"networks:", "containers:"} {
		if i := strings.Index(more, section); i >= 0 {
			more = more[:i]
		}
	}
	more += "networks: {one: {vni: 71, port: 4790, subnet: 10.71.0.0/24}, two: {vni: 72, subnet: \"fd00:72::/64\"}}\n" +
		"containers: {a: {hosts: all, network: one}, b: {hosts: all, network: two, count: 2}}\n"
	if err := os.WriteFile(changed, []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	tr.must("deploy", inventory)
	tr.must("deploy", "--yes", changed)
	tr.must("destroy", "--yes", "--only", "host2", inventory)
	tr.on("host2", block)
	tr.fails(1, "deploy", "--yes", changed)
	tr.on("host2", unblock)
	tr.must("deploy", "--yes", changed)
	tr.must("destroy", "--yes", "--only", "host1", inventory)
	tr.must("deploy", "--yes", "--only", "host1", inventory)
	for _, signal := range []string{"INT", "KILL"} {
		for _, after := range []string{"0.08s", "0.12s", "0.16s"} {
			// However far it comes.
			tr.run("timeout", "--foreground", "-s", signal, after, tr.bin, "deploy", "--yes", inventory)
			tr.run("timeout", "--foreground", "-s", signal, after, tr.bin, "deploy", "--yes", "--rollback", changed)
			tr.run("timeout", "--foreground", "-s", signal, after, tr.bin, "destroy", "--yes", changed)
		}
	}
	tr.awaitNoHelper()
	tr.must("deploy", "--yes", inventory)

	// Neither what there is nor where it is kept has to be known.
	home := filepath.Dir(inventory)
	args := []string{"destroy", "--yes", "--lab", labName(t, inventory), "--identity", filepath.Join(home, "id_ed25519"), "--known-hosts", filepath.Join(home, "known_hosts")}
	for _, h := range tr.box.Hosts() {
		args = append(args, "--host", "root@"+h.Address.String())
	}
	tr.must(args...)
	same("destroyed,")

	tr.on("host2", block)
	tr.fails(1, "deploy", "--rollback", inventory)
	tr.on("host2", unblock)
	same("rolled back,")
	tr.must("destroy", "--yes", inventory)
	same("destroyed again,")
}
