package sshconn_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/sshdtest"
	"vxorch/remote/sshconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// target is s by its ed25519 key in known_hosts and the key file it lets in.
func target(s *sshdtest.Server) sshconn.Target {
	return sshconn.Target{
		Name: "host1", Address: s.Address, Port: s.Port, User: s.User,
		Identity: []string{s.Identity}, KnownHosts: []string{s.KnownHosts},
	}
}

func dial(t *testing.T, target sshconn.Target, opts sshconn.Options) *sshconn.Conn {
	t.Helper()
	conn, err := sshconn.Dial(t.Context(), target, opts)
	if err != nil {
		t.Fatalf("Dial: %v (hint: %s)", err, hostapi.AsError(err).Hint)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// refused checks that Dial fails with kind and that message and hint say all of words.
func refused(t *testing.T, target sshconn.Target, opts sshconn.Options, kind *hostapi.Error, words ...string) {
	t.Helper()
	conn, err := sshconn.Dial(t.Context(), target, opts)
	if err == nil {
		conn.Close()
		t.Fatal("Dial succeeded")
	}
	e := hostapi.AsError(err)
	if !errors.Is(err, kind) {
		t.Errorf("Dial: %v, of kind %d; want kind %d", err, e.Kind, kind.Kind)
	}
	text := e.Message + "\n" + e.Hint
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("Dial: %q does not mention %q", text, w)
		}
	}
	if e.Hint == "" {
		t.Errorf("Dial: %q comes without a hint", e.Message)
	}
}

func TestCommandRunsWithItsStreamsApart(t *testing.T) {
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), sshconn.Options{})
	session, err := conn.Start(t.Context(), `sh -c 'cat; printf "\033[31mred\n" >&2; test -t 0 || exit 3'`)
	if err != nil {
		t.Fatal(err)
	}
	binary := "a\x00b\x03\x04\r\n"
	if _, err := io.WriteString(session.Stdin, binary); err != nil {
		t.Fatal(err)
	}
	session.Stdin.Close()
	got, err := io.ReadAll(session.Stdout)
	if err != nil || string(got) != binary {
		t.Errorf("stdout = %q, %v; want %q", got, err, binary)
	}
	var exit *sshconn.ExitError
	if err := session.Wait(); !errors.As(err, &exit) || exit.Status != 3 {
		t.Errorf("Wait = %v, want exit status 3, and so no terminal", err)
	}
	if got := session.Stderr(); got != "[31mred\n" {
		t.Errorf("Stderr = %q, want it without the escape", got)
	}
}

func TestLongStderrKeepsItsEnds(t *testing.T) {
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), sshconn.Options{})
	session, err := conn.Start(t.Context(), `sh -c 'echo first >&2; head -c 3000000 /dev/zero | tr "\000" x >&2; echo last >&2'`)
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Wait(); err != nil {
		t.Fatal(err)
	}
	got := session.Stderr()
	if !strings.HasPrefix(got, "first\n") || !strings.HasSuffix(got, "xlast\n") || len(got) > 9<<10 {
		t.Errorf("Stderr = %d bytes %.20q…, want the first and last 4 KiB", len(got), got)
	}
}

func TestKilledCommandSaysSo(t *testing.T) {
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), sshconn.Options{})
	session, err := conn.Start(t.Context(), `exec sh -c 'kill -KILL $$'`)
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Wait(); err == nil || err.Error() != "killed by signal KILL" {
		t.Errorf("Wait = %v, want the signal", err)
	}
}

func TestSFTPWrites(t *testing.T) {
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), sshconn.Options{})
	client, err := conn.SFTP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	remote, err := client.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	before := client.Heard()
	if _, err := remote.ReadFromWithConcurrency(strings.NewReader("content"), 4); err != nil {
		t.Fatal(err)
	}
	if client.Heard() <= before {
		t.Errorf("heard %d bytes before a write, %d after it", before, client.Heard())
	}
	if err := errors.Join(remote.Close(), client.Close(), client.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "content" {
		t.Errorf("wrote %q, %v", got, err)
	}
	if err := client.Wait(); err == nil {
		t.Error("the session goes on after Close")
	}
}

func TestServerWithoutSFTPIsUnsupported(t *testing.T) {
	for name, config := range map[string]sshdtest.Config{
		"no subsystem":          {NoSFTP: true},
		"no such program":       {NoSFTP: true, Lines: []string{"Subsystem sftp /nonexistent/sftp-server"}},
		"something else":        {NoSFTP: true, Lines: []string{"Subsystem sftp /bin/echo hello, this is no sftp"}},
		"one session at a time": {Lines: []string{"MaxSessions 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, target(sshdtest.Start(t, config)), sshconn.Options{})
			session, err := conn.Start(t.Context(), "cat")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.SFTP(t.Context()); !errors.Is(err, hostapi.ErrUnsupported) {
				t.Errorf("SFTP = %v, want ErrUnsupported", err)
			}
			if err := errors.Join(session.Stdin.Close(), session.Wait()); err != nil {
				t.Errorf("the session beside it: %v", err)
			}
		})
	}
}

// TestSilentSFTPServerIsLeft has a server that takes all and says nothing, and
// allows one session only: the next works if SFTP's is gone.
func TestSilentSFTPServerIsLeft(t *testing.T) {
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{NoSFTP: true, Lines: []string{"Subsystem sftp cat >/dev/null", "MaxSessions 1"}})), sshconn.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := conn.SFTP(ctx); !errors.Is(err, hostapi.ErrCanceled) {
		t.Fatalf("SFTP = %v, want ErrCanceled", err)
	}
	session, err := conn.Start(t.Context(), "exit 0")
	if err != nil {
		t.Fatalf("Start after it: %v", err)
	}
	if err := session.Wait(); err != nil {
		t.Error(err)
	}
}

func TestSessionsOneAfterTheOtherWithMaxSessions1(t *testing.T) {
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{Lines: []string{"MaxSessions 1"}})), sshconn.Options{})
	for range 10 {
		session, err := conn.Start(t.Context(), "cat")
		if err != nil {
			t.Fatal(err)
		}
		session.Stdin.Close()
		if err := session.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusedSessionIsNotAwaitedForEver(t *testing.T) {
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{Lines: []string{"MaxSessions 0"}})), sshconn.Options{})
	if _, err := conn.Start(t.Context(), "true"); !errors.Is(err, hostapi.ErrUnsupported) {
		t.Errorf("Start = %v, want ErrUnsupported", err)
	}
}

func TestRefusedPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	refused(t, sshconn.Target{Address: "127.0.0.1", Port: port, User: "u"}, sshconn.Options{Home: t.TempDir()},
		hostapi.ErrUnreachable, "connection refused", "is sshd running")
}

func TestTCPConnectionHasADeadline(t *testing.T) {
	opts := sshconn.Options{Home: t.TempDir(), DialTimeout: 10 * time.Millisecond,
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
	refused(t, sshconn.Target{Address: "192.0.2.1", User: "u"}, opts, hostapi.ErrUnreachable, "192.0.2.1:22", "no answer within 10ms", "firewall")
}

// peer is a TCP server that handles each connection by itself.
func peer(t *testing.T, handle func(attempt int, conn net.Conn)) sshconn.Target {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for attempt := 1; ; attempt++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handle(attempt, conn)
		}
	}()
	t.Cleanup(func() { listener.Close(); <-ended })
	return sshconn.Target{Address: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, User: "u", KnownHosts: []string{os.DevNull}}
}

func TestSilentServerIsLeftAfterTheHandshakeDeadline(t *testing.T) {
	silent := peer(t, func(_ int, conn net.Conn) { _, _ = io.Copy(io.Discard, conn); conn.Close() })
	refused(t, silent, sshconn.Options{Home: t.TempDir(), HandshakeTimeout: 50 * time.Millisecond},
		hostapi.ErrUnreachable, "no SSH handshake within 50ms", "is it an SSH server")
}

func TestOtherServersAreToldApart(t *testing.T) {
	web := peer(t, func(_ int, conn net.Conn) {
		_, _ = io.WriteString(conn, strings.Repeat("x", 1000)+"\n")
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	})
	refused(t, web, sshconn.Options{Home: t.TempDir()}, hostapi.ErrUnreachable, "is it an SSH server")
}

func TestEarlyHangUpIsTriedAgain(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	attempts := 0
	opts := sshconn.Options{Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
		attempts++
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if attempts == 1 && err == nil { // as sshd over its MaxStartups
			return eof{conn}, nil
		}
		return conn, err
	}}
	dial(t, target(s), opts)
	if attempts != 2 {
		t.Errorf("connected after %d attempts, want 2", attempts)
	}
}

type eof struct{ net.Conn }

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

func TestEarlyHangUpIsGivenUpAfterThreeRetries(t *testing.T) {
	attempts := make(chan int, 100)
	dropping := peer(t, func(attempt int, conn net.Conn) { attempts <- attempt; conn.Close() })
	refused(t, dropping, sshconn.Options{Home: t.TempDir()}, hostapi.ErrUnreachable, "before authentication", "MaxStartups")
	if len(attempts) != 4 {
		t.Errorf("made %d attempts, want 4", len(attempts))
	}
}

func TestCancelEndsDialAtOnce(t *testing.T) {
	for name, handle := range map[string]func(int, net.Conn){
		"silent server":  func(_ int, conn net.Conn) { _, _ = io.Copy(io.Discard, conn); conn.Close() },
		"between trials": func(_ int, conn net.Conn) { conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			silent := peer(t, func(n int, conn net.Conn) { time.AfterFunc(10*time.Millisecond, cancel); handle(n, conn) })
			start := time.Now()
			_, err := sshconn.Dial(ctx, silent, sshconn.Options{Home: t.TempDir()})
			if !errors.Is(err, hostapi.ErrCanceled) {
				t.Errorf("Dial = %v, want ErrCanceled", err)
			}
			if took := time.Since(start); took > 12*time.Second { // less than any time-out
				t.Errorf("Dial returned %s after the cancel", took)
			}
		})
	}
}

func TestVanishedPeerIsNoticed(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	var hole sshdtest.BlackHole
	conn := dial(t, target(s), sshconn.Options{Dialer: hole.Dial, KeepaliveInterval: 10 * time.Millisecond, KeepaliveTimeout: 3 * time.Second})
	session, err := conn.Start(t.Context(), "cat")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Err(); err != nil {
		t.Fatalf("Err of a living connection = %v", err)
	}
	hole.Open()
	<-conn.Done()
	if err := conn.Err(); !errors.Is(err, hostapi.ErrLost) || !strings.Contains(err.Error(), "the connection was lost: nothing came for 3s") {
		t.Errorf("Err = %v, want the silence", err)
	}
	if err := session.Wait(); !errors.Is(err, hostapi.ErrLost) {
		t.Errorf("Wait = %v, want ErrLost", err)
	}
	if _, err := conn.Start(t.Context(), "true"); !errors.Is(err, hostapi.ErrLost) {
		t.Errorf("Start = %v, want ErrLost", err)
	}
	if _, err := conn.SFTP(t.Context()); !errors.Is(err, hostapi.ErrLost) {
		t.Errorf("SFTP = %v, want ErrLost", err)
	}
}

// A command that does not read keeps the server from closing the session, so
// that it takes the connection's end to free a Write.
func TestCloseFreesAWriteThatBlocks(t *testing.T) {
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), sshconn.Options{})
	session, err := conn.Start(t.Context(), `exec sh -c 'read line; echo reading; while kill -0 $PPID; do sleep 0.1; done'`) // until sshd ends
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(session.Stdin, "line\n"+strings.Repeat("x", 32<<20)) // more than any window
		written <- err
	}()
	if _, err := io.ReadFull(session.Stdout, make([]byte, len("reading\n"))); err != nil {
		t.Fatal(err)
	}
	if err := session.Stdin.Close(); err != nil { // does not wait
		t.Errorf("Close of Stdin = %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := <-written; err == nil {
		t.Error("Write of 32 MiB succeeded with nobody to read them")
	}
}

func TestStartIsFreedByItsContext(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.Config{})
	var hole sshdtest.BlackHole
	conn := dial(t, target(s), sshconn.Options{Dialer: hole.Dial})
	hole.Open()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := conn.Start(ctx, "true"); !errors.Is(err, hostapi.ErrCanceled) {
		t.Errorf("Start = %v, want ErrCanceled", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), sshconn.Options{})
	session, err := conn.Start(t.Context(), "cat")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if err := session.Wait(); !errors.Is(err, hostapi.ErrLost) {
		t.Errorf("Wait = %v, want ErrLost", err)
	}
}
