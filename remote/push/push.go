// Package push brings the helper up on a host: it starts the one that the host
// has in its cache, or sends it first, as root where the user has to be helped
// to that by sudo, and hands back the stream to it. It is sent by SFTP, or over
// the session that asked for it where the host has no SFTP, shows other files by
// it, or allows one session only. The helpers are embedded by scripts/build. What
// is said over the stream is not its business.
package push

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strconv"
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

// Sudo says how a user other than root becomes it on the host.
type Sudo string

// The ways to become root. Root itself needs none.
const (
	SudoAuto  Sudo = "auto"  // by a sudo that asks for no password
	SudoAsk   Sudo = "ask"   // by sudo; Options.Password answers if it asks
	SudoNever Sudo = "never" // not at all: the helper runs as the user
)

// Options tune Start; the zero value works.
type Options struct {
	Bundle *Bundle       // nil: the embedded helpers
	Lab    string        // whose work the helper is started for, so that it can be told from others there; empty: no lab's
	Lease  time.Duration // the helper ends when it heard nothing for so long; 0: 15 s
	// Timeout bounds the wait for each answer of the host. What is sent takes as
	// long as the line needs, and a password as long as its user. 0: 20 s
	Timeout time.Duration
	Sudo    Sudo // empty: SudoAuto
	// Password is what sudo wants to know, asked for when it does. Needed for
	// SudoAsk.
	Password func(context.Context) (string, error)
	Log      *slog.Logger // nil: nowhere
}

func (o Options) withDefaults() (Options, error) {
	if o.Bundle == nil {
		var err error
		if o.Bundle, err = embedded(); err != nil {
			return o, err
		}
	}
	if o.Lease == 0 {
		o.Lease = 15 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if strings.Trim(o.Lab, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" { // no word of a command line
		return o, hostapi.Errorf(hostapi.KindInvalid, "", "start the helper: %q is not a lab's name", o.Lab)
	}
	if o.Sudo == SudoAsk && o.Password == nil {
		return o, hostapi.Errorf(hostapi.KindInvalid, "", "start the helper: sudo may ask for a password, and nobody knows one")
	}
	return o, nil
}

// Start starts the helper over conn and returns when it has greeted. It takes
// one session, so that a cached helper costs no extra round trip, whoever the
// user is. Where the host asks for the helper, that session waits until it has
// been written by SFTP beside it, or takes it itself: so MaxSessions 1 is enough,
// and no SFTP is needed. ctx bounds the start only; every error is a
// *hostapi.Error.
func Start(ctx context.Context, conn *sshconn.Conn, opts Options) (*Stream, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	q := request{bundle: opts.Bundle, lab: opts.Lab, lease: opts.Lease}
	for {
		q.token, q.temp = rand.Text(), "vxhelper."+rand.Text()
		mark := q.token + "-password:"
		switch opts.Sudo {
		case SudoNever:
		case SudoAsk:
			q.sudo = []string{"-S", "-k", "-p", mark}
		default:
			q.sudo = []string{"-n"}
		}
		stream, err := start(ctx, conn, q, mark, opts)
		var spoilt *notExecutable
		var full *noRoom
		var lost *astray
		switch {
		case errors.As(err, &lost):
			opts.Log.Warn("push: what was written by SFTP did not arrive, and is sent over the session", "error", err)
			q.inline = true
		case errors.As(err, &spoilt) && !q.fresh:
			opts.Log.Warn("push: the helper in the host's cache is damaged or not ours, and is sent again", "error", err)
			q.fresh = true
		case errors.As(err, &full) && full.place > q.skip:
			opts.Log.Warn("push: a place for the helper took no more, trying the next", "error", err)
			q.skip, q.fresh = full.place, false
		case err != nil:
			return nil, hostapi.AsError(err)
		default:
			return stream, nil
		}
	}
}

// start runs one command line and gives the host what it asks for until the
// helper greets.
func start(ctx context.Context, conn *sshconn.Conn, q request, mark string, opts Options) (_ *Stream, err error) {
	command := q.command()
	opts.Log.Debug("push: starting the helper", "command", command)
	d, err := begin(ctx, conn, q.token, mark, command, opts.Timeout)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.end(ctx)
		}
	}()
	cached, answered := true, false
	for {
		word, rest, err := d.next(ctx)
		switch {
		case errors.Is(err, errPrompt) && answered:
			return nil, hostapi.Errorf(hostapi.KindPermission, "it is the password of the SSH user on that host which sudo wants, unless its settings say otherwise (rootpw, targetpw)",
				"start the helper: sudo refused the password")
		case errors.Is(err, errPrompt):
			if err := d.answer(ctx, opts.Password); err != nil {
				return nil, err
			}
			answered = true
			continue
		case err != nil:
			return nil, err
		}
		switch word {
		case answerReady:
			d.stream.Cached, d.stream.SFTP = cached, d.stored.Load()
			return d.stream, nil
		case answerSudo:
			d.elevating = true
		case answerPassed:
			opts.Log.Warn("push: not every place for the helper would do", "places", rest)
		case answerNeed:
			cached = false
			if err := d.send(ctx, q, rest, opts); err != nil {
				return nil, err
			}
		case answerGot:
		case answerFull:
			return nil, refusal(word, rest)
		case answerSpoilt:
			sum, file, _ := strings.Cut(rest, " ")
			reason := hostapi.Errorf(hostapi.KindHelper, "does the host have sha256sum, and is its disk well?",
				"start the helper: what arrived in %s is not what was sent: its SHA-256 sum is %q", file, sum)
			if d.stored.Load() {
				return nil, &astray{reason}
			}
			if cached { // what lay in the user's cache, found when root copied it
				return nil, &notExecutable{reason}
			}
			return nil, reason
		default:
			return nil, refusal(word, rest)
		}
	}
}

// notExecutable is a cached helper that is damaged: the host's shell could not
// run it, or root found another program in its place.
type notExecutable struct{ reason *hostapi.Error }

func (e *notExecutable) Error() string { return e.reason.Message }
func (e *notExecutable) Unwrap() error { return e.reason }

// astray is a helper that SFTP took and the host's shell did not find: a server
// may show other files by SFTP, under the same names.
type astray struct{ reason *hostapi.Error }

func (e *astray) Error() string { return e.reason.Message }
func (e *astray) Unwrap() error { return e.reason }

// noRoom is a place for the helper that took no more in the middle of it.
type noRoom struct {
	place  int // counted from 1
	reason *hostapi.Error
}

func (e *noRoom) Error() string { return e.reason.Message }
func (e *noRoom) Unwrap() error { return e.reason }

// refusal is the error that an answer of the scripts stands for.
func refusal(word, rest string) error {
	switch word {
	case answerAlien:
		kernel, machine, _ := strings.Cut(rest, " ")
		return unsupported(kernel, machine)
	case answerNowhere:
		return nowhere(rest)
	case answerNoSudo:
		return hostapi.Errorf(hostapi.KindPermission, "install sudo there, or log in as root (ssh.user)", "start the helper: the user is not root, and the host has no sudo")
	case answerFull:
		number, dir, _ := strings.Cut(rest, " ")
		place, err := strconv.Atoi(number)
		if err != nil {
			break
		}
		return &noRoom{place, hostapi.Errorf(hostapi.KindHelper, "the user's cache directory on the host must be writable and have room for some MB", "send the helper into %s: it takes no more", dir)}
	}
	return hostapi.Errorf(hostapi.KindHelper, "", "start the helper: strange answer %q", word+" "+rest)
}
