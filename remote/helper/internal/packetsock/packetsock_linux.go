package packetsock

import (
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Attach has the socket get only what filter lets through.
func Attach(fd int, filter []bpf.RawInstruction) error {
	code := make([]unix.SockFilter, len(filter))
	for i, op := range filter {
		code[i] = unix.SockFilter{Code: op.Op, Jt: op.Jt, Jf: op.Jf, K: op.K}
	}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
		Len: uint16(len(code)), Filter: unsafe.SliceData(code),
	})
	if err != nil {
		return fmt.Errorf("attach a filter: %w", err)
	}
	return nil
}

// Bind has a packet socket get what passes the link of that index, of a protocol
// of linux/if_ether.h.
func Bind(fd, link int, protocol uint16) error {
	bigEndian := protocol<<8 | protocol>>8 // every machine that the helper is built for is little-endian
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian, Ifindex: link}); err != nil {
		return fmt.Errorf("listen to packets: %w", err)
	}
	return nil
}
