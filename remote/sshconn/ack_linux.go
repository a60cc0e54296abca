package sshconn

import (
	"net"

	"golang.org/x/sys/unix"
)

// acknowledge sends the acknowledgement of what was received now rather than 40
// ms later. After authentication sshd sends its host keys and then the answer to
// the first channel, two small packets, and by Nagle's algorithm the second waits
// for the acknowledgement of the first: without this every connection costs that
// delay. The kernel forgets the wish, so it is told after each read (tcp(7),
// TCP_QUICKACK). It is a matter of speed only: errors do not matter.
func acknowledge(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	})
}
