// Package console drives a guest's serial console: it logs in, runs commands,
// gives interfaces their addresses and sends pings. All that it knows of the
// guest is a stream; where that comes from, and what to say to which guest, it
// leaves to others.
//
// A guest may say anything at any length: what is kept of it is bounded, and no
// call waits for it longer than its context says.
package console

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vxorch/remote/hostapi"
)

// Options are what may differ from guest to guest; the zero value is for any.
type Options struct {
	// Patience is how long a guest may be silent before return is pressed again
	// to see whether it is there; 0: 200 ms. It grows while nothing comes.
	Patience time.Duration
	// Settle is how long nothing may follow a prompt for it to be one; 0: 100 ms. A
	// fifth of it does for the prompt of a shell's that return alone has brought.
	Settle time.Duration
}

// Console is a guest's serial console. Its methods are safe for concurrent use;
// those that talk to the guest take turns.
type Console struct {
	stream  io.ReadWriteCloser
	options Options
	token   string        // in every marker; no guest can have said it before
	turn    chan struct{} // holds one element while somebody talks
	out     chan keys     // to the goroutine that writes
	ended   chan struct{} // closed when the stream ended
	close   sync.Once

	// Of whoever has the turn.
	runs     int
	session  *session // nil: nobody is logged in as far as is known
	password string   // kept out of Tail

	// mute: terminal queries are not answered. Line editors ask until their echo is
	// off; once the command for that is typed an answer would be taken for the
	// beginning of the next one. They take commands without an answer, too.
	mute atomic.Bool

	mu     sync.Mutex
	screen screen
	grown  chan struct{} // closed when the screen has more
	cause  error         // why the stream ended
}

// session is a shell that answers.
type session struct {
	root   bool // it is root's
	noSudo bool // sudo is known not to make it so
	asks   bool // it asks with its prompt where the cursor is
}

// keys is what is to be typed.
type keys struct {
	text    string
	written chan<- struct{} // in place of text, closed when all before is on its way
}

// New takes a stream over. Close ends it.
func New(stream io.ReadWriteCloser, options Options) *Console {
	if options.Patience == 0 {
		// QEMU looks once a second whether anybody is at the other end of a pty
		// (chardev/char-pty.c), so that the first key of a guest that is there may
		// take that long; but no key that follows.
		options.Patience = 200 * time.Millisecond
	}
	if options.Settle == 0 {
		options.Settle = 100 * time.Millisecond
	}
	random := make([]byte, 4)
	rand.Read(random) // never fails
	c := &Console{
		stream:  stream,
		options: options,
		token:   hex.EncodeToString(random),
		turn:    make(chan struct{}, 1),
		out:     make(chan keys, 4),
		ended:   make(chan struct{}),
		grown:   make(chan struct{}),
	}
	go c.read()
	go c.write()
	return c
}

// Close closes the stream. It does not wait for a read or write that the stream
// does not end. Whoever is logged in stays so: see Leave.
func (c *Console) Close() error {
	c.end(io.ErrClosedPipe)
	return c.stream.Close()
}

// Tail gives the last 4 KiB of what the guest said, printable, with newlines.
func (c *Console) Tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tail(4096)
}

// tail needs the lock.
func (c *Console) tail(most int) string {
	text := printable(string(c.screen.last(most)))
	if c.password != "" {
		text = strings.ReplaceAll(text, c.password, "********")
	}
	return text
}

// end says once why nothing more comes.
func (c *Console) end(err error) {
	c.close.Do(func() {
		c.mu.Lock()
		c.cause = err
		c.mu.Unlock()
		close(c.ended)
	})
}

func (c *Console) read() {
	buffer := make([]byte, 32<<10)
	for {
		n, err := c.stream.Read(buffer)
		if n > 0 {
			c.mu.Lock()
			replies := c.screen.write(buffer[:n])
			for _, r := range replies { // before anybody who waits for the same text types
				if c.mute.Load() {
					break
				}
				select {
				case c.out <- keys{text: r}:
				default: // it asks faster than it listens
				}
			}
			close(c.grown)
			c.grown = make(chan struct{})
			c.mu.Unlock()
		}
		if err != nil {
			c.end(err)
			return
		}
		select {
		case <-c.ended:
			return
		default:
		}
	}
}

func (c *Console) write() {
	for {
		select {
		case k := <-c.out:
			if k.written != nil {
				close(k.written)
				continue
			}
			if _, err := io.WriteString(c.stream, k.text); err != nil {
				// What it said last tells more: let that be read to its end.
				select {
				case <-c.ended:
				case <-time.After(time.Second):
					c.end(err)
				}
				return
			}
		case <-c.ended:
			return
		}
	}
}

// send types text. It does not wait until the text is on its way: see flush.
func (c *Console) send(ctx context.Context, text string) error {
	return c.put(ctx, keys{text: text})
}

// flush waits until all that was typed is on its way.
func (c *Console) flush(ctx context.Context) error {
	written := make(chan struct{})
	if err := c.put(ctx, keys{written: written}); err != nil {
		return err
	}
	select {
	case <-written:
		return nil
	case <-c.ended:
		return c.lost()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Console) put(ctx context.Context, k keys) error {
	select {
	case c.out <- k:
		return nil
	case <-c.ended:
		return c.lost()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mark is the place after all that was said until now.
func (c *Console) mark() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.screen.end()
}

// places gives that after all that was said until now, and that at which the guest
// asked last where the cursor is.
func (c *Console) places() (end, asked int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.screen.end(), c.screen.asked
}

// look gives what was said since a mark, and the mark after it; whole is false if
// the beginning of it is not kept any more.
func (c *Console) look(since int64) (text string, end int64, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, whole = c.screen.since(since)
	return text, c.screen.end(), whole
}

// await calls done whenever the guest said something, and at once, until it is
// true; then ok is true. ok is false if the guest said nothing for a time of
// patience, where that is not zero.
func (c *Console) await(ctx context.Context, patience time.Duration, done func() bool) (ok bool, err error) {
	for {
		c.mu.Lock()
		grown := c.grown
		c.mu.Unlock()
		if done() {
			return true, nil
		}
		var silence <-chan time.Time
		if patience > 0 {
			silence = time.After(patience)
		}
		select {
		case <-grown:
		case <-silence:
			return false, nil
		case <-c.ended:
			// What it said last may be what was waited for.
			if done() {
				return true, nil
			}
			return false, c.lost()
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
		if ctx.Err() != nil { // a guest that never stops talking
			return false, context.Cause(ctx)
		}
	}
}

func (c *Console) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("the console closed: %w", c.cause)
}

// take waits for the turn to talk.
func (c *Console) take(ctx context.Context) (giveBack func(), err error) {
	select {
	case c.turn <- struct{}{}:
		return func() { <-c.turn }, nil
	case <-ctx.Done():
		return nil, c.explain(ctx, "waited for the console", context.Cause(ctx))
	}
}

// Unreached is an error of a guest that did not come to what was wanted of it.
type Unreached struct {
	What string // that it did not do, and why, without the end of its console

	err *hostapi.Error // the whole
}

func (u *Unreached) Error() string { return u.err.Error() }
func (u *Unreached) Unwrap() error { return u.err }

// explain says what was not reached, and what the console showed last.
func (c *Console) explain(ctx context.Context, act string, cause error) error {
	e := &hostapi.Error{Kind: hostapi.KindInternal}
	u := &Unreached{fmt.Sprintf("%s (%v)", act, cause), e}
	if ctx.Err() != nil && context.Cause(ctx) != context.DeadlineExceeded {
		e.Kind = hostapi.KindCanceled
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.FieldsFunc(c.tail(600), func(r rune) bool { return r == '\n' })
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	if len(lines) == 0 {
		e.Message = u.What + "; its console said nothing"
		e.Hint = "the guest's kernel and getty must use the serial console: console=ttyS0"
		return u
	}
	e.Message = fmt.Sprintf("%s; its console ended with: %s", u.What, strings.Join(lines, " | "))
	return u
}
