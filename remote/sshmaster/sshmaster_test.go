package sshmaster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/sshdtest"
	"vxorch/remote/sshauth"
	"vxorch/remote/sshconn"
	"vxorch/remote/sshmaster"
)

func TestMain(m *testing.M) {
	sshmaster.AskIfAsked()
	os.Exit(m.Run())
}

// arguments are those for s.
func arguments(s *sshdtest.Server, more ...string) []string {
	return append(append([]string{"-F", "none", "-p", strconv.Itoa(s.Port), "-i", s.Identity, "-o", "IdentitiesOnly=yes",
		"-o", "UserKnownHostsFile=" + s.KnownHosts, "-o", "StrictHostKeyChecking=yes"}, more...), "--", s.Address)
}

func options(t *testing.T, persist time.Duration) sshmaster.Options {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "m") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sockets, _ := filepath.Glob(dir + "/*")
		for _, s := range sockets {
			_ = exec.Command("ssh", "-F", "none", "-S", s, "-O", "exit", "x").Run()
		}
		os.RemoveAll(dir)
	})
	return sshmaster.Options{Dir: dir, Persist: persist, Log: slog.New(slog.DiscardHandler)}
}

func connect(t *testing.T, s *sshdtest.Server, opts sshmaster.Options, more ...string) *sshconn.Conn {
	t.Helper()
	raw, err := sshmaster.Connect(t.Context(), s.Address, arguments(s, more...), opts)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := sshconn.Attach(t.Context(), raw, s.Address, sshconn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func run(t *testing.T, conn *sshconn.Conn, command string) {
	t.Helper()
	session, err := conn.Start(t.Context(), command)
	if err == nil {
		session.Stdin.Close()
		err = session.Wait()
	}
	if err != nil {
		t.Errorf("%s: %v", command, err)
	}
}

// The master stays, so that what comes next needs no handshake; and it bears
// being attached to again and again.
func TestAMasterIsAttachedToAgainAndAgain(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	opts := options(t, time.Minute)
	for range 10 {
		conn := connect(t, s, opts)
		for range 2 {
			run(t, conn, "exit 0")
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := s.Connections(t); got != 1 {
		t.Errorf("%d connections to the server, want 1", got)
	}
}

func TestManyWhoStartAtOnceStartOneMaster(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	opts := options(t, time.Minute)
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			raw, err := sshmaster.Connect(t.Context(), s.Address, arguments(s), opts)
			if err != nil {
				t.Error(err)
				return
			}
			raw.Close()
		})
	}
	running.Wait()
	if got := s.Connections(t); got != 1 {
		t.Errorf("%d connections to the server, want 1", got)
	}
	files, err := filepath.Glob(opts.Dir + "/*")
	if err != nil || len(files) != 1 || strings.HasSuffix(files[0], ".lock") {
		t.Errorf("%q is left beside the master, want its socket alone; error %v", files, err)
	}
}

func TestAMasterThatIsNotToStayEndsWithItsConnection(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	for what, opts := range map[string]sshmaster.Options{
		"persist none": options(t, 0),
		"told to end":  func() sshmaster.Options { o := options(t, time.Hour); o.End = true; return o }(),
	} {
		conn := connect(t, s, opts)
		run(t, conn, "exit 0")
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if left := sockets(t, opts.Dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", what, left)
		}
	}
}

// sockets lists the sockets of masters.
func sockets(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if e.Type()&os.ModeSocket != 0 {
			found = append(found, e.Name())
		}
	}
	return found
}

func TestWhatAKilledMasterLeftIsNoObstacle(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	opts := options(t, time.Minute)
	connect(t, s, opts).Close()
	socket := filepath.Join(opts.Dir, sockets(t, opts.Dir)[0])
	if err := exec.Command("ssh", "-F", "none", "-S", socket, "-O", "exit", "x").Run(); err != nil {
		t.Fatal(err)
	}
	for _, err := os.Lstat(socket); err == nil; _, err = os.Lstat(socket) { // it goes a moment later
		time.Sleep(5 * time.Millisecond)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close() // nobody answers there any more
	run(t, connect(t, s, opts), "exit 0")
}

func TestRefusalsAreToldApart(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	other := filepath.Join(t.TempDir(), "other")
	sshdtest.WriteKey(t, other, sshdtest.NewKey(t).Private(), "")
	for what, c := range map[string]struct {
		args  []string
		kind  *hostapi.Error
		words string
	}{
		"a key":       {arguments(&sshdtest.Server{Address: s.Address, Port: s.Port, Identity: other, KnownHosts: s.KnownHosts}), hostapi.ErrAuth, "Permission denied"},
		"a host key":  {arguments(&sshdtest.Server{Address: s.Address, Port: s.Port, Identity: s.Identity, KnownHosts: os.DevNull}), hostapi.ErrHostKey, "verification failed"},
		"no server":   {[]string{"-F", "none", "-p", "1", "--", "127.0.0.1"}, hostapi.ErrUnreachable, "refused"},
		"bad options": {[]string{"-F", "none", "-o", "Nonsense=1", "--", "127.0.0.1"}, hostapi.ErrUnreachable, "Nonsense"},
	} {
		_, err := sshmaster.Connect(t.Context(), "127.0.0.1", c.args, options(t, time.Minute))
		if !errors.Is(err, c.kind) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.words)) {
			t.Errorf("%s: Connect = %v, want kind %d and %q", what, err, c.kind.Kind, c.words)
		}
	}
}

func TestSSHAsksByWayOfUs(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	text, err := os.ReadFile(s.Identity)
	if err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(t.TempDir(), "locked")
	if err := os.WriteFile(locked, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-p", "-N", "open sesame", "-f", locked).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.Identity = locked
	opts := options(t, time.Minute)
	var asked []string
	opts.Ask = func(_ context.Context, q sshauth.Question) (string, error) {
		asked = append(asked, q.Text)
		return "open sesame", nil
	}
	run(t, connect(t, s, opts), "exit 0")
	if len(asked) != 1 || !strings.Contains(asked[0], locked) {
		t.Errorf("asked %q, want one question about %s", asked, locked)
	}
	opts = options(t, time.Minute)
	opts.Ask = func(context.Context, sshauth.Question) (string, error) { return "", sshauth.ErrNoAnswer }
	if _, err := sshmaster.Connect(t.Context(), s.Address, arguments(s), opts); !errors.Is(err, hostapi.ErrAuth) {
		t.Errorf("Connect without an answer = %v, want ErrAuth", err)
	}
}

func TestCancelEndsConnectingAtOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	opts := options(t, time.Minute)
	began := time.Now()
	_, err = sshmaster.Connect(ctx, "127.0.0.1", []string{"-F", "none", "-p", fmt.Sprint(listener.Addr().(*net.TCPAddr).Port), "--", "127.0.0.1"}, opts)
	if err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("Connect = %v after %s", err, time.Since(began))
	}
}

func TestASocketDirectoryOfOthersIsRefused(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	opts := options(t, time.Minute)
	if err := os.Chmod(opts.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := sshmaster.Connect(t.Context(), s.Address, arguments(s), opts); err == nil || !strings.Contains(err.Error(), "yours alone") {
		t.Errorf("Connect = %v, want the directory refused", err)
	}
}
