package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/sandbox"
)

// trial is a sandbox and a vxorch to run in its controller namespace.
type trial struct {
	t   *testing.T
	box *sandbox.Sandbox
	bin string
}

func newTrial(t *testing.T, name string) *trial {
	t.Helper()
	needRoot(t)
	box, err := sandbox.Up(t.Context(), sandbox.Options{Name: fmt.Sprintf("t%d-%s", os.Getpid(), name), Owner: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// By this name the test binary is vxorch: see TestMain.
	bin := filepath.Join(t.TempDir(), "vxorch")
	if err := os.Symlink(self, bin); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("GORACE", withoutExitSleep)
	return &trial{t, box, bin}
}

// run runs a command in the controller namespace and gives its exit code and
// what it printed.
func (tr *trial) run(argv ...string) (int, string) {
	tr.t.Helper()
	var out bytes.Buffer
	code, err := tr.box.Exec(tr.t.Context(), argv, strings.NewReader(""), &out, &out)
	if err != nil {
		tr.t.Fatalf("%q: %v", argv, err)
	}
	return code, out.String()
}

// must runs vxorch and fails the test unless it exits with 0.
func (tr *trial) must(args ...string) {
	tr.t.Helper()
	if code, out := tr.run(append([]string{tr.bin}, args...)...); code != 0 {
		tr.t.Fatalf("vxorch %q: exit %d\n%s", args, code, out)
	}
}

func (tr *trial) snapshot(host string) string {
	tr.t.Helper()
	state, err := hostState(tr.box, host)
	if err != nil {
		tr.t.Fatal(err)
	}
	return state
}

// TestEndedDeployCanBeDeployedAndDestroyed ends a deploy at many moments by
// many hands, and goes on from what that left.
func TestEndedDeployCanBeDeployedAndDestroyed(t *testing.T) {
	tr := newTrial(t, "ended")
	inventory := tr.box.Inventory()
	tr.must("deploy", inventory) // caches the helper
	tr.must("destroy", "--yes", inventory)
	before := map[string]string{"host1": tr.snapshot("host1"), "host2": tr.snapshot("host2")}

	// How long an undisturbed deploy takes here: what is cut lies within. The
	// quickest of some, since in a slow one's time others are done.
	whole := time.Hour
	for range 3 {
		began := time.Now()
		tr.must("deploy", inventory)
		whole = min(whole, time.Since(began))
		tr.must("destroy", "--yes", inventory)
	}

	const moments = 8
	ended := 0
	for _, hand := range []string{"INT", "TERM", "KILL", "helper"} {
		for i := range moments {
			moment := whole * time.Duration(i+1) / (moments + 1)
			var code int
			var out string
			switch hand {
			case "helper":
				done := make(chan struct{})
				go func() {
					defer close(done)
					time.Sleep(moment)
					tr.killHelper("host1")
				}()
				code, out = tr.run(tr.bin, "deploy", inventory)
				<-done
				if code != 0 && !strings.Contains(out, "vxorch: error: host1: ") {
					t.Errorf("helper killed after %v: exit %d without an error of host1:\n%s", moment, code, out)
				}
			default:
				code, out = tr.run("timeout", "--foreground", "--preserve-status", "-s", hand, fmt.Sprintf("%fs", moment.Seconds()), tr.bin, "deploy", inventory)
			}
			if code != 0 && !strings.Contains(out, "deploy passed") {
				ended++
			}
			if want := map[string]int{"INT": 130, "TERM": 130, "KILL": 137, "helper": 1}[hand]; code != 0 && code != want && out != "" && !strings.Contains(out, "deploy passed") {
				// One that had printed nothing had not begun, one that had printed its
				// result had ended.
				t.Errorf("%s after %v: exit %d, want %d\n%s", hand, moment, code, want, out)
			}
			tr.awaitNoHelper()
			if i%2 == 0 {
				tr.must("deploy", inventory)
			}
			tr.must("destroy", "--yes", inventory)
		}
	}
	if ended < moments {
		t.Errorf("only %d of %d deploys were ended before their time: the test tests nothing", ended, 4*moments)
	}
	for host, want := range before {
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(tr.snapshot(host), "\n")); diff != "" {
			t.Errorf("%s is not as it was (-before +after):\n%s", host, diff)
		}
	}
}

// awaitNoHelper waits for the helpers of a run that was killed to notice: they hold
// its locks until then.
func (tr *trial) awaitNoHelper() {
	tr.t.Helper()
	for _, h := range tr.box.Hosts() {
		tr.on(h.Name, "for i in $(seq 600); do grep -qs vxhelper /proc/[0-9]*/comm || exit 0; sleep 0.1; done; exit 1")
	}
}

func (tr *trial) killHelper(host string) {
	const script = `for p in /proc/[0-9]*; do case "$(tr '\0' ' ' <$p/cmdline 2>/dev/null)" in */vxhelper\ serve*) kill -9 ${p#/proc/};; esac; done`
	var out bytes.Buffer
	if _, err := tr.box.HostExec(tr.t.Context(), host, []string{"sh", "-c", script}, strings.NewReader(""), &out, &out); err != nil {
		tr.t.Error(err)
	}
}
