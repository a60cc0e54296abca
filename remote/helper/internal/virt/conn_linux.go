package virt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"

	"vxorch/remote/hostapi"
)

const (
	dialTimeout = 5 * time.Second
	hintPrepare = "`vxorch prepare` installs and starts what is missing"
	// hintBusy: seen of libvirt 9.0, killed between its note of a domain that starts
	// and the domain's process. No daemon after it lets go of that domain.
	hintBusy = "run the same again; if that does not help, libvirt's daemon died while it started the domain: stop the daemon, remove the domain's .xml from /run/libvirt/qemu, and start the daemon"
)

// conn is one connection to libvirt's daemon for one purpose, and ends with the
// context that it was made for: every call on it is bounded by that.
type conn struct {
	*libvirt.Libvirt
	ctx  context.Context
	raw  net.Conn
	stop func() bool
}

// dial connects to the first daemon that takes the connection: a socket's file
// may well be there without one.
func (h *Host) dial(ctx context.Context) (*conn, error) {
	var errs []error
	for _, path := range h.sockets {
		dialer := net.Dialer{Timeout: dialTimeout}
		raw, err := dialer.DialUnix(ctx, "unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c := &conn{Libvirt: libvirt.NewWithDialer(dialers.NewAlreadyConnected(raw)), ctx: ctx, raw: raw}
		c.stop = context.AfterFunc(ctx, func() { _ = raw.Close() })
		if err := c.ConnectToURI(libvirt.QEMUSystem); err != nil {
			refused := errors.As(err, new(libvirt.Error))
			err = c.classify(err)
			c.close()
			if refused && ctx.Err() == nil {
				err = &hostapi.Error{Kind: hostapi.KindUnsupported, Message: fmt.Sprintf("libvirt at %s has no QEMU: %v", path, err), Hint: hintPrepare}
			}
			return nil, err
		}
		return c, nil
	}
	if ctx.Err() != nil {
		return nil, canceled(ctx)
	}
	e := &hostapi.Error{Kind: hostapi.KindUnsupported, Message: fmt.Sprintf("no libvirt answers: %v", errors.Join(errs...)), Hint: hintPrepare}
	for _, err := range errs {
		if errors.Is(err, fs.ErrPermission) {
			e.Kind, e.Hint = hostapi.KindPermission, "log in as root, or as a user who may use sudo"
		}
	}
	return nil, e
}

// close ends the connection. It does not ask the daemon, which may hang.
func (c *conn) close() {
	c.stop()
	_ = c.raw.Close()
}

// classify gives err, of a call on c, a kind where it has one.
func (c *conn) classify(err error) error {
	var e libvirt.Error
	switch {
	case err == nil:
		return nil
	case c.ctx.Err() != nil && errors.Is(context.Cause(c.ctx), context.DeadlineExceeded):
		return &hostapi.Error{
			Kind: hostapi.KindInternal, Message: "libvirt gave no answer in time",
			Hint: "look whether its daemon hangs: `virsh list --all` on the host",
		}
	case c.ctx.Err() != nil:
		return canceled(c.ctx)
	case errors.As(err, &e):
		told := &hostapi.Error{Kind: kindOf(libvirt.ErrorNumber(e.Code)), Message: "libvirt: " + e.Message}
		if libvirt.ErrorNumber(e.Code) == libvirt.ErrOperationTimeout {
			told.Hint = hintBusy
		}
		return told
	case errors.Is(err, libvirt.ErrInterrupted), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return &hostapi.Error{
			Kind: hostapi.KindInternal, Message: "libvirt's daemon ended the connection",
			Hint: "if it was restarted, run the same again; else its log tells: `journalctl -u libvirtd -u virtqemud`",
		}
	}
	return err
}

func canceled(ctx context.Context) error {
	return &hostapi.Error{Kind: hostapi.KindCanceled, Message: context.Cause(ctx).Error()}
}

func kindOf(code libvirt.ErrorNumber) hostapi.Kind {
	switch code {
	case libvirt.ErrNoSupport, libvirt.ErrConfigUnsupported, libvirt.ErrNoConnect, libvirt.ErrOperationUnsupported:
		return hostapi.KindUnsupported
	case libvirt.ErrOperationDenied, libvirt.ErrAuthFailed, libvirt.ErrAccessDenied:
		return hostapi.KindPermission
	}
	return hostapi.KindInternal
}

// is reports whether err is libvirt's error of that number.
func is(err error, code libvirt.ErrorNumber) bool {
	var e libvirt.Error
	return errors.As(err, &e) && libvirt.ErrorNumber(e.Code) == code
}

// version is libvirt's.
func (c *conn) version() (string, error) {
	v, err := c.ConnectGetLibVersion()
	if err != nil {
		return "", fmt.Errorf("read libvirt's version: %w", c.classify(err))
	}
	return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1000%1000, v%1000), nil
}

// libvirt's names for how a guest's instructions are run.
const (
	typeKVM = "kvm"
	typeTCG = "qemu"
)

// virtType chooses how guests run: on KVM where a vCPU really runs and libvirt
// can use it, else by TCG. The error is ErrUnsupported if there is no emulator.
func (h *Host) virtType(c *conn) (kind string, caps capabilities, err error) {
	if h.vcpu() {
		if caps, err := c.capabilities(typeKVM); err == nil {
			return typeKVM, caps, nil
		}
	}
	caps, err = c.emulator(typeTCG)
	return typeTCG, caps, err
}

// emulator is capabilities, whose lack is ErrUnsupported.
func (c *conn) emulator(kind string) (caps capabilities, err error) {
	caps, err = c.capabilities(kind)
	if err != nil && c.ctx.Err() == nil {
		err = &hostapi.Error{Kind: hostapi.KindUnsupported, Message: fmt.Sprintf("no QEMU for this machine: %v", err), Hint: hintPrepare}
	}
	return caps, err
}

// capabilities is what libvirt says of its emulator for this machine.
type capabilities struct {
	RNG struct {
		Supported string `xml:"supported,attr"`
	} `xml:"devices>rng"` // absent before libvirt 6.9
}

func (c *conn) capabilities(kind string) (caps capabilities, err error) {
	text, err := c.ConnectGetDomainCapabilities(nil, nil, nil, libvirt.OptString{kind}, 0)
	if err == nil {
		err = xml.Unmarshal([]byte(text), &caps)
	}
	if err != nil {
		return caps, fmt.Errorf("read what the emulator can do: %w", c.classify(err))
	}
	return caps, nil
}
