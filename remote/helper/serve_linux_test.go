package helper

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
	"vxorch/remote/wire"
)

const token = "a-token-of-the-tests"

// binary gives the path of a vxhelper, built as `scripts/build` does; each test
// gets a copy that it may rename.
func binary(t *testing.T) string {
	t.Helper()
	built, err := build()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(path, built, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "vxhelper")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir+"/vxhelper", "vxorch/cmd/vxhelper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build vxhelper: %w\n%s", err, out)
	}
	return os.ReadFile(dir + "/vxhelper")
})

// process is a running vxhelper.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	stderr bytes.Buffer // after wait
	once   sync.Once
	err    error
}

func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(path, append([]string{"serve", "--token", token}, args...)...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd}
	p.cmd.Stderr = &p.stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.wait()
	})
	return p
}

func (p *process) wait() error {
	p.once.Do(func() { p.err = p.cmd.Wait() })
	return p.err
}

// patience is how long a helper that is to end may take on a busy machine.
const patience = 30 * time.Second

// ends waits for the process to end by itself and gives its exit code.
func (p *process) ends(within time.Duration) int {
	p.t.Helper()
	killer := time.AfterFunc(within, func() { _ = p.cmd.Process.Kill() })
	_ = p.wait()
	if !killer.Stop() {
		p.t.Fatalf("vxhelper still ran after %v", within)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) greeted() *bufio.Reader {
	p.t.Helper()
	r := bufio.NewReader(p.out)
	text, _, err := hostapi.AwaitGreeting(r, token, 64<<10)
	if err != nil || !strings.HasPrefix(text, "ready ") {
		p.t.Fatalf("greeting %q, %v, want ready", text, err)
	}
	return r
}

func (p *process) client() *wire.Client {
	p.t.Helper()
	r := p.greeted()
	return wire.NewClient(struct {
		io.Reader
		io.WriteCloser
	}{r, p.in}, wire.ClientOptions{Heartbeat: time.Hour}) // no test lasts as long as the default lease
}

func bridge(op hostapi.Op) hostapi.Batch {
	return hostapi.Batch{Lab: "lu", User: "tester", Controller: "here", Steps: []hostapi.Step{
		{Op: op, Bridge: &hostapi.Bridge{Name: "br100", MTU: 1450, MAC: "02:00:00:00:00:01"}},
	}}
}

func lockRequest(verb string) hostapi.ObserveRequest {
	return hostapi.ObserveRequest{Lab: "lu", Lock: &hostapi.Holder{User: "tester", Controller: "here", Verb: verb}}
}

func TestHelperServesOverItsStandardStreams(t *testing.T) {
	ctx := context.Background()
	p := start(t, binary(t))
	c := p.client()
	if _, err := c.Observe(ctx, lockRequest("deploy")); err != nil {
		t.Fatal(err)
	}
	for _, op := range []hostapi.Op{hostapi.Create, hostapi.Remove} {
		if result, err := c.Apply(ctx, bridge(op)); err != nil || len(result.Steps) != 1 || !result.Steps[0].Changed {
			t.Errorf("%s: %+v, %v; want a change", op, result, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if code := p.ends(patience); code != 0 {
		t.Errorf("exit code %d, want 0; stderr %s", code, p.stderr.String())
	}
	if _, err := os.Lstat("/run/vxorch"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("/run/vxorch is left behind: %v", err)
	}
}

func TestKilledHelperHoldsNoLock(t *testing.T) {
	ctx := context.Background()
	path := binary(t)
	first, second := start(t, path), start(t, path)
	a, b := first.client(), second.client()
	defer a.Close()
	if _, err := a.Observe(ctx, lockRequest("deploy")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Observe(ctx, lockRequest("destroy")); !errors.Is(err, hostapi.ErrLocked) || !strings.Contains(err.Error(), "deploy") {
		t.Errorf("second session: %v, want locked by a deploy", err)
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.wait()
	if _, err := b.Observe(ctx, lockRequest("destroy")); err != nil {
		t.Errorf("after the holder was killed: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	second.ends(patience)
}

func TestHelperEndsWhenItsControllerDoes(t *testing.T) {
	path := binary(t)
	for name, c := range map[string]struct {
		args []string
		end  func(p *process) error
		code int
	}{
		"stdin ends":                {nil, func(p *process) error { return p.in.Close() }, 0},
		"nothing within the lease":  {[]string{"--lease", "3s"}, func(*process) error { return nil }, 1},
		"terminated":                {nil, func(p *process) error { return p.cmd.Process.Signal(unix.SIGTERM) }, 1},
		"hung up":                   {nil, func(p *process) error { return p.cmd.Process.Signal(unix.SIGHUP) }, 1},
		"stdout and stdin are gone": {nil, func(p *process) error { return errors.Join(p.out.Close(), p.in.Close()) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, path, c.args...)
			client := p.client()
			if _, err := client.Observe(context.Background(), lockRequest("deploy")); err != nil {
				t.Fatal(err)
			}
			if err := c.end(p); err != nil && !errors.Is(err, fs.ErrClosed) { // the client closes, too
				t.Fatal(err)
			}
			if code := p.ends(patience); code != c.code {
				t.Errorf("exit code %d, want %d; stderr %s", code, c.code, p.stderr.String())
			}
			_ = client.Close()
			if _, err := os.Lstat("/run/vxorch"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("/run/vxorch is left behind: %v", err)
			}
		})
	}
}

func TestHelperIsSmall(t *testing.T) {
	const most, mostPacked = 7_000_000, 3_000_000 // bytes: what a first deploy over a slow line may cost
	content, err := build()
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if len(content) > most || packed.Len() > mostPacked {
		t.Errorf("vxhelper has %d bytes, %d packed; want at most %d and %d", len(content), packed.Len(), most, mostPacked)
	}
}

// TestHelperDoesWithoutAResolver holds that nothing in it takes names for
// addresses: net.Dial and what else does brings 200 kB of DNS with it, where
// net.Dialer's DialUnix and DialTCP do not.
func TestHelperDoesWithoutAResolver(t *testing.T) {
	content, err := build()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(content, []byte("net.(*Dialer).DialUnix")) {
		t.Fatal("the binary does not tell the functions that it has: this test would prove nothing")
	}
	if bytes.Contains(content, []byte("net.(*Resolver).lookupIPAddr")) {
		t.Error("vxhelper has net.Resolver in it")
	}
}

func TestWrongUseIsExplained(t *testing.T) {
	for name, args := range map[string][]string{
		"nothing":        nil,
		"unknown verb":   {"dance"},
		"no token":       {"serve"},
		"unknown flag":   {"serve", "--token", "x", "--fast"},
		"argument":       {"serve", "--token", "x", "y"},
		"negative lease": {"serve", "--token", "x", "--lease", "-1s"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := Main(context.Background(), args, io.NopCloser(strings.NewReader("")), nopCloser{&stdout}, &stderr)
			if code != 2 || stdout.Len() != 0 || !strings.Contains(stderr.String(), "usage: vxhelper serve") {
				t.Errorf("Main(%q) = %d, stdout %q, stderr %q; want 2 and the usage", args, code, stdout.String(), stderr.String())
			}
		})
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// TestHelperThatCannotEndIsEnded has a call hang in what nothing ends: the file of
// the lock is a pipe that nobody ever writes to.
func TestHelperThatCannotEndIsEnded(t *testing.T) {
	if err := os.MkdirAll("/run/vxorch/lu/intents", 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll("/run/vxorch") })
	if err := unix.Mkfifo("/run/vxorch/lu/lock", 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile("/run/vxorch/lu/lock", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := unix.Flock(int(pipe.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	p := start(t, binary(t), "--lease", "3s")
	began := time.Now()
	client := p.client()
	go client.Observe(context.Background(), lockRequest("deploy"))
	if code := p.ends(overtime + patience); code != exitOverdue {
		t.Errorf("exit code %d, want %d; stderr %s", code, exitOverdue, p.stderr.String())
	}
	if took := time.Since(began); took < overtime {
		t.Errorf("it ended after %v, before its time", took)
	}
	_ = client.Close()
}

func TestOtherSessionsOfTheLabAreSeen(t *testing.T) {
	path := filepath.Join(filepath.Dir(binary(t)), helperName)
	if err := os.Rename(filepath.Join(filepath.Dir(path), "upload"), path); err != nil {
		t.Fatal(err)
	}
	ours, theirs, another := start(t, path, "--lab", "lu"), start(t, path, "--lab", "lu"), start(t, path, "--lab", "lux")
	theirs.greeted()
	another.greeted()
	c := ours.client()
	defer c.Close()
	look := func() []string {
		t.Helper()
		facts, err := c.Observe(context.Background(), hostapi.ObserveRequest{Lab: "lu", Thorough: true})
		if err != nil {
			t.Fatal(err)
		}
		return facts.Sessions
	}
	if got, want := look(), []string{fmt.Sprintf("process %d (vxhelper of another session)", theirs.cmd.Process.Pid)}; !slices.Equal(got, want) {
		t.Errorf("sessions %q, want %q", got, want)
	}
	if err := theirs.in.Close(); err != nil {
		t.Fatal(err)
	}
	theirs.ends(patience)
	if got := look(); len(got) > 0 {
		t.Errorf("sessions %q after its end, want none", got)
	}
}
