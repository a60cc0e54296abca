//go:build !linux

package sandbox

import (
	"context"
	"io"
	"net"

	"vxorch/remote/hostapi"
)

var errUnsupported = &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "a sandbox needs Linux"}

// InitIfAsked needs Linux; elsewhere it just returns.
func InitIfAsked() {}

// Up needs Linux.
func Up(ctx context.Context, o Options) (*Sandbox, error) { return nil, errUnsupported }

// Open needs Linux.
func Open(state, name string) (*Sandbox, error) { return nil, errUnsupported }

// Sweep needs Linux.
func Sweep(ctx context.Context, state string) error { return errUnsupported }

// Down needs Linux.
func (s *Sandbox) Down(ctx context.Context) error { return errUnsupported }

// Stop needs Linux.
func (s *Sandbox) Stop(ctx context.Context, host string) error { return errUnsupported }

// Reboot needs Linux.
func (s *Sandbox) Reboot(ctx context.Context, host string) error { return errUnsupported }

// Status needs Linux.
func (s *Sandbox) Status() (Status, error) { return Status{}, errUnsupported }

// Exec needs Linux.
func (s *Sandbox) Exec(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	return 0, errUnsupported
}

// HostExec needs Linux.
func (s *Sandbox) HostExec(ctx context.Context, host string, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	return 0, errUnsupported
}

// Dial needs Linux.
func (s *Sandbox) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return nil, errUnsupported
}
