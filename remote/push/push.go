// Package push brings the helper up on a host: it starts the one that the host
// has in its cache, or uploads it first, and hands back the stream to it. The
// helpers are embedded by scripts/build. What is said over the stream is not its
// business.
package push

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/sshconn"
)

const (
	noiseLimit     = 64 << 10 // bytes before the greeting
	noiseShown     = 256      // bytes of them in an error
	cleanupTimeout = 800 * time.Millisecond
)

// Options tune Start; the zero value works.
type Options struct {
	Bundle *Bundle       // nil: the embedded helpers
	Lease  time.Duration // the helper ends when it heard nothing for so long; 0: 15 s
	// Timeout bounds the wait for an answer to each of the one or two command
	// lines. The upload takes as long as the line needs. 0: 20 s
	Timeout time.Duration
	Log     *slog.Logger // nil: nowhere
}

// Start starts the helper over conn and returns when it has greeted. A cached
// helper costs one session and no extra round trip. There is one session at a
// time, so that MaxSessions 1 is enough. ctx bounds the start only; every error
// is a *hostapi.Error.
func Start(ctx context.Context, conn *sshconn.Conn, opts Options) (*Stream, error) {
	if opts.Bundle == nil {
		var err error
		if opts.Bundle, err = embedded(); err != nil {
			return nil, err
		}
	}
	if opts.Lease == 0 {
		opts.Lease = 15 * time.Second
	}
	if opts.Timeout == 0 {
		opts.Timeout = 20 * time.Second
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	token := rand.Text()
	stream, answer, err := run(ctx, conn, cachedCommand(opts.Bundle, token, opts.Lease), token, opts.Timeout)
	var spoilt *notExecutable
	if errors.As(err, &spoilt) {
		opts.Log.Warn("push: the helper in the host's cache is damaged and is sent again", "error", err)
		stream, answer, err = run(ctx, conn, freshCommand(opts.Bundle, token, opts.Lease), token, opts.Timeout)
	}
	if err != nil {
		return nil, err
	}
	if isReady(answer) {
		stream.Cached = true
		return stream, nil
	}
	_ = stream.Close() // to free its session
	machine, dir, err := readNeed(answer)
	if err != nil {
		return nil, err
	}
	helper, err := opts.Bundle.helper(machine)
	if err != nil {
		return nil, err
	}
	return install(ctx, conn, helper, dir, token, opts)
}

// install uploads helper into dir and starts it from there.
func install(ctx context.Context, conn *sshconn.Conn, helper helper, dir, token string, opts Options) (_ *Stream, err error) {
	random := make([]byte, 8)
	rand.Read(random)
	temp := "vxhelper." + hex.EncodeToString(random)
	defer func() {
		if err == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		if cleanupErr := finish(ctx, conn, removeCommand(helper, temp), nil); cleanupErr != nil {
			opts.Log.Debug("push: a part of the helper may be left behind", "file", dir+"/"+temp, "error", cleanupErr)
		}
	}()
	opts.Log.Debug("push: uploading the helper", "file", dir+"/"+temp, "bytes", helper.size)
	if err := upload(ctx, conn, helper, dir, temp, opts.Log); err != nil {
		return nil, err
	}
	stream, answer, err := run(ctx, conn, installCommand(helper, temp, token, opts.Lease), token, opts.Timeout)
	if err != nil {
		return nil, err
	}
	if isReady(answer) {
		return stream, nil
	}
	_ = stream.Close()
	if answer == answerNoexec {
		return nil, failure(hostapi.KindHelper, "mount it without noexec, or set XDG_CACHE_HOME for that user's SSH sessions to a directory that is",
			"start the helper: programs may not be run from %s: is it mounted noexec?", dir)
	}
	return nil, failure(hostapi.KindHelper, "", "start the helper: strange answer %q", answer)
}

// run runs a command line and waits for its greeting with token.
func run(ctx context.Context, conn *sshconn.Conn, command, token string, timeout time.Duration) (*Stream, string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errSlow)
	defer cancel()
	session, err := conn.Start(ctx, command)
	if err != nil {
		return nil, "", slow(ctx, err, timeout, command)
	}
	stream := &Stream{Command: command, session: session, conn: conn, out: bufio.NewReaderSize(session.Stdout, 64<<10)}
	type greeting struct {
		text  string
		noise []byte
		err   error
	}
	greetings := make(chan greeting, 1)
	go func() {
		var g greeting
		g.text, g.noise, g.err = hostapi.AwaitGreeting(stream.out, token, noiseLimit)
		greetings <- g
	}()
	var g greeting
	select {
	case g = <-greetings:
		if g.err == nil {
			return stream, g.text, nil
		}
	case <-ctx.Done():
		g.err = context.Cause(ctx)
	}
	if g.err == io.EOF { // the exit status comes behind the end of the output
		select {
		case <-session.Done():
		case <-ctx.Done():
		case <-time.After(endGrace):
		}
	}
	session.Close()
	if errors.Is(g.err, errSlow) {
		select {
		case late := <-greetings:
			g.noise = late.noise
		case <-time.After(time.Second):
		}
	}
	switch dead := conn.Err(); {
	case dead != nil:
		return nil, "", failure(hostapi.KindLost, "", "start the helper: %v", dead)
	case g.err != io.EOF && g.err != hostapi.ErrNoGreeting && !errors.Is(g.err, errSlow):
		return nil, "", failure(hostapi.KindCanceled, "", "start the helper: %v", g.err)
	}
	reason := noGreeting(session, command, g.noise, g.err, timeout)
	if g.err == io.EOF && couldNotExecute(session) {
		return nil, "", &notExecutable{reason}
	}
	return nil, "", reason
}

// notExecutable is a helper that the host's shell could not run.
type notExecutable struct{ reason *hostapi.Error }

func (e *notExecutable) Error() string { return e.reason.Message }
func (e *notExecutable) Unwrap() error { return e.reason }

// couldNotExecute tells by the exit status that a POSIX shell gives for it
// (Shell Command Language §2.8.2).
func couldNotExecute(session *sshconn.Session) bool {
	select {
	case <-session.Done():
	default:
		return false
	}
	var exit *sshconn.ExitError
	return errors.As(session.Wait(), &exit) && (exit.Status == 126 || exit.Status == 127)
}

var errSlow = errors.New("no answer in time")

// slow tells this package's own deadline from the caller's.
func slow(ctx context.Context, err error, timeout time.Duration, command string) error {
	if errors.Is(err, hostapi.ErrCanceled) && errors.Is(context.Cause(ctx), errSlow) {
		return failure(hostapi.KindHelper, "is the host overloaded?", "start the helper: the host did not run a command within %s; command: %s", timeout, command)
	}
	return err
}

// noGreeting says all that is known of a command that did not greet.
func noGreeting(session *sshconn.Session, command string, noise []byte, err error, timeout time.Duration) *hostapi.Error {
	var what string
	switch {
	case err == hostapi.ErrNoGreeting:
		what = fmt.Sprintf("no greeting within %d KiB of output", noiseLimit>>10)
	case errors.Is(err, errSlow):
		what = fmt.Sprintf("no greeting within %s", timeout)
	default:
		what = "it ended without a greeting: " + ending(session)
	}
	if text := strings.TrimSpace(session.Stderr()); text != "" {
		what += fmt.Sprintf("; stderr: %q", text)
	}
	if len(noise) > 0 {
		what += fmt.Sprintf("; first bytes received: %q", noise[:min(len(noise), noiseShown)])
	}
	return failure(hostapi.KindHelper, "does the user's login shell on the host run commands, without a forced one?",
		"start the helper: %s; command: %s", what, command)
}

// ending says how a session's command ended.
func ending(session *sshconn.Session) string {
	select {
	case <-session.Done():
	default:
		return "it has closed its output"
	}
	if err := session.Wait(); err != nil {
		return err.Error()
	}
	return "exit status 0"
}

func failure(kind hostapi.Kind, hint, format string, args ...any) *hostapi.Error {
	return &hostapi.Error{Kind: kind, Message: fmt.Sprintf(format, args...), Hint: hint}
}
