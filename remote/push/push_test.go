package push_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/sshdtest"
	"vxorch/remote/push"
	"vxorch/remote/sshconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const helperName = "vxhelper-linux-" + runtime.GOARCH

// standin builds the stand-in for the helper, once.
var standin = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "standin")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "standin")
	cmd := exec.Command("go", "build", "-o", file, "./testdata/standin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(file)
})

func bundle(t *testing.T) *push.Bundle {
	t.Helper()
	return bundleOf(t, bareFiles(t))
}

func bareFiles(t *testing.T) fstest.MapFS {
	t.Helper()
	program, err := standin()
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{helperName: &fstest.MapFile{Data: program}}
}

func bundleOf(t *testing.T, dir fs.FS) *push.Bundle {
	t.Helper()
	b, err := push.NewBundle(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// host is a server whose user has a cache of its own.
type host struct {
	*sshdtest.Server
	cache string
}

func start(t *testing.T, config sshdtest.Config) host {
	t.Helper()
	if config.Account != nil {
		s := sshdtest.Start(t, config)
		return host{s, s.Home + "/.cache"}
	}
	cache := filepath.Join(t.TempDir(), "a cache") // with a space
	if config.Env == nil {
		config.Env = map[string]string{}
	}
	config.Env["XDG_CACHE_HOME"] = cache
	return host{sshdtest.Start(t, config), cache}
}

func (h host) dial(t *testing.T) *sshconn.Conn {
	t.Helper()
	conn, err := sshconn.Dial(t.Context(), sshconn.Target{
		Address: h.Address, Port: h.Port, User: h.User, Identity: []string{h.Identity}, KnownHosts: []string{h.KnownHosts},
	}, sshconn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// files lists what is in the host's cache.
func (h host) files(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(h.cache, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, d.Name())
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// left waits until the host has removed what was on its way, and lists what it
// has not. A command that was cut off may end a moment after its session.
func (h host) left(t *testing.T) (left []string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left = slices.DeleteFunc(h.files(t), func(name string) bool { return name == "vxhelper" })
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// works checks that stream sends back what it gets, and ends it.
func works(t *testing.T, stream *push.Stream) {
	t.Helper()
	sent := "\x00\x03\x04\r\nT\xff"
	if _, err := io.WriteString(stream, sent); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != sent {
		t.Fatalf("read %q, %v; sent %q", got, err, sent)
	}
	if err := stream.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if n, err := stream.Read(got); err != io.EOF {
		t.Errorf("Read after Close = %d, %v; want EOF", n, err)
	}
}

func mustStart(t *testing.T, conn *sshconn.Conn, opts push.Options) *push.Stream {
	t.Helper()
	stream, err := push.Start(t.Context(), conn, opts)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	return stream
}

// silent is an SFTP server that takes all and says nothing.
const silent = "Subsystem sftp cat >/dev/null"

func TestHelperIsUploadedOnceAndThenStartedInOneSession(t *testing.T) {
	for name, c := range map[string]struct {
		config sshdtest.Config
		sftp   bool
	}{
		"usual server":           {sshdtest.Config{}, true},
		"another SFTP server":    {sshdtest.Config{NoSFTP: true, Lines: []string{"Subsystem sftp /usr/lib/openssh/sftp-server"}}, true},
		"two sessions at a time": {sshdtest.Config{Lines: []string{"MaxSessions 2"}}, true},
		"one session at a time":  {sshdtest.Config{Lines: []string{"MaxSessions 1"}}, false},
		"no SFTP":                {sshdtest.Config{NoSFTP: true}, false},
		"SFTP's program missing": {sshdtest.Config{NoSFTP: true, Lines: []string{"Subsystem sftp /nonexistent/sftp-server"}}, false},
		"silent SFTP":            {sshdtest.Config{NoSFTP: true, Lines: []string{silent}}, false},
		"read-only SFTP":         {sshdtest.Config{NoSFTP: true, Lines: []string{"Subsystem sftp internal-sftp -R"}}, false},
		"noisy profile":          {sshdtest.Config{Lines: []string{`ForceCommand echo Welcome; printf loading...; sh -c "$SSH_ORIGINAL_COMMAND"`}}, false},
		"profile with much text": {sshdtest.Config{Lines: []string{`ForceCommand head -c 60000 /dev/zero | tr "\0" x; sh -c "$SSH_ORIGINAL_COMMAND"`}}, false},
		"prints the command":     {sshdtest.Config{Lines: []string{`ForceCommand echo "$SSH_ORIGINAL_COMMAND"; sh -c "$SSH_ORIGINAL_COMMAND"`}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, c.config)
			for format, opts := range map[string]push.Options{"bare": {Bundle: bundle(t)}, "packed": {Bundle: packed(t)}} {
				if strings.HasPrefix(name, "silent") {
					opts.Timeout = 12 * time.Second // of which SFTP gets three
				}
				cold := mustStart(t, h.dial(t), opts)
				if cold.Cached {
					t.Errorf("the first start of the %s one found the helper in the cache", format)
				}
				if cold.SFTP != c.sftp {
					t.Errorf("the %s helper came by SFTP: %v, want %v", format, cold.SFTP, c.sftp)
				}
				works(t, cold)
				if got := h.files(t); len(got) != 1 || got[0] != "vxhelper" {
					t.Errorf("the cache has %q, want the helper alone", got)
				}

				before := h.Sessions(t)
				warm := mustStart(t, h.dial(t), opts)
				if !warm.Cached || warm.SFTP {
					t.Error("the second start did not find the helper in the cache")
				}
				works(t, warm)
				if got := h.Sessions(t) - before; got != 1 {
					t.Errorf("a warm start took %d sessions, want 1", got)
				}
				must(t, os.RemoveAll(h.cache))
			}
		})
	}
}

// TestSFTPThatShowsOtherFiles has servers of which the host's shell sees nothing:
// one without the cache, and one that takes all into a copy of it.
func TestSFTPThatShowsOtherFiles(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal("a mount namespace needs root")
		}
		t.Skip("a mount namespace needs root")
	}
	for name, c := range map[string]struct{ mounts, logged string }{
		"without the cache": {`mount -t tmpfs tmpfs "$XDG_CACHE_HOME"`, "file does not exist"},
		"with a copy of it": {`mount -t tmpfs tmpfs /mnt && cp -a "$XDG_CACHE_HOME" /mnt/copy && mount --bind /mnt/copy "$XDG_CACHE_HOME"`, "did not arrive"},
	} {
		t.Run(name, func(t *testing.T) {
			server := filepath.Join(t.TempDir(), "server")
			must(t, os.WriteFile(server, []byte("#!/bin/sh\n"+c.mounts+" && exec /usr/lib/openssh/sftp-server\n"), 0o755))
			h := start(t, sshdtest.Config{NoSFTP: true, Lines: []string{"Subsystem sftp unshare --mount " + server}})
			var log strings.Builder
			opts := push.Options{Bundle: packed(t), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
			stream := mustStart(t, h.dial(t), opts)
			works(t, stream)
			if stream.SFTP || !strings.Contains(log.String(), c.logged) {
				t.Errorf("the helper came by SFTP: %v; the log does not mention %q:\n%s", stream.SFTP, c.logged, log.String())
			}
			if got := h.files(t); len(got) != 1 || got[0] != "vxhelper" {
				t.Errorf("the cache has %q, want the helper alone", got)
			}
		})
	}
}

// TestWhatIsDamagedOnTheWayIsSentAgain has SFTP bring a helper that lacks its
// end, and one with another byte. Neither is unpacked.
func TestWhatIsDamagedOnTheWayIsSentAgain(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut short":    func(b []byte) []byte { return b[:len(b)-10] },
		"another byte": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	} {
		for format, make := range map[string]func(*testing.T) fstest.MapFS{"bare": bareFiles, "packed": packedFiles} {
			t.Run(format+" "+name, func(t *testing.T) {
				h := start(t, sshdtest.Config{Env: program(t, "gzip", `echo unpacked >>"$XDG_CACHE_HOME/../gzip"; exec /usr/bin/gzip "$@"`)})
				dir := &damagingOnce{MapFS: make(t), damage: damage}
				opts := push.Options{Bundle: bundleOf(t, dir)}
				dir.armed = true
				var log strings.Builder
				opts.Log = slog.New(slog.NewTextHandler(&log, nil))
				stream := mustStart(t, h.dial(t), opts)
				works(t, stream)
				if stream.SFTP || !strings.Contains(log.String(), "did not arrive") {
					t.Errorf("the helper came by SFTP: %v; log: %s", stream.SFTP, log.String())
				}
				unpacked, err := os.ReadFile(filepath.Join(h.cache, "../gzip"))
				if format == "packed" && (err != nil || strings.Count(string(unpacked), "unpacked") != 1) {
					t.Errorf("gzip was run for %q, %v; want it run once, for what came whole", unpacked, err)
				}
				if got := h.files(t); len(got) != 1 || got[0] != "vxhelper" {
					t.Errorf("the cache has %q, want the helper alone", got)
				}
			})
		}
	}
}

// damagingOnce damages what is opened first once it is armed.
type damagingOnce struct {
	fstest.MapFS
	armed  bool
	damage func([]byte) []byte
}

func (d *damagingOnce) Open(name string) (fs.File, error) {
	f, ok := d.MapFS[name]
	if !ok || !d.armed {
		return d.MapFS.Open(name)
	}
	d.armed = false
	return fstest.MapFS{name: &fstest.MapFile{Data: d.damage(slices.Clone(f.Data))}}.Open(name)
}

func TestCacheIsTheUsersAlone(t *testing.T) {
	h := start(t, sshdtest.Config{})
	works(t, mustStart(t, h.dial(t), push.Options{Bundle: bundle(t)}))
	err := filepath.WalkDir(h.cache, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, want 0700", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCacheIsAtHomeByDefault(t *testing.T) {
	home := t.TempDir()
	h := start(t, sshdtest.Config{Lines: []string{"ForceCommand unset XDG_CACHE_HOME; HOME=" + home + ` sh -c "$SSH_ORIGINAL_COMMAND"`}})
	works(t, mustStart(t, h.dial(t), push.Options{Bundle: bundle(t)}))
	if got, _ := filepath.Glob(home + "/.cache/vxorch/*/vxhelper"); len(got) != 1 {
		t.Errorf("the helper is in %q, want it in ~/.cache/vxorch/<sha256>", got)
	}
}

func TestDamagedHelperInTheCacheIsSentAgain(t *testing.T) {
	h := start(t, sshdtest.Config{})
	opts := push.Options{Bundle: bundle(t)}
	works(t, mustStart(t, h.dial(t), opts))
	err := filepath.WalkDir(h.cache, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.WriteFile(path, make([]byte, 4096), 0o700) // what a power cut leaves
	})
	if err != nil {
		t.Fatal(err)
	}
	healed := mustStart(t, h.dial(t), opts)
	if healed.Cached {
		t.Error("the damaged helper counts as cached")
	}
	works(t, healed)
	works(t, mustStart(t, h.dial(t), opts))
}

func TestTwoControllersMayUploadAtOnce(t *testing.T) {
	h := start(t, sshdtest.Config{})
	b := bundle(t)
	var running sync.WaitGroup
	for range 4 {
		conn := h.dial(t)
		running.Go(func() {
			stream, err := push.Start(t.Context(), conn, push.Options{Bundle: b})
			if err != nil {
				t.Error(err)
				return
			}
			works(t, stream)
		})
	}
	running.Wait()
	if got := h.files(t); len(got) != 1 || got[0] != "vxhelper" {
		t.Errorf("the cache has %q, want the helper alone", got)
	}
}

// program puts an executable file of that name on the host's PATH.
func program(t *testing.T, name, script string) (env map[string]string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"PATH": dir + ":/usr/bin:/bin"}
}

func TestStartFailures(t *testing.T) {
	good, err := standin()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config sshdtest.Config
		opts   push.Options
		kind   *hostapi.Error
		words  []string
	}{
		"upload damaged on the way": {
			opts: push.Options{Bundle: bundleOf(t, &damaging{MapFS: fstest.MapFS{helperName: &fstest.MapFile{Data: good}}})},
			kind: hostapi.ErrHelper, words: []string{"is not what was sent", "a cache/vxorch/"},
		},
		"helper fails": {
			config: sshdtest.Config{Env: map[string]string{"STANDIN": "fail"}},
			kind:   hostapi.ErrHelper, words: []string{"exit status 1", `stderr: "standin: [31mno such luck"`, "command: sh -c"},
		},
		"helper hangs": {
			config: sshdtest.Config{Env: map[string]string{"STANDIN": "hang"}},
			opts:   push.Options{Timeout: 4 * time.Second},
			kind:   hostapi.ErrHelper, words: []string{"no greeting within 4s"},
		},
		"helper chatters": {
			config: sshdtest.Config{Env: map[string]string{"STANDIN": "chatter"}},
			kind:   hostapi.ErrHelper, words: []string{"within 64 KiB", `first bytes received: "chatter\nchatter`},
		},
		"no shell": {
			config: sshdtest.Config{Lines: []string{"ForceCommand /usr/sbin/nologin"}},
			kind:   hostapi.ErrHelper, words: []string{"exit status 1", `first bytes received: "This account is`, "login shell"},
		},
		"forced command": {
			config: sshdtest.Config{Lines: []string{"ForceCommand echo only backups here"}},
			kind:   hostapi.ErrHelper, words: []string{"exit status 0", `first bytes received: "only backups here`, "ForceCommand"},
		},
		"SFTP only": {
			config: sshdtest.Config{Lines: []string{"ForceCommand internal-sftp"}}, kind: hostapi.ErrHelper, words: []string{"exit status 1", `first bytes received: "This service allows sftp connections only.`, "ForceCommand"},
		},
		"another machine": {
			config: sshdtest.Config{Env: program(t, "uname", "echo Linux riscv64")},
			kind:   hostapi.ErrUnsupported, words: []string{"riscv64", "amd64 or arm64"},
		},
		"another kernel": {
			config: sshdtest.Config{Env: program(t, "uname", "echo FreeBSD amd64")},
			kind:   hostapi.ErrUnsupported, words: []string{"FreeBSD"},
		},
		"32-bit system on a 64-bit processor": {
			config: sshdtest.Config{Env: program(t, "uname", "echo Linux armv8l")},
			kind:   hostapi.ErrUnsupported, words: []string{"armv8l", "32-bit"},
		},
		"cache cannot be made": {
			config: sshdtest.Config{Env: program(t, "mkdir", "echo mkdir: Permission denied >&2; exit 1")},
			kind:   hostapi.ErrHelper, words: []string{"no place for it in root's cache", "a cache/vxorch cannot be made", "XDG_CACHE_HOME"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, c.config)
			if c.opts.Bundle == nil {
				c.opts.Bundle = bundle(t)
			}
			stream, err := push.Start(t.Context(), h.dial(t), c.opts)
			if err == nil {
				stream.Close()
				t.Fatal("Start succeeded")
			}
			e := hostapi.AsError(err)
			if !errors.Is(err, c.kind) || e.Hint == "" {
				t.Errorf("Start: %v, of kind %d, hint %q; want kind %d and a hint", err, e.Kind, e.Hint, c.kind.Kind)
			}
			for _, w := range c.words {
				if !strings.Contains(e.Message+"\n"+e.Hint, w) {
					t.Errorf("Start: %s\n%s\ndoes not mention %q", e.Message, e.Hint, w)
				}
			}
			if left := h.left(t); len(left) > 0 {
				t.Errorf("left in the cache: %q", left)
			}
		})
	}
}

// damaging gives a good helper to be hashed, then damaged ones.
type damaging struct {
	fstest.MapFS
	opened int
}

func (d *damaging) Open(name string) (fs.File, error) {
	d.opened++
	if f, ok := d.MapFS[name]; ok && d.opened > len([]string{"amd64", "arm64"}) {
		return fstest.MapFS{name: &fstest.MapFile{Data: append(f.Data[:len(f.Data)-1:len(f.Data)], 'x')}}.Open(name)
	}
	return d.MapFS.Open(name)
}

func TestWithoutHelpersTheErrorSaysHowToBuildThem(t *testing.T) {
	_, err := push.NewBundle(fstest.MapFS{"README": &fstest.MapFile{}})
	if e := hostapi.AsError(err); !errors.Is(err, hostapi.ErrHelper) || !strings.Contains(e.Hint, "scripts/build") {
		t.Errorf("NewBundle = %+v, want ErrHelper with a hint", e)
	}
}

func TestHelperOfAnotherArchitectureOnly(t *testing.T) {
	h := start(t, sshdtest.Config{})
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	b := bundleOf(t, fstest.MapFS{"vxhelper-linux-" + other: &fstest.MapFile{Data: []byte("x")}})
	if _, err := push.Start(t.Context(), h.dial(t), push.Options{Bundle: b}); !errors.Is(err, hostapi.ErrUnsupported) {
		t.Errorf("Start = %v, want ErrUnsupported", err)
	}
}

func TestReasonSaysHowTheHelperEnded(t *testing.T) {
	h := start(t, sshdtest.Config{Env: map[string]string{"STANDIN": "late"}})
	conn := h.dial(t)
	opts := push.Options{Bundle: bundle(t)}
	stream := mustStart(t, conn, opts)
	works(t, stream)
	if err := stream.Reason(); !errors.Is(err, hostapi.ErrLost) || err.Error() != "the helper ended: exit status 1; its stderr: standin: ended badly" {
		t.Errorf("Reason = %v", err)
	}

	stream = mustStart(t, conn, opts)
	conn.Close()
	if err := stream.Reason(); !errors.Is(err, hostapi.ErrLost) || !strings.Contains(err.Error(), "connection was closed") {
		t.Errorf("Reason = %v, want the connection's end", err)
	}
	if err := stream.Close(); err != nil {
		t.Errorf("Close over a dead connection = %v", err)
	}
}

func TestCancelEndsStartAndLeavesNothing(t *testing.T) {
	for name, config := range map[string]sshdtest.Config{
		"before the greeting":   {Lines: []string{"ForceCommand cat"}},
		"during SFTP":           {},
		"while SFTP is awaited": {NoSFTP: true, Lines: []string{silent}},
		"without SFTP":          {NoSFTP: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, config)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			opts := push.Options{Bundle: stalled(t, cancel)}
			if len(config.Lines) > 0 {
				time.AfterFunc(300*time.Millisecond, cancel)
			}
			begin := time.Now()
			if _, err := push.Start(ctx, h.dial(t), opts); !errors.Is(err, hostapi.ErrCanceled) {
				t.Errorf("Start = %v, want ErrCanceled", err)
			}
			if took := time.Since(begin); took > 15*time.Second { // less than its own time-out
				t.Errorf("Start returned after %s", took)
			}
			if left := h.left(t); len(left) > 0 {
				t.Errorf("left in the cache: %q", left)
			}
		})
	}
}

func TestCutConnectionLeavesNothing(t *testing.T) {
	for name, config := range map[string]sshdtest.Config{"during SFTP": {}, "without SFTP": {NoSFTP: true}} {
		t.Run(name, func(t *testing.T) {
			h := start(t, config)
			conn := h.dial(t)
			var before []string
			cut := func() {
				before = h.files(t)
				go conn.Close()
			}
			if _, err := push.Start(t.Context(), conn, push.Options{Bundle: stalled(t, cut)}); !errors.Is(err, hostapi.ErrLost) {
				t.Errorf("Start = %v, want ErrLost", err)
			}
			if by := strings.Count(h.Log(t), "subsystem 'sftp'"); len(before) == 0 || (by > 0) == config.NoSFTP {
				t.Errorf("when it was cut the cache had %q, and %d SFTP sessions were open", before, by)
			}
			if left := h.left(t); len(left) > 0 {
				t.Errorf("left in the cache: %q", left)
			}
		})
	}
}

// stalled is a bundle with a helper that stops in the middle, and calls back once
// it does.
func stalled(t *testing.T, stopped func()) *push.Bundle {
	t.Helper()
	program, err := standin()
	must(t, err)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	return bundleOf(t, &stalling{
		MapFS: fstest.MapFS{helperName: &fstest.MapFile{Data: program}}, stalled: sync.OnceFunc(stopped), release: release,
	})
}

// stalling gives a helper to be hashed, then ones that stop in the middle.
type stalling struct {
	fstest.MapFS
	opened  int
	stalled func()
	release chan struct{}
}

func (s *stalling) Open(name string) (fs.File, error) {
	s.opened++
	f, err := s.MapFS.Open(name)
	if err == nil && s.opened > len([]string{"amd64", "arm64"}) {
		f = &stallingFile{f, s, 0}
	}
	return f, err
}

type stallingFile struct {
	fs.File
	s    *stalling
	read int
}

func (f *stallingFile) Read(p []byte) (int, error) {
	if f.read > 200_000 {
		f.s.stalled()
		<-f.s.release
		return 0, io.ErrUnexpectedEOF
	}
	n, err := f.File.Read(p)
	f.read += n
	return n, err
}

// packed is bundle as scripts/build makes it.
func packed(t *testing.T) *push.Bundle {
	t.Helper()
	return bundleOf(t, packedFiles(t))
}

func packedFiles(t *testing.T) fstest.MapFS {
	t.Helper()
	program, err := standin()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := push.Pack(&file, program); err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{helperName + ".gz": &fstest.MapFile{Data: file.Bytes()}}
}
