// Package pcapng writes packets of several points into one file for Wireshark and
// its like: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng. Of what the
// format has it writes what a merged capture needs: sections, interfaces with
// names and comments, and packets with the direction that they had.
package pcapng

import (
	"encoding/binary"
	"io"
	"time"
)

// Interface is a point that packets were seen at.
type Interface struct {
	Name, Description, Comment string
	Snaplen                    int // bytes; 0: no limit
}

// Packet is one packet at an interface.
type Packet struct {
	Interface int // its place
	Time      time.Time
	Outgoing  bool // else it came in
	Length    int  // bytes that it had; of them Data has the first
	Data      []byte
}

// Blocks and options (draft §4).
const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 6
	byteOrder      = 0x1A2B3C4D
	linkEthernet   = 1

	optionEnd         = 0
	optionComment     = 1
	optionName        = 2 // if_name
	optionDescription = 3 // if_description
	optionResolution  = 9 // if_tsresol
	optionApplication = 4 // shb_userappl
	optionFlags       = 2 // epb_flags

	nanoseconds = 9
	inbound     = 1
	outbound    = 2
)

// Writer writes one section.
type Writer struct{ w io.Writer }

// NewWriter begins a file with those interfaces.
func NewWriter(w io.Writer, application string, interfaces []Interface) (*Writer, error) {
	out := &Writer{w}
	body := binary.LittleEndian.AppendUint32(nil, byteOrder)
	body = binary.LittleEndian.AppendUint16(body, 1)       // major version
	body = binary.LittleEndian.AppendUint16(body, 0)       // minor
	body = binary.LittleEndian.AppendUint64(body, 1<<64-1) // length of the section: not known
	body = text(body, optionApplication, application)
	all := block(nil, blockSection, end(body))
	for _, i := range interfaces {
		body := binary.LittleEndian.AppendUint32(nil, linkEthernet) // 16 bits, and 16 that are reserved
		body = binary.LittleEndian.AppendUint32(body, uint32(i.Snaplen))
		body = text(text(text(body, optionName, i.Name), optionDescription, i.Description), optionComment, i.Comment)
		body = option(body, optionResolution, []byte{nanoseconds})
		all = block(all, blockInterface, end(body))
	}
	_, err := w.Write(all)
	return out, err
}

// Write writes packets, in one call of the writer's.
func (w *Writer) Write(packets []Packet) error {
	var all []byte
	for _, p := range packets {
		at := uint64(p.Time.UnixNano())
		body := binary.LittleEndian.AppendUint32(nil, uint32(p.Interface))
		body = binary.LittleEndian.AppendUint32(body, uint32(at>>32))
		body = binary.LittleEndian.AppendUint32(body, uint32(at))
		body = binary.LittleEndian.AppendUint32(body, uint32(len(p.Data)))
		body = binary.LittleEndian.AppendUint32(body, uint32(p.Length))
		body = padded(append(body, p.Data...))
		way := uint32(inbound)
		if p.Outgoing {
			way = outbound
		}
		body = option(body, optionFlags, binary.LittleEndian.AppendUint32(nil, way))
		all = block(all, blockPacket, end(body))
	}
	_, err := w.w.Write(all)
	return err
}

// block appends a block with that body to b.
func block(b []byte, kind uint32, body []byte) []byte {
	size := uint32(len(body) + 12)
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = binary.LittleEndian.AppendUint32(b, size)
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, size)
}

func option(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return padded(append(b, value...))
}

// text appends an option that may be left out.
func text(b []byte, code uint16, value string) []byte {
	if value == "" {
		return b
	}
	return option(b, code, []byte(value[:min(len(value), 1<<16-1)]))
}

func end(b []byte) []byte { return option(b, optionEnd, nil) }

// padded fills b up to 32 bits. What it is appended to is aligned itself.
func padded(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
