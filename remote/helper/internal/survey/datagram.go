package survey

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"vxorch/remote/hostapi"
)

// Sizes of headers, in bytes.
const (
	sizeIPv4  = 20
	sizeIPv6  = 40
	sizeUDP   = 8
	sizeVXLAN = 8
	sizeEther = 14

	sizeToken = 8
	sizeBody  = sizeToken + 4 // the token and the datagram's number
)

// etherLocal is IEEE 802's local experimental type: whoever unpacks the frame
// knows that it is nothing for him.
const etherLocal = 0x88b5

// parseToken gives a try's token as it stands in its datagrams.
func parseToken(text string) ([]byte, error) {
	token, err := hex.DecodeString(text)
	if err != nil || len(token) != sizeToken {
		return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("a token is %d bytes in hexadecimal, not %q", sizeToken, text)}
	}
	return token, nil
}

// payload is what a datagram carries after its UDP header, filled up to a whole
// packet of d.Size behind headers of that many bytes.
//
// The VXLAN header names VNI 0, which no lab has, and the frame in it is from
// nobody to nobody: a tunnel end that has the port throws it away.
func payload(token []byte, d hostapi.Datagram, headers int) ([]byte, error) {
	var p []byte
	if !d.Plain {
		p = append(p, 0x08, 0, 0, 0, 0, 0, 0, 0) // RFC 7348 §5
		p = append(p, 0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2)
		p = binary.BigEndian.AppendUint16(p, etherLocal)
	}
	p = append(p, token...)
	p = binary.BigEndian.AppendUint32(p, d.ID)
	room := d.Size - headers - sizeUDP
	switch {
	case d.Size == 0:
		return p, nil
	case room < len(p) || d.Size > 1<<16-1:
		return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("a datagram of %d bytes", d.Size)}
	}
	return append(p, make([]byte, room-len(p))...), nil
}

// datagramNumber finds the datagram's number in a UDP packet that begins with its UDP
// header.
func datagramNumber(token, udp []byte) (id uint32, ok bool) {
	for _, at := range []int{sizeUDP, sizeUDP + sizeVXLAN + sizeEther} {
		if len(udp) >= at+sizeBody && string(udp[at:at+sizeToken]) == string(token) {
			return binary.BigEndian.Uint32(udp[at+sizeToken:]), true
		}
	}
	return 0, false
}
