package libvirt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// What a real daemon makes of this is tested with package virt; here is what one
// does not do on request.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is the other end of a Conn, driven by hand. Its sender is a Conn that
// reads nothing.
type daemon struct {
	raw  net.Conn
	send func(packet) error
}

func dial(t *testing.T) (*Conn, daemon) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return New(near), daemon{far, (&Conn{raw: far}).send}
}

func reply(p packet, status uint32, body args) packet {
	return packet{p.procedure, typeReply, p.serial, status, body}
}

func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

func TestCallAsOnTheWire(t *testing.T) {
	c, d := dial(t)
	uuid := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	asked := make(chan string, 1)
	go func() {
		var b [packetHead + 8]byte
		_, _ = io.ReadFull(d.raw, b[:])
		asked <- string(b[:])
		answer := args(nil).string("vm1")
		answer = append(answer, uuid[:]...).uint32(5)
		_ = d.send(packet{23, typeReply, 1, statusOK, answer})
	}()
	got, err := c.DomainLookupByName("vm1")
	if want := (Domain{"vm1", uuid, 5}); got != want || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	want := "\x00\x00\x00\x24\x20\x00\x80\x86\x00\x00\x00\x01\x00\x00\x00\x17\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00" +
		"\x00\x00\x00\x03vm1\x00"
	if d := cmp.Diff(want, within(t, asked)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestFailuresOfACall(t *testing.T) {
	tooMany := args(nil).uint32(0xffffffff).string("vm1")
	tooLong := args(nil).uint32(0xfffffffe)
	failed := args(nil).uint32(uint32(ErrNoDomain)).uint32(10)
	message := "no domain"
	for name, tc := range map[string]struct {
		status uint32
		body   args
		want   error
	}{
		"libvirt's error":         {statusError, failed.optional(&message).uint32(2), Error{ErrNoDomain, message}},
		"an error without a text": {statusError, failed.optional(nil), Error{ErrNoDomain, "error 42"}},
		"half an error":           {statusError, failed, errShort},
		"nothing":                 {statusOK, nil, errShort},
		"more than there is":      {statusOK, tooMany, errShort},
		"a length out of range":   {statusOK, args(nil).uint32(1).uint32(0xfffffffe), errShort},
		"a list cut short":        {statusOK, append(args(nil).uint32(1), tooLong...), errShort},
	} {
		t.Run(name, func(t *testing.T) {
			c, d := dial(t)
			go func() {
				p, _ := readPacket(d.raw)
				_ = d.send(reply(p, tc.status, tc.body))
			}()
			got, err := c.ConnectListAllDomains()
			if !errors.Is(err, tc.want) || got != nil {
				t.Errorf("got %v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestNonsenseEndsTheConnection(t *testing.T) {
	for name, nonsense := range map[string]string{
		"nothing":         "",
		"a short packet":  strings.Repeat("\x00", packetHead-1) + "\x1b",
		"length 0":        strings.Repeat("\x00", packetHead),
		"length 4 GiB":    strings.Repeat("\xff", packetHead),
		"half a packet":   "\x00\x00\x00\xff",
		"another program": "HTTP/1.1 400 Bad Request\r\n\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, d := dial(t)
			go func() {
				_, _ = readPacket(d.raw)
				_, _ = io.WriteString(d.raw, nonsense)
				d.raw.Close()
			}()
			if err := c.DomainResume(Domain{}); !errors.Is(err, ErrInterrupted) {
				t.Errorf("the call under way: %v, want ErrInterrupted", err)
			}
			if err := c.DomainResume(Domain{}); !errors.Is(err, ErrInterrupted) {
				t.Errorf("the next: %v, want ErrInterrupted", err)
			}
		})
	}
}

func TestOnlyItsAnswerEndsACall(t *testing.T) {
	c, d := dial(t)
	go func() {
		p, _ := readPacket(d.raw)
		event := reply(p, statusOK, args(nil).uint64(1))
		event.kind = 2 // a message of the daemon's own accord
		other := reply(p, statusOK, args(nil).uint64(2))
		other.serial += 7
		for _, p := range []packet{event, other, reply(p, statusOK, args(nil).uint64(11_003_000))} {
			_ = d.send(p)
		}
	}()
	if v, err := c.ConnectGetLibVersion(); v != 11_003_000 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
}

func (a args) uint64(v uint64) args { return binary.BigEndian.AppendUint64(a, v) }

// console opens one at d and gives what the daemon read of its opening, and how
// it ends.
func console(t *testing.T, c *Conn, d daemon, out io.Reader, in io.Writer) (packet, <-chan error) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- c.DomainOpenConsole(Domain{Name: "vm1"}, DomainConsoleSafe, out, in) }()
	open, err := readPacket(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.send(reply(open, statusOK, nil)); err != nil {
		t.Fatal(err)
	}
	return open, ended
}

func TestConsoleIsReadAndTypedOn(t *testing.T) {
	c, d := dial(t)
	var screen bytes.Buffer
	open, ended := console(t, c, d, strings.NewReader("root\n"), &screen)
	for _, want := range []packet{
		{201, typeStream, open.serial, statusContinue, []byte("root\n")},
		{201, typeStream, open.serial, statusOK, []byte{}}, // nothing more to type: let go
	} {
		got, err := readPacket(d.raw)
		if d := cmp.Diff(want, got, cmp.AllowUnexported(packet{})); d != "" || err != nil {
			t.Errorf("%v, -want +got:\n%s", err, d)
		}
	}
	for _, p := range []packet{
		{201, typeStream, open.serial, statusContinue, []byte("login: ")},
		{201, typeStream, open.serial, statusContinue, []byte("root\r\n")},
		{201, typeStream, open.serial, statusOK, nil},
	} {
		if err := d.send(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := within(t, ended); err != nil || screen.String() != "login: root\r\n" {
		t.Errorf("ended by %v, read %q", err, screen.String())
	}
}

func TestConsoleEnds(t *testing.T) {
	busy := "Active console session exists for this domain"
	for name, tc := range map[string]struct {
		last packet
		want error
	}{
		"the guest is off":        {packet{kind: typeStream, status: statusContinue}, nil},
		"the daemon ends it":      {packet{kind: typeStream, status: statusError, body: args(nil).uint32(1).uint32(1).optional(&busy)}, Error{1, busy}},
		"the connection is ended": {packet{}, ErrInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			c, d := dial(t)
			keys, typist := io.Pipe()
			defer typist.Close()
			open, ended := console(t, c, d, keys, io.Discard)
			if tc.last.kind == typeStream {
				tc.last.procedure, tc.last.serial = open.procedure, open.serial
				if err := d.send(tc.last); err != nil {
					t.Fatal(err)
				}
			} else {
				d.raw.Close()
			}
			if err := within(t, ended); err != tc.want {
				t.Errorf("ended by %v, want %v", err, tc.want)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(args(nil).uint32(2).domain(Domain{Name: "a"}).domain(Domain{Name: "bc", ID: 7})))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := result{left: in}
		domains := list(&r, (*result).domain)
		if r.err != nil {
			return
		}
		again := args(nil).uint32(uint32(len(domains)))
		for _, d := range domains {
			again = again.domain(d)
		}
		if read := len(in) - len(r.left); len(again) != read {
			t.Errorf("%d bytes were read, which were %d when sent", read, len(again))
		}
		for _, read := range []func(*result){func(r *result) { _ = r.failure() }, func(r *result) { r.network() }, func(r *result) { r.uint64() }} {
			read(&result{left: in}) // whatever comes, it must not panic
		}
	})
}
