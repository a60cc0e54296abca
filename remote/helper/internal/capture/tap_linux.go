package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/packetsock"
	"vxorch/remote/hostapi"
)

// tap is the packet socket of one point.
type tap struct {
	capture *Capture
	number  int
	file    *os.File
	mu      sync.Mutex // guards the receiving
}

// prepare makes fd copy what program wants of a link.
func prepare(fd, link int, program []hostapi.FilterOp) error {
	if len(program) > 0 {
		filter := make([]bpf.RawInstruction, len(program))
		for i, p := range program {
			filter[i] = bpf.RawInstruction{Op: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.Data}
		}
		if err := packetsock.Attach(fd, filter); err != nil {
			return err
		}
	}
	// The time at which the kernel had the packet, not that of our reading it.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ask for times: %w", err)
	}
	// A burst is not to be lost. Best effort: only root may.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	return packetsock.Bind(fd, link, unix.ETH_P_ALL)
}

// copy copies packets until the socket is closed or no more are wanted.
func (t *tap) copy() {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return
	}
	buffer := make([]byte, t.capture.limits.Snaplen)
	control := make([]byte, 256)
	for {
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			failed = t.receive(int(fd), buffer, control)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil || failed != nil && !passing(failed) {
			return // closed, or the link is gone, or no more is wanted
		}
	}
}

// sweep copies what the socket holds already: on a busy machine nobody may have come
// to that yet.
func (t *tap) sweep() {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return
	}
	buffer := make([]byte, t.capture.limits.Snaplen)
	control := make([]byte, 256)
	_ = raw.Control(func(fd uintptr) { // Read would wait for copy
		for range mostSwept {
			if err := t.receive(int(fd), buffer, control); err != nil && !passing(err) {
				return
			}
		}
	})
}

// mostSwept bounds what a link brings faster than it can be copied, in packets.
const mostSwept = 4096

// passing tells of an error after which more comes: the link is down, which is said
// once, or a signal.
func passing(err error) bool { return errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EINTR) }

// errEnough is of a packet that nobody wants any more.
var errEnough = errors.New("enough packets")

// receive copies one packet from the socket. Packets are kept in the order in which
// they come.
func (t *tap) receive(fd int, buffer, control []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	// MSG_TRUNC: the length of the frame, of which there may be less.
	n, controls, _, from, err := unix.Recvmsg(fd, buffer, control, unix.MSG_TRUNC)
	if err != nil {
		return err
	}
	link, ok := from.(*unix.SockaddrLinklayer)
	if !ok {
		return nil
	}
	p := hostapi.Packet{
		Point: t.number, Time: timeOf(control[:controls]), Outgoing: link.Pkttype == unix.PACKET_OUTGOING,
		Length: n, Data: append([]byte(nil), buffer[:min(n, len(buffer))]...),
	}
	if !t.capture.add(p) {
		return errEnough
	}
	return nil
}

// timeOf is the kernel's time of a packet.
func timeOf(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err == nil {
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:]))).UTC()
			}
		}
	}
	return time.Now().UTC() // no kernel is known that does not say it
}

// dropped is how many packets the kernel had no room for since it was asked last.
func (t *tap) dropped() (n int64) {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			n = int64(s.Drops)
		}
	})
	return n
}
