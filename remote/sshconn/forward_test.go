package sshconn_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/sshdtest"
	"vxorch/remote/sshconn"
)

// through dials through bastion.
func through(bastion *sshconn.Conn) sshconn.Options {
	return sshconn.Options{Dialer: func(ctx context.Context, _, address string) (net.Conn, error) {
		return bastion.Forward(ctx, address)
	}}
}

func TestConnectionThroughAnother(t *testing.T) {
	bastion := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), sshconn.Options{})
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), through(bastion))
	session, err := conn.Start(t.Context(), "exit 0")
	if err == nil {
		err = session.Wait()
	}
	if err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// A channel of an SSH connection knows no deadlines.
func TestSilentServerBehindAnotherIsLeft(t *testing.T) {
	bastion := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), sshconn.Options{})
	silent := peer(t, func(_ int, conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1<<10))
		_, _ = conn.Read(make([]byte, 1))
		conn.Close()
	})
	opts := through(bastion)
	opts.Home, opts.HandshakeTimeout = t.TempDir(), 50*time.Millisecond
	refused(t, silent, opts, hostapi.ErrUnreachable, "no SSH handshake within 50ms")
}

// Nothing that is done through a bastion that is gone waits for it.
func TestCloseThroughABastionThatIsGone(t *testing.T) {
	var hole sshdtest.BlackHole
	bastion := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), sshconn.Options{Dialer: hole.Dial, KeepaliveInterval: time.Hour})
	conn := dial(t, target(sshdtest.Start(t, sshdtest.Config{})), through(bastion))
	hole.Open()
	ended := make(chan error, 1)
	go func() { ended <- conn.Close() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Close = %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Close waits for a bastion that is gone")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := bastion.Forward(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(1))); !errors.Is(err, hostapi.ErrCanceled) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("Forward = %v, want ErrCanceled", err)
	}
}
