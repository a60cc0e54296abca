package helper

import (
	"io"
	"os"
	"time"
)

// overtime is how much longer than its lease the helper may take to end: more
// than a program that it runs is given between SIGTERM and SIGKILL.
const overtime = 10 * time.Second

// exitOverdue is the exit code of a helper that was overdue.
const exitOverdue = 3

// punctual is the way in of a process that is ended when nothing came for a
// lease and the overtime: a call may ignore that it is to end, or the kernel or
// libvirt not answer it, and what it holds, the lock above all, must not be held
// on to by that. The end of the input is no sign of the controller.
type punctual struct {
	io.ReadCloser
	limit time.Duration
	timer *time.Timer
}

func newPunctual(in io.ReadCloser, lease time.Duration) *punctual {
	limit := lease + overtime
	// To say why could take as long as whatever it waits for.
	return &punctual{in, limit, time.AfterFunc(limit, func() { os.Exit(exitOverdue) })}
}

func (p *punctual) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if n > 0 {
		p.timer.Reset(p.limit)
	}
	return n, err
}
