package push

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/sshconn"
)

// dialogue is a command line that runs on the host, up to the helper's greeting.
type dialogue struct {
	stream    *Stream
	token     string
	timeout   time.Duration // for an answer
	prompts   prompts
	elevating bool          // sudo has been started
	sent      chan error    // what came of sending the helper; nil: it is not being sent
	abandon   func()        // ends the sending; nil: there was none
	stored    atomic.Bool   // SFTP has taken the helper
	awaited   chan greeting // the next one, if it is being waited for
}

// greeting is one answer, or what came in place of one.
type greeting struct {
	text  string
	noise []byte
	err   error
}

var (
	errSlow   = errors.New("no answer in time")
	errPrompt = errors.New("sudo asks for a password")
)

func begin(ctx context.Context, conn *sshconn.Conn, token, mark, command string, timeout time.Duration) (*dialogue, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errSlow)
	defer cancel()
	d := &dialogue{token: token, timeout: timeout, prompts: prompts{mark: []byte(mark), seen: make(chan struct{}, 8)}}
	session, err := conn.StartWatched(ctx, command, &d.prompts)
	if err != nil {
		if errors.Is(err, hostapi.ErrCanceled) && errors.Is(context.Cause(ctx), errSlow) {
			return nil, hostapi.Errorf(hostapi.KindHelper, "is the host overloaded?", "start the helper: the host did not run a command within %s", timeout)
		}
		return nil, err
	}
	d.stream = &Stream{Command: command, session: session, conn: conn, out: bufio.NewReaderSize(session.Stdout, 64<<10)}
	return d, nil
}

// next waits for the host's next answer: its first word and what follows. The
// error is errPrompt if sudo asks for a password instead.
func (d *dialogue) next(ctx context.Context) (word, rest string, err error) {
	g, err := d.await(ctx)
	if err == nil && g.err != nil {
		err = d.silence(ctx, g)
	}
	if err != nil {
		return "", "", err
	}
	word, rest, _ = strings.Cut(g.text, " ")
	return word, rest, nil
}

// await waits for the next greeting. What came in its place is not an error, but
// in the greeting.
func (d *dialogue) await(ctx context.Context) (g greeting, err error) {
	d.listen()
	var slow <-chan time.Time
	if d.sent == nil { // else it takes as long as the line needs
		timer := time.NewTimer(d.timeout)
		defer timer.Stop()
		slow = timer.C
	}
	for {
		select {
		case g = <-d.awaited:
			d.awaited = nil
			if g.err == nil {
				d.sent = nil
			}
			return g, nil
		case <-d.prompts.seen:
			return g, errPrompt
		case err := <-d.sent:
			if err != nil && d.stream.conn.Err() == nil { // else how it ended explains best why it took no more
				return g, hostapi.Errorf(hostapi.KindHelper, "", "send the helper: %v", err)
			}
			d.sent = make(chan error) // there is no more to come
		case <-slow:
			return greeting{err: errSlow}, nil
		case <-ctx.Done():
			return g, hostapi.Errorf(hostapi.KindCanceled, "", "start the helper: %v", context.Cause(ctx))
		}
	}
}

// listen begins to read a greeting, unless one is being read.
func (d *dialogue) listen() {
	if d.awaited != nil {
		return
	}
	awaited := make(chan greeting, 1)
	go func() {
		var g greeting
		g.text, g.noise, g.err = hostapi.AwaitGreeting(d.stream.out, d.token, noiseLimit)
		awaited <- g
	}()
	d.awaited = awaited
}

// silence says why g came in place of a greeting.
func (d *dialogue) silence(ctx context.Context, g greeting) error {
	session := d.stream.session
	switch g.err {
	case io.EOF: // the exit status comes behind the end of the output
		select {
		case <-session.Done():
		case <-ctx.Done():
		case <-time.After(endGrace):
		}
	case errSlow:
		session.Close()
		select {
		case late := <-d.awaited:
			d.awaited = nil
			g.noise = late.noise
		case <-time.After(time.Second):
		}
	}
	if dead := d.stream.conn.Err(); dead != nil {
		return hostapi.Errorf(hostapi.KindLost, "", "start the helper: %v", dead)
	}
	switch g.err {
	case io.EOF, errSlow, hostapi.ErrNoGreeting:
		return d.explain(g.noise, g.err)
	}
	return hostapi.Errorf(hostapi.KindLost, "", "start the helper: %v", g.err)
}

// send begins to send the helper that the host asks for.
func (d *dialogue) send(ctx context.Context, q request, wish string, opts Options) error {
	fields := strings.SplitN(wish, " ", 3)
	if len(fields) < 3 {
		return hostapi.Errorf(hostapi.KindHelper, "", "start the helper: strange wish %q", wish)
	}
	h, ok := q.bundle.byHash(fields[0])
	if !ok {
		return hostapi.Errorf(hostapi.KindHelper, "", "start the helper: strange wish %q", wish)
	}
	u := upload{helper: h, packed: fields[1] == formatPacked, file: fields[2]}
	ctx, cancel := context.WithCancel(ctx)
	sent := make(chan error, 1)
	d.abandon, d.sent = cancel, sent
	go func() {
		defer cancel()
		if !q.inline {
			switch err := u.bySFTP(ctx, d.stream.conn, d.timeout); {
			case err == nil:
				opts.Log.Debug("push: sent the helper by SFTP", "file", u.file, "bytes", h.size, "format", fields[1])
				d.stored.Store(true)
				sum, err := h.sum(u.packed)
				if err == nil {
					_, err = io.WriteString(d.stream.session.Stdin, wordStored+" "+sum+"\n")
				}
				sent <- err
				return
			case ctx.Err() != nil:
				sent <- err
				return
			default:
				opts.Log.Debug("push: no SFTP, sending the helper over the session", "error", err)
			}
		}
		sent <- u.inline(d.stream.session.Stdin)
	}()
	return nil
}

// answer gives sudo the password, which is not asked for before it is needed.
func (d *dialogue) answer(ctx context.Context, password func(context.Context) (string, error)) error {
	if password == nil {
		return hostapi.Errorf(hostapi.KindPermission, hintSudo, "start the helper: sudo asks for a password")
	}
	secret, err := password(ctx)
	if err != nil {
		e := hostapi.AsError(err)
		if e.Kind == hostapi.KindInternal {
			e.Kind = hostapi.KindPermission
		}
		return e
	}
	if _, err := io.WriteString(d.stream.session.Stdin, secret+"\n"); err != nil {
		return hostapi.Errorf(hostapi.KindLost, "", "answer sudo: %v", err)
	}
	return nil
}

// end ends what runs on the host, which removes then what has arrived of the
// helper: it waits a moment for that.
func (d *dialogue) end(ctx context.Context) {
	session := d.stream.session
	if d.abandon != nil {
		d.abandon()
	}
	_ = session.Stdin.Close() // it may have ended already
	go func(awaited chan greeting) {
		if awaited != nil {
			<-awaited
		}
		_, _ = io.Copy(io.Discard, d.stream.out)
	}(d.awaited)
	select {
	case <-session.Done():
	case <-d.stream.conn.Done():
	case <-time.After(cleanupTimeout):
	}
	_ = session.Close() // nobody is left to care
}

// explain says all that is known of a command that did not greet.
func (d *dialogue) explain(noise []byte, err error) error {
	session := d.stream.session
	var what string
	switch {
	case err == hostapi.ErrNoGreeting:
		what = fmt.Sprintf("no greeting within %d KiB of output", noiseLimit>>10)
	case err == errSlow:
		what = fmt.Sprintf("no greeting within %s", d.timeout)
	default:
		what = "it ended without a greeting: " + ending(session)
	}
	stderr := strings.TrimSpace(session.Stderr())
	if stderr != "" {
		what += fmt.Sprintf("; stderr: %q", stderr)
	}
	if len(noise) > 0 {
		what += fmt.Sprintf("; first bytes received: %q", noise[:min(len(noise), noiseShown)])
	}
	gone := err == io.EOF && couldNotExecute(session)
	if d.elevating && !gone {
		if refused := sudoRefusal(stderr, what); refused != nil {
			return refused
		}
	}
	reason := hostapi.Errorf(hostapi.KindHelper, "does the user's login shell on the host run commands, and may the account run any at all (ForceCommand, SFTP only)? With --debug the log has the whole command line",
		"start the helper: %s; command: %s…", what, d.stream.Command[:min(len(d.stream.Command), commandShown)])
	if gone {
		return &notExecutable{reason}
	}
	return reason
}

const commandShown = 72 // bytes of the command line in an error

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

// prompts looks out for sudo's prompt in what comes over standard error. Nothing
// but that prompt is ever answered.
type prompts struct {
	mark []byte
	seen chan struct{} // one element a prompt
	tail []byte        // of what came, where a part of the mark may be
}

// Write is called by one goroutine at a time.
func (p *prompts) Write(b []byte) (int, error) {
	text := append(p.tail, b...)
	for {
		at := bytes.Index(text, p.mark)
		if at < 0 {
			break
		}
		select {
		case p.seen <- struct{}{}:
		default: // more than anybody will answer
		}
		text = text[at+len(p.mark):]
	}
	p.tail = append([]byte(nil), text[max(0, len(text)-len(p.mark)+1):]...)
	return len(b), nil
}
