package virt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/digitalocean/go-libvirt"

	"vxorch/remote/hostapi"
)

// hangUpLimit is how long libvirt's daemon has to end a console in good order.
const hangUpLimit = 2 * time.Second

// Console opens the serial console of lab's domain of that name, or of any lab's
// if lab is empty; it ends with ctx. Nobody is driven away from it: if another
// client holds it, it ends at once, with ErrBusy. Close it.
func (h *Host) Console(ctx context.Context, lab, name string) (*Terminal, error) {
	c, err := h.dial(ctx)
	if err != nil {
		return nil, err
	}
	d, err := c.running(lab, name, h.store)
	if err != nil {
		c.close()
		return nil, err
	}
	t := &Terminal{conn: c, ended: make(chan struct{})}
	var keys *io.PipeReader
	var screen *io.PipeWriter
	keys, t.keys = io.Pipe()
	t.screen, screen = io.Pipe()
	go func() {
		err := c.DomainOpenConsoleBidirectional(d.handle, nil, keys, screen, uint32(libvirt.DomainConsoleSafe))
		switch {
		case errBusyConsole(err):
			err = &hostapi.Error{
				Kind: hostapi.KindBusy, Message: fmt.Sprintf("another client holds the console of domain %s", name),
				Hint: "end that session (virsh console, virt-manager), then run the same again",
			}
		case err != nil:
			err = fmt.Errorf("console of domain %s: %w", name, c.classify(err))
		}
		t.cause = err
		close(t.ended) // before anybody can see the end: Cause is asked then
		_ = screen.CloseWithError(err)
		_ = keys.CloseWithError(err)
	}()
	return t, nil
}

// Terminal is the near end of a console, with a connection of its own: libvirt's
// library handles nothing else on it while nobody reads.
type Terminal struct {
	conn   *conn
	keys   *io.PipeWriter
	screen *io.PipeReader
	ended  chan struct{}
	cause  error // after ended
}

// Cause is why the console ended by itself, nil if it did not.
func (t *Terminal) Cause() error {
	select {
	case <-t.ended:
		return t.cause
	default:
		return nil
	}
}

// Ended tells whether the console ended by itself, with a cause or without.
func (t *Terminal) Ended() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}

// Read gives what the guest says.
func (t *Terminal) Read(p []byte) (int, error) { return t.screen.Read(p) }

// Write types.
func (t *Terminal) Write(p []byte) (int, error) { return t.keys.Write(p) }

// Close hangs up and waits for the daemon to let go of the console, so that the
// next to come finds it free. It does not wait for ever: libvirt's library does,
// with its connection, if the daemon has one more word to say of a stream that has
// ended just then.
func (t *Terminal) Close() error {
	_ = t.keys.Close()
	hungUp := make(chan struct{})
	hangUp := time.AfterFunc(hangUpLimit, func() {
		_ = t.screen.Close()
		t.conn.close()
		close(hungUp)
	})
	defer hangUp.Stop()
	_, _ = io.Copy(io.Discard, t.screen) // what the guest still prints would hold the end up
	select {
	case <-t.ended:
		t.conn.close()
	case <-hungUp:
	}
	return nil
}

// ConsoleLog gives the end of what lab's domain of that name has printed on its
// serial console since it started, at most limit bytes; empty if nothing is
// known.
func (h *Host) ConsoleLog(lab, name string, limit int64) string {
	if checkName(name) != nil {
		return ""
	}
	file, err := os.Open(h.store.log(lab, name))
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > limit {
		if _, err := file.Seek(-limit, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, _ := io.ReadAll(io.LimitReader(file, limit))
	return string(text)
}

// errBusyConsole is what libvirt says of a console that another client holds.
func errBusyConsole(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) && strings.Contains(e.Message, "Active console session exists")
}
