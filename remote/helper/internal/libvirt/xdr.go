package libvirt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var errShort = errors.New("libvirt's answer is shorter than its content")

// args are those of a call in XDR (RFC 4506): all in multiples of four bytes.
type args []byte

func (a args) uint32(v uint32) args { return binary.BigEndian.AppendUint32(a, v) }

func (a args) string(s string) args {
	a = append(a.uint32(uint32(len(s))), s...)
	return append(a, make([]byte, padding(len(s)))...)
}

// optional is a string that may be missing: nil.
func (a args) optional(s *string) args {
	if s == nil {
		return a.uint32(0)
	}
	return a.uint32(1).string(*s)
}

func (a args) domain(d Domain) args {
	return append(a.string(d.Name), d.UUID[:]...).uint32(d.ID)
}

func (a args) network(n Network) args { return append(a.string(n.Name), n.UUID[:]...) }

func padding(size int) int { return -size & 3 }

// result is what is left to read of an answer. After an error, all is zero.
type result struct {
	left []byte
	err  error
}

func (r *result) bytes(n int) []byte {
	if r.err == nil && len(r.left) < n {
		r.err = errShort
	}
	if r.err != nil {
		return make([]byte, min(n, 16)) // enough for what has a fixed size
	}
	b := r.left[:n]
	r.left = r.left[n:]
	return b
}

func (r *result) uint32() uint32 { return binary.BigEndian.Uint32(r.bytes(4)) }
func (r *result) uint64() uint64 { return binary.BigEndian.Uint64(r.bytes(8)) }

func (r *result) string() string {
	size := r.uint32()
	if uint64(size) > uint64(len(r.left)) {
		r.err = errors.Join(r.err, errShort)
	}
	if r.err != nil {
		return ""
	}
	s := string(r.bytes(int(size)))
	r.bytes(padding(int(size)))
	return s
}

func (r *result) domain() (d Domain) {
	d.Name = r.string()
	copy(d.UUID[:], r.bytes(len(d.UUID)))
	d.ID = r.uint32()
	return d
}

func (r *result) network() (n Network) {
	n.Name = r.string()
	copy(n.UUID[:], r.bytes(len(n.UUID)))
	return n
}

// list reads as many things as the answer says that there are.
func list[T any](r *result, one func(*result) T) []T {
	var all []T
	for n := r.uint32(); n > 0 && r.err == nil; n-- {
		all = append(all, one(r))
	}
	return all
}

// failure reads libvirt's error: a code, a domain of code, a message that may be
// missing, and particulars.
func (r *result) failure() error {
	code := ErrorNumber(r.uint32())
	r.uint32()
	message := fmt.Sprintf("error %d", code)
	if r.uint32() != 0 {
		message = r.string()
	}
	if r.err != nil {
		return r.err
	}
	return Error{Code: code, Message: message}
}
