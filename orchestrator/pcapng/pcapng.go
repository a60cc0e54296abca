// Package pcapng writes packets of several points into one file for Wireshark and
// its like: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng. It makes of
// gopacket's writer what a merged capture needs: interfaces with names and
// comments, and packets with the direction that they had.
package pcapng

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
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

// Writer writes one section.
type Writer struct{ w *pcapgo.NgWriter }

// NewWriter begins a file with those interfaces, one at least.
func NewWriter(w io.Writer, application string, interfaces []Interface) (*Writer, error) {
	if len(interfaces) == 0 {
		return nil, errors.New("begin a capture file: no interface")
	}
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: application}}
	file, err := pcapgo.NewNgWriterInterface(w, point(interfaces[0]), options)
	if err != nil {
		return nil, fmt.Errorf("begin a capture file: %w", err)
	}
	for _, i := range interfaces[1:] {
		if _, err := file.AddInterface(point(i)); err != nil {
			return nil, fmt.Errorf("begin a capture file: %w", err)
		}
	}
	return &Writer{file}, file.Flush()
}

func point(i Interface) pcapgo.NgInterface {
	return pcapgo.NgInterface{
		Name: i.Name, Description: i.Description, Comment: i.Comment,
		LinkType: layers.LinkTypeEthernet, SnapLength: uint32(i.Snaplen),
	}
}

// Write writes packets and hands them on to whoever reads the file.
func (w *Writer) Write(packets []Packet) error {
	for _, p := range packets {
		info := gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(p.Data), Length: p.Length, InterfaceIndex: p.Interface}
		way := pcapgo.NgEpbFlagDirectionInbound
		if p.Outgoing {
			way = pcapgo.NgEpbFlagDirectionOutbound
		}
		if err := w.w.WritePacketWithOptions(info, p.Data, pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: way}}); err != nil {
			return err
		}
	}
	return w.w.Flush()
}
