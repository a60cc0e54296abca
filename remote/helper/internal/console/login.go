package console

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"vxorch/remote/hostapi"
)

const (
	mostPatience = 5 * time.Second // between two tries to wake a silent guest

	// afterName and afterPassword are how long login may think about one: a slow
	// guest hashes for seconds, and answers to a wrong one after three more.
	afterName     = 5 * time.Second
	afterPassword = 10 * time.Second

	// confirmation is how long a shell may take to answer.
	confirmation = 5 * time.Second

	// mostRefusals is how many times a password must be refused to be wrong: what
	// was typed while the guest booted may have spoiled one.
	mostRefusals = 2
)

// Login gets a shell: the one of a session that is still there, whoever's, or
// that of a new one. It waits for a guest that still boots until ctx ends; the
// error then has the end of what the console said. It is of KindAuth if the guest
// refuses the password.
//
// The shell's echo is off until Leave.
func (c *Console) Login(ctx context.Context, user, password string) error {
	giveBack, err := c.take(ctx)
	if err != nil {
		return err
	}
	defer giveBack()
	for what, text := range map[string]string{"user name": user, "password": password} {
		if strings.ContainsFunc(text, isControl) {
			return &hostapi.Error{Kind: hostapi.KindInvalid, Message: "a control character in the " + what}
		}
	}
	c.mu.Lock()
	c.password = password
	c.mu.Unlock()
	c.session = nil
	c.mute.Store(false)
	l := login{Console: c, user: user, password: password}
	return l.run(ctx)
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// login is one way from whatever a guest shows to its shell.
type login struct {
	*Console
	user, password string

	prompted bool // a login prompt was seen
	named    bool // the name was typed, and no password yet
	typed    bool // the password was typed, and what came of it is open
	refused  int
}

func (l *login) run(ctx context.Context) error {
	from := l.mark()
	// There may be a session, or a prompt that was shown before we came.
	if err := l.send(ctx, "\r"); err != nil {
		return l.failed(ctx, err)
	}
	patience := l.options.Patience
	for {
		asks, err := l.nextPrompt(ctx, from, patience)
		if err != nil {
			return l.failed(ctx, err)
		}
		end, asked := l.places()
		edited := asked > from
		from = end
		var text string
		switch asks {
		case noPrompt:
			// A message of the kernel's hides a prompt until somebody presses return.
			text, patience = "\r", min(2*patience, mostPatience)
		case loginPrompt:
			l.prompted = true
			if l.typed {
				if l.refused++; l.refused == mostRefusals {
					return &hostapi.Error{
						Kind:    hostapi.KindAuth,
						Message: fmt.Sprintf("the guest does not let %q in with the password given", l.user),
						Hint:    "set the image's login: user and password",
					}
				}
			}
			l.named, l.typed = true, false
			text, patience = l.user+"\r", afterName
		case passwordPrompt:
			text = "\r" // somebody else's try
			if l.named {
				l.named, l.typed = false, true
				text = l.password + "\r"
			}
			patience = afterPassword
		case morePrompt:
			text = "\x03"
		case shellPrompt:
			if l.session, err = l.confirm(ctx); err != nil {
				return l.failed(ctx, err)
			}
			if l.session != nil {
				l.session.asks = edited
				return nil
			}
			text, patience = "\r", l.options.Patience
		}
		if err := l.send(ctx, text); err != nil {
			return l.failed(ctx, err)
		}
	}
}

func (l *login) failed(ctx context.Context, cause error) error {
	act := "the guest never showed a login prompt"
	if l.prompted {
		act = fmt.Sprintf("the guest did not let %q in", l.user)
	}
	return l.explain(ctx, act, cause)
}

// nextPrompt waits for a prompt in what is said from a place on that nothing
// follows for a moment; noPrompt if nothing more came for a time of patience. The
// moment is short after shell's prompts that are all that was said: a session that
// stood answers each return so, and its shell is asked whether it is one. It is over
// at once where the cursor's place is asked behind such a prompt: a line editor does
// that, before it waits.
func (c *Console) nextPrompt(ctx context.Context, from int64, patience time.Duration) (prompt, error) {
	for {
		var seen prompt
		var at int64
		var alone bool
		ok, err := c.await(ctx, patience, func() bool {
			var text string
			text, at, _ = c.look(max(from, c.mark()-longestPrompt-1))
			seen, alone = promptOf(text), onlyShellPrompts(text)
			return seen != noPrompt
		})
		if err != nil || !ok {
			return noPrompt, err
		}
		settle := c.options.Settle
		if alone {
			settle /= 5
		}
		var edited bool
		more, err := c.await(ctx, settle, func() bool {
			end, asked := c.places()
			edited = alone && end == at && asked == at
			return end != at || edited
		})
		if err != nil {
			return noPrompt, err
		}
		if !more || edited {
			return seen, nil
		}
	}
}

// onlyShellPrompts tells whether every line of text is a shell's prompt, or empty.
func onlyShellPrompts(text string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" && promptOf(line) != shellPrompt {
			return false
		}
	}
	return text != ""
}

// confirm tells whether what looks like a shell's prompt is one, and whose; and
// turns its echo off: a long command's would wrap. All of it is one command, as short
// as can be since it is echoed, and the answer its exit code, which no message of the
// kernel's gets into: root is who may write what only root may.
func (c *Console) confirm(ctx context.Context) (*session, error) {
	within, cancel := context.WithTimeout(ctx, confirmation)
	defer cancel()
	c.mute.Store(true) // before the line is typed: what asks now asks too late
	exit, err := c.exitOf(within, "stty -echo cols 500; test -w "+printk)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		// Not interrupted: it may be the guest's boot that speaks here.
		c.mute.Store(false)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &session{root: exit == 0}, nil
}

// Leave gives the console back as a person expects it, with the shell's echo: the
// kernel's messages are off while a command of root's runs and not longer. Without
// a session it does nothing.
//
// The session stays: a guest that logs in for every proof is what a proof would
// wait for, and who reaches the console is root on the host and of the guest's
// disk anyway.
func (c *Console) Leave(ctx context.Context) error {
	giveBack, err := c.take(ctx)
	if err != nil {
		return err
	}
	defer giveBack()
	if c.session == nil {
		return nil
	}
	asks := c.session.asks
	c.session = nil
	c.mute.Store(false) // nothing is asked while the echo is off
	from := c.mark()
	if _, err := c.exitOf(ctx, "stty echo cols 80"); err != nil {
		return c.interrupt(ctx, err)
	}
	// That it is one is known.
	_, err = c.await(ctx, confirmation, func() bool {
		text, _, _ := c.look(max(from, c.mark()-longestPrompt-1))
		return promptOf(text) != noPrompt
	})
	if err != nil || !asks {
		return err
	}
	// Whoever comes next would wait otherwise: busybox' line editor halts for 20 ms
	// over a key that comes where it expects the answer.
	_, err = c.await(ctx, c.options.Settle, func() bool {
		_, asked := c.places()
		return asked > from
	})
	return cmp.Or(err, c.flush(ctx))
}
