package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
	"vxorch/remote/wire"
)

// serve answers for this machine until stdin ends, ctx ends or the lease runs
// out.
func serve(ctx context.Context, o options, stdin io.ReadCloser, stdout io.WriteCloser) error {
	// It is started in its cache's directory and is not to hold on to that.
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if file, ok := stdout.(*os.File); ok && file.Fd() == 1 {
		kept, err := keepStdout()
		if err != nil {
			return err
		}
		stdout = kept
	}
	host, err := open(o.lease)
	if err != nil {
		return err
	}
	host.source = o.source
	if err := hostapi.Greet(stdout, o.token, "ready "+version()); err != nil {
		return errors.Join(fmt.Errorf("greet: %w", err), host.Close())
	}
	go keepHelpers(o.source) // while the controller makes up its mind
	in := newPunctual(stdin, o.lease)
	defer in.timer.Stop()
	return wire.Serve(ctx, stream{&hearing{ReadCloser: in, heard: host.heard, every: o.lease / 20}, stdout}, host, wire.ServeOptions{Lease: o.lease})
}

// stream is the two ends of the protocol as one.
type stream struct {
	io.ReadCloser
	out io.WriteCloser
}

func (s stream) Write(p []byte) (int, error) { return s.out.Write(p) }

func (s stream) Close() error { return errors.Join(s.out.Close(), s.ReadCloser.Close()) }

// hearing is the way in; it tells that something came, at most once every so
// often: an image is a thousand reads a second.
type hearing struct {
	io.ReadCloser
	heard func()
	every time.Duration
	last  time.Time // of telling
}

func (h *hearing) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	if now := time.Now(); n > 0 && now.Sub(h.last) >= h.every {
		h.last = now
		h.heard()
	}
	return n, err
}

// keepStdout gives the process's standard output as a file of its own that no
// child inherits, and points descriptor 1 at standard error: nothing that prints
// without being asked can corrupt the protocol.
func keepStdout() (*os.File, error) {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("keep stdout: %w", err)
	}
	if err := unix.Dup3(2, 1, 0); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("point stdout at stderr: %w", err)
	}
	return os.NewFile(uintptr(fd), "stdout"), nil
}
