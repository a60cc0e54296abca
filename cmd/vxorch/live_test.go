package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
)

var (
	plainLook = lookOf(func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] })
	fullLook  = lookOf(func(name string) string { return map[string]string{"LANG": "C.UTF-8", "NO_COLOR": "1"}[name] })
)

func begin(host, stage string) run.Event { return run.Event{Host: host, Stage: stage} }

func ended(host, stage string) run.Event {
	return run.Event{Host: host, Stage: stage, Done: true, Result: report.OK}
}

func TestLiveLines(t *testing.T) {
	start := time.Unix(0, 0)
	all := []run.Event{
		begin("a", "connect"), ended("a", "connect"), begin("a", "observe"), ended("a", "observe"), begin("a", "guest"),
		{Host: "a", Stage: "guest", Note: "waits since 3 s for vm1\x1b[2J to answer"},
		{Host: "a", Stage: "image", Note: "cirros 5.0 of 13.0 MiB, 4.1 MiB/s", Bytes: 5 << 20, Total: 13 << 20},
		begin("bb", "connect"), {Host: "bb", Stage: "connect", Done: true, Result: report.Failed, Err: errors.New("refused")},
		begin("d", "connect"),
	}
	for name, c := range map[string]struct {
		columns, lines int
		look           look
		want           []string
	}{
		"wide": {110, 20, fullLook, []string{
			"a   ✓ connect ✓ observe  ⠋ guest waits since 3 s for vm1 to answer  ↑ cirros 5.0 of 13.0 MiB, 4.1 MiB/s",
			"bb  ✗ connect",
			"c    waiting",
			"d    ⠋ connect 3 s",
			"4 hosts, 2 at work, 1 waiting, 1 failed, 3 s",
		}},
		"what is past goes first": {60, 20, plainLook, []string{
			"a    | guest waits since 3 s for vm1 to answer  ^ cirros 5.0",
			"bb  x connect",
			"c    waiting",
			"d    | connect 3 s",
			"4 hosts, 2 at work, 1 waiting, 1 failed, 3 s",
		}},
		"few lines": {60, 4, plainLook, []string{
			"a    | guest waits since 3 s for vm1 to answer  ^ cirros 5.0",
			"bb  x connect",
			"d    | connect 3 s",
			"4 hosts, 2 at work, 1 waiting, 1 failed, 1 of them not shown",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var s liveState
			for _, host := range []string{"a", "bb", "c", "d"} {
				s.host(host)
			}
			for _, e := range all {
				s.take(e, start)
			}
			var got []string
			for _, line := range s.frame(c.look, start.Add(3*time.Second), c.columns, c.lines) {
				got = append(got, line.String(c.look))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProgressAsJSON(t *testing.T) {
	var out bytes.Buffer
	show := jsonProgress(&out, func() time.Time { return time.Unix(1, 5e8) })
	show(begin("a", "guest"))
	show(run.Event{Host: "a", Stage: "guest", Note: "waits", Seconds: 2})
	show(run.Event{Host: "a", Stage: "image", Note: "cirros 1.0 of 2.0 MiB", Bytes: 1 << 20, Total: 2 << 20, Rate: 1000, Seconds: 3})
	show(run.Event{Host: "a", Stage: "guest", Done: true, Result: report.Failed, Changed: 2, Seconds: 4, Err: errors.New("<no> answer")})
	const want = `{"event":"begin","time":"1970-01-01T00:00:01.5Z","host":"a","stage":"guest"}
{"event":"progress","time":"1970-01-01T00:00:01.5Z","host":"a","stage":"guest","note":"waits","seconds":2}
{"event":"transfer","time":"1970-01-01T00:00:01.5Z","host":"a","stage":"image","note":"cirros 1.0 of 2.0 MiB","seconds":3,"bytes":1048576,"total":2097152,"rate":1000}
{"event":"end","time":"1970-01-01T00:00:01.5Z","host":"a","stage":"guest","seconds":4,"result":"failed","changed":2,"error":"<no> answer"}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// player shows events on its terminal, one of the file EVENTS for each file
// EVENTS.N that appears; what has only a note on no host is logged.
func player() {
	text, err := os.ReadFile(os.Getenv("EVENTS"))
	if err != nil {
		panic(err)
	}
	lab := &inventory.Lab{}
	for i := range 8 {
		lab.Hosts = append(lab.Hosts, inventory.Host{Name: fmt.Sprintf("host%d", i+1)})
	}
	show, err := newProgress("auto", os.Stderr, lab)
	if err != nil {
		panic(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		for {
			if _, err := os.Stat(fmt.Sprintf("%s.%d", os.Getenv("EVENTS"), i)); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		var e run.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			panic(err)
		}
		if e.Host == "" {
			fmt.Fprintln(show.log, e.Note)
		} else {
			show.event(e)
		}
	}
	show.end()
	fmt.Fprintln(os.Stderr, "the end")
	time.Sleep(time.Minute) // the screen is looked at
}

// screen is a real terminal, tmux's, with the player in it.
type screen struct {
	t      *testing.T
	socket string
	events string
	next   int
}

func newScreen(t *testing.T, width, height int, events ...run.Event) *screen {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	s := &screen{t: t, socket: filepath.Join(dir, "tmux"), events: filepath.Join(dir, "events")}
	var text bytes.Buffer
	for _, e := range events {
		if err := json.NewEncoder(&text).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s.events, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// By this name the test binary is the player: see TestMain.
	player := filepath.Join(dir, "vxorch-player")
	if err := os.Symlink(self, player); err != nil {
		t.Fatal(err)
	}
	s.tmux("-f", "/dev/null", "-u", "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height),
		"-e", "EVENTS="+s.events, "-e", "LC_ALL=C.UTF-8", "-e", "NO_COLOR=", "sh -c 'seq 10; echo before; exec "+player+"'")
	t.Cleanup(func() { s.tmux("kill-server") })
	return s
}

func (s *screen) tmux(args ...string) string {
	s.t.Helper()
	command := exec.Command("tmux", append([]string{"-S", s.socket}, args...)...)
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := command.CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

// play lets the next event happen.
func (s *screen) play() {
	s.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("%s.%d", s.events, s.next), nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.next++
}

// sees waits until the screen, scrolled-off lines included, is as wanted.
func (s *screen) sees(what string, wanted func(lines []string) bool) {
	s.t.Helper()
	var text string
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		text = s.tmux("capture-pane", "-p", "-S", "-")
		if wanted(strings.Split(strings.TrimRight(text, "\n"), "\n")) {
			return
		}
	}
	s.t.Fatalf("never seen: %s; the screen is\n%s", what, text)
}

// occurs counts the lines that begin so.
func occurs(lines []string, beginning string) int {
	n := 0
	for _, line := range lines {
		if strings.HasPrefix(line, beginning) {
			n++
		}
	}
	return n
}

func TestLiveProgressOnATerminal(t *testing.T) {
	s := newScreen(t, 90, 24, begin("host1", "connect"), ended("host1", "connect"),
		run.Event{Host: "host2", Stage: "image", Note: "cirros 5.0 of 13.0 MiB, 4.1 MiB/s, and what else there is to say of it", Bytes: 5, Total: 13},
		run.Event{Note: "a line of the log"}, ended("host3", "connect"))
	// once gives the lines below those that stood there before, if these are whole
	// and there is one a host, and one more.
	once := func(l []string) []string {
		i := slices.Index(l, "before")
		if i != 10 || len(l) != i+10 || occurs(l, "host") != 8 {
			return nil
		}
		return l[i+1:]
	}
	s.play()
	s.sees("a line a host", func(l []string) bool {
		l = once(l)
		return l != nil && strings.Contains(l[0], "connect") && strings.HasPrefix(l[8], "8 hosts, 1 at work, 7 waiting")
	})
	s.play()
	s.play()
	s.sees("an upload with its rate", func(l []string) bool {
		l = once(l)
		return l != nil && strings.HasPrefix(l[0], "host1  ✓ connect") && strings.HasPrefix(l[1], "host2   ↑ cirros 5.0 of 13.0 MiB, 4.1 MiB/s, and what")
	})
	// Narrower, where the terminal wraps what stands there, and wide again.
	for _, width := range []string{"40", "30", "90"} {
		s.tmux("resize-window", "-x", width, "-y", "24")
		s.sees("everything once, "+width+" columns wide", func(l []string) bool {
			return once(l) != nil
		})
	}
	s.tmux("resize-window", "-x", "90", "-y", "6")
	s.sees("some hosts in few lines", func(l []string) bool {
		return occurs(l[max(0, len(l)-5):], "host") == 4 && strings.Contains(l[len(l)-1], "4 of them not shown")
	})
	s.tmux("resize-window", "-x", "90", "-y", "24")
	s.play()
	s.sees("the log above the lines", func(l []string) bool {
		i := len(l) - 10
		return i >= 0 && l[i] == "a line of the log" && occurs(l[i:], "host") == 8
	})
	s.play()
	s.sees("the last state, left behind", func(l []string) bool {
		i := len(l) - 10
		return i >= 0 && l[len(l)-1] == "the end" && occurs(l[i:], "host") == 8 && strings.HasPrefix(l[i+2], "host3  ✓ connect")
	})
}

func TestTooLowATerminalGetsLines(t *testing.T) {
	s := newScreen(t, 80, leastHeight-1, begin("host1", "connect"), ended("host1", "connect"))
	s.play()
	s.play()
	s.sees("lines", func(l []string) bool { return occurs(l, "host1 connect ok in") == 1 && occurs(l, "8 hosts") == 0 })
}
