package libvirt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// ErrInterrupted is the error of calls whose connection ended.
var ErrInterrupted = errors.New("the connection to libvirt ended")

const (
	program         = 0x20008086 // REMOTE_PROGRAM
	protocolVersion = 1

	packetHead = 28       // bytes: the length and six numbers
	maxPacket  = 32 << 20 // bytes: VIR_NET_MESSAGE_MAX

	// streamChunk is what a stream's packet carries at most, in bytes. Consoles
	// are typed on; any daemon takes 256 KiB.
	streamChunk = 32 << 10
)

// Types of packets, and their status.
const (
	typeCall   = 0
	typeReply  = 1
	typeStream = 3

	statusOK       = 0 // of a stream: it is over
	statusError    = 1
	statusContinue = 2 // of a stream: here is some, or, when empty, no more will come
)

// Conn is a connection to a daemon. Safe for concurrent use; but while nobody
// reads a stream, nothing else on its connection is answered.
type Conn struct {
	raw     net.Conn
	sending sync.Mutex

	mu      sync.Mutex
	serial  uint32
	waiting map[uint32]*waiter // by serial
	ended   bool
}

// waiter gets the packets of its serial, until it has gone or they end.
type waiter struct {
	serial  uint32
	packets chan packet
	gone    chan struct{}
}

type packet struct {
	procedure, kind, serial, status uint32
	body                            []byte
}

// New talks to the daemon at the other end of raw, which remains the caller's:
// closing it ends every call with ErrInterrupted.
func New(raw net.Conn) *Conn {
	c := &Conn{raw: raw, waiting: map[uint32]*waiter{}}
	go c.read()
	return c
}

// call sends one call and waits for its answer.
func (c *Conn) call(procedure uint32, a args) (result, error) {
	w, err := c.begin()
	if err != nil {
		return result{}, err
	}
	defer c.leave(w)
	return c.ask(w, procedure, a)
}

func (c *Conn) ask(w *waiter, procedure uint32, a args) (result, error) {
	if err := c.send(packet{procedure, typeCall, w.serial, statusOK, a}); err != nil {
		return result{}, err
	}
	p, ok := <-w.packets
	switch r := (result{left: p.body}); {
	case !ok:
		return result{}, ErrInterrupted
	case p.kind != typeReply:
		return result{}, fmt.Errorf("libvirt answered procedure %d by a packet of type %d", procedure, p.kind)
	case p.status != statusOK:
		return result{}, r.failure()
	default:
		return r, nil
	}
}

// stream makes a call that opens a stream, and then copies what comes to in and
// what out gives to the daemon, until either end is done with it. When out ends,
// the daemon is asked to end the stream in good order. It returns when no more
// will come, and leaves a goroutine behind until a Read of out returns.
func (c *Conn) stream(procedure uint32, a args, out io.Reader, in io.Writer) error {
	w, err := c.begin()
	if err != nil {
		return err
	}
	defer c.leave(w)
	if _, err := c.ask(w, procedure, a); err != nil {
		return err
	}
	go c.feed(w, procedure, out)
	for p := range w.packets {
		switch {
		case p.status == statusError:
			r := result{left: p.body}
			return r.failure()
		case p.status == statusOK, len(p.body) == 0:
			return nil
		}
		if _, err := in.Write(p.body); err != nil {
			return err
		}
	}
	return ErrInterrupted
}

// feed sends what out gives. A failure to send ends the connection, which is
// found out by who waits for packets.
func (c *Conn) feed(w *waiter, procedure uint32, out io.Reader) {
	buf := make([]byte, streamChunk)
	for {
		n, err := out.Read(buf)
		select {
		case <-w.gone:
			return // the daemon has ended it, and knows its serial no more
		default:
		}
		if n > 0 && c.send(packet{procedure, typeStream, w.serial, statusContinue, buf[:n]}) != nil {
			return
		}
		if err != nil {
			_ = c.send(packet{procedure, typeStream, w.serial, statusOK, nil})
			return
		}
	}
}

func (c *Conn) begin() (*waiter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, ErrInterrupted
	}
	c.serial++
	w := &waiter{serial: c.serial, packets: make(chan packet), gone: make(chan struct{})}
	c.waiting[w.serial] = w
	return w, nil
}

func (c *Conn) leave(w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, w.serial)
	close(w.gone)
}

func (c *Conn) send(p packet) error {
	b := make([]byte, 0, packetHead+len(p.body))
	for _, v := range []uint32{uint32(packetHead + len(p.body)), program, protocolVersion, p.procedure, p.kind, p.serial, p.status} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	_, err := c.raw.Write(append(b, p.body...))
	return err
}

// read hands out packets until the connection ends or says nonsense. What nobody
// waits for is passed over.
func (c *Conn) read() {
	defer c.end()
	r := bufio.NewReader(c.raw)
	for {
		p, err := readPacket(r)
		if err != nil {
			return
		}
		c.mu.Lock()
		w := c.waiting[p.serial]
		c.mu.Unlock()
		if w == nil || p.kind != typeReply && p.kind != typeStream {
			continue
		}
		select {
		case w.packets <- p:
		case <-w.gone:
		}
	}
}

func (c *Conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, w := range c.waiting {
		close(w.packets) // only read sends on it, and has ended
	}
}

func readPacket(r io.Reader) (packet, error) {
	var head [packetHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return packet{}, err
	}
	number := func(n int) uint32 { return binary.BigEndian.Uint32(head[4*n:]) }
	size := number(0)
	if size < packetHead || size > maxPacket {
		return packet{}, fmt.Errorf("packet of %d bytes", size)
	}
	p := packet{procedure: number(3), kind: number(4), serial: number(5), status: number(6)}
	if number(1) != program {
		p.kind = ^uint32(0) // of another program, such as keepalives: nobody's
	}
	p.body = make([]byte, size-packetHead)
	_, err := io.ReadFull(r, p.body)
	return p, err
}
