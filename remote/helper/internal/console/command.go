package console

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"vxorch/remote/hostapi"
)

// longestLine is what a terminal takes as one line (N_TTY_BUF_SIZE), and room.
const longestLine = 4000

// Run runs a line of POSIX shell in a shell of its own, without input, and gives
// what it said and its exit code. It needs a session: see Login. The output's
// lines end with \n; escape sequences and control characters are not in it. The
// error is of KindInvalid if the command cannot be typed or says more than 1 MiB.
// If ctx ends first, the command is interrupted and the session is over.
func (c *Console) Run(ctx context.Context, command string) (output string, exit int, err error) {
	giveBack, err := c.take(ctx)
	if err != nil {
		return "", 0, err
	}
	defer giveBack()
	if c.session == nil {
		return "", 0, errNoSession()
	}
	return c.shell(ctx, command)
}

// shell is Run for whoever has the turn.
func (c *Console) shell(ctx context.Context, command string) (output string, exit int, err error) {
	return c.command(ctx, shellLine(command))
}

func shellLine(command string) string { return "sh -c " + quote(command) + " </dev/null" }

// asRoot is shell with root's rights, without the kernel's messages. The exit code
// is sudo's 1 if it refuses, and the shell's 127 if there is none.
func (c *Console) asRoot(ctx context.Context, command string) (output string, exit int, err error) {
	line := shellLine(quiet + command)
	if !c.session.root {
		line = "sudo -n " + line
	}
	return c.command(ctx, line)
}

// printk is a guest's file whose first number is the level of the kernel's messages
// that its console shows.
const printk = "/proc/sys/kernel/printk"

// quiet begins a command of root's during which the kernel keeps its messages off
// the console. A shell does it by itself: each program that an emulated guest starts
// takes as long as a ping. What was before comes back however the command ends, and
// also when nobody listens any more. Where it cannot be done it is not.
const quiet = "{ read -r l m <" + printk + " && echo 1 >" + printk +
	" && trap 'echo $l >" + printk + "' EXIT && trap 'exit 130' HUP INT TERM; } 2>/dev/null; "

// quote makes one word of text for a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// command is exchange in a session that is over if the command does not end.
func (c *Console) command(ctx context.Context, line string) (output string, exit int, err error) {
	output, exit, err = c.exchange(ctx, line)
	if e := new(hostapi.Error); err == nil || errors.As(err, &e) {
		return output, exit, err
	}
	return "", 0, c.interrupt(ctx, err)
}

// interrupt ends the session, whose command has not ended, and explains cause.
func (c *Console) interrupt(ctx context.Context, cause error) error {
	// Whoever comes next finds a prompt.
	c.session = nil
	shortly, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
	defer cancel()
	_ = c.send(shortly, "\x03")
	return c.explain(ctx, "a command on the guest's console did not end", cause)
}

// exchange types a command between two markers and gives what came between them.
// A terminal that echoes the command shows $? where the markers have a number, so
// that no echo is taken for one.
func (c *Console) exchange(ctx context.Context, command string) (output string, exit int, err error) {
	tag := c.tag()
	from := c.mark()
	exit, end, err := c.typed(ctx, "echo __IN_$?_"+tag+"; "+command, tag)
	if err != nil {
		return "", 0, err
	}
	text, now, whole := c.look(from)
	text = text[:max(0, len(text)-int(now-end))]
	_, _, output, begun := cutMarker(text, "__IN_", "_"+tag+"\n")
	switch {
	case !whole:
		return "", exit, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("a command on the console said more than %d bytes", keep)}
	case !begun: // something else was written into the first marker
		return "", exit, &hostapi.Error{Kind: hostapi.KindInternal, Message: "on the console a command's output was mixed with something else"}
	}
	return strings.ToValidUTF8(output, "\ufffd"), exit, nil
}

// exitOf types a command, of whose output nothing matters, before a marker and gives
// its exit code.
func (c *Console) exitOf(ctx context.Context, command string) (exit int, err error) {
	exit, _, err = c.typed(ctx, command, c.tag())
	return exit, err
}

// tag is what makes the next command's markers its own.
func (c *Console) tag() string {
	c.runs++
	return fmt.Sprintf("%s_%d__", c.token, c.runs)
}

// typed types a command and the marker that says how it ended, and gives its exit
// code and the place where the marker begins.
func (c *Console) typed(ctx context.Context, command, tag string) (exit int, end int64, err error) {
	line := command + "; echo __RC_$?_" + tag
	if len(line) > longestLine || strings.ContainsFunc(line, isControl) {
		return 0, 0, &hostapi.Error{Kind: hostapi.KindInvalid, Message: "a command for the console is not one line of text or too long"}
	}
	searched := c.mark()
	if err := c.send(ctx, line+"\r"); err != nil {
		return 0, 0, err
	}
	_, err = c.await(ctx, 0, func() bool {
		// Of what was searched already a marker may be the end.
		text, now, _ := c.look(searched)
		before, code, _, ok := cutMarker(text, "__RC_", "_"+tag)
		if ok {
			end, exit = now-int64(len(text)-len(before)), code
		}
		searched = max(searched, now-int64(len(line)))
		return ok
	})
	return exit, end, err
}

// cutMarker cuts text around the first number that stands between prefix and
// suffix.
func cutMarker(text, prefix, suffix string) (before string, number int, after string, ok bool) {
	for at := 0; ; {
		next := strings.Index(text[at:], prefix)
		if next < 0 {
			return "", 0, "", false
		}
		start := at + next
		at = start + len(prefix)
		digits := text[at : at+leadingDigits(text[at:])]
		after, ends := strings.CutPrefix(text[at+len(digits):], suffix)
		if number, err := strconv.Atoi(digits); err == nil && ends {
			return text[:start], number, after, true
		}
	}
}

// leadingDigits counts the digits that text begins with.
func leadingDigits(text string) int {
	return len(text) - len(strings.TrimLeft(text, "0123456789"))
}
