package dhcp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
)

// The few options (RFC 2132) that are read or sent.
const (
	optionPad         = 0
	optionSubnetMask  = 1
	optionHostname    = 12
	optionMTU         = 26
	optionRequested   = 50
	optionLeaseTime   = 51
	optionMessageType = 53
	optionServer      = 54
	optionEnd         = 255
)

// kind is a DHCP message's type (RFC 2132 §9.6).
type kind byte

const (
	discover kind = 1
	offer    kind = 2
	request  kind = 3
	ack      kind = 5
	nak      kind = 6
	inform   kind = 8
)

const (
	bootRequest = 1
	bootReply   = 2
	ethernet    = 1

	headerSize    = 236 // up to the cookie
	minimumSize   = 300 // what BOOTP relays and old clients expect (RFC 1542 §2.1)
	broadcastFlag = 1 << 15
)

var cookie = [4]byte{99, 130, 83, 99}

// message is what is used of a DHCP message: there is no relay, no file to boot.
type message struct {
	reply     bool
	id        uint32 // of the exchange
	seconds   uint16
	broadcast bool
	client    netip.Addr // that the client has and can be reached at; 0.0.0.0: none
	yours     netip.Addr
	relay     netip.Addr
	mac       net.HardwareAddr

	kind      kind
	requested netip.Addr // invalid: not said
	server    netip.Addr // invalid: not said
	options   []option   // others, to send
}

type option struct {
	code  byte
	value []byte
}

var errMalformed = errors.New("no DHCP message over Ethernet")

// parse reads a message. Options that do not matter here are skipped.
func parse(b []byte) (message, error) {
	if len(b) < headerSize+len(cookie) || b[1] != ethernet || b[2] != 6 ||
		[4]byte(b[headerSize:]) != cookie || b[0] != bootRequest && b[0] != bootReply {
		return message{}, errMalformed
	}
	m := message{
		reply:     b[0] == bootReply,
		id:        binary.BigEndian.Uint32(b[4:]),
		seconds:   binary.BigEndian.Uint16(b[8:]),
		broadcast: binary.BigEndian.Uint16(b[10:])&broadcastFlag != 0,
		client:    netip.AddrFrom4([4]byte(b[12:])),
		yours:     netip.AddrFrom4([4]byte(b[16:])),
		relay:     netip.AddrFrom4([4]byte(b[24:])),
		mac:       net.HardwareAddr(b[28:34]),
	}
	for rest := b[headerSize+len(cookie):]; len(rest) > 0 && rest[0] != optionEnd; {
		if rest[0] == optionPad {
			rest = rest[1:]
			continue
		}
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return message{}, errMalformed
		}
		code, value := rest[0], rest[2:2+int(rest[1])]
		rest = rest[2+len(value):]
		switch {
		case code == optionMessageType && len(value) == 1:
			m.kind = kind(value[0])
		case code == optionRequested && len(value) == 4:
			m.requested = netip.AddrFrom4([4]byte(value))
		case code == optionServer && len(value) == 4:
			m.server = netip.AddrFrom4([4]byte(value))
		}
	}
	if m.kind == 0 {
		return message{}, errMalformed // BOOTP
	}
	return m, nil
}

// marshal gives m as bytes. No option's value may be longer than 255 bytes.
func (m message) marshal() []byte {
	b := make([]byte, headerSize, minimumSize)
	b[0], b[1], b[2] = bootRequest, ethernet, 6
	if m.reply {
		b[0] = bootReply
	}
	binary.BigEndian.PutUint32(b[4:], m.id)
	binary.BigEndian.PutUint16(b[8:], m.seconds)
	if m.broadcast {
		binary.BigEndian.PutUint16(b[10:], broadcastFlag)
	}
	for offset, address := range map[int]netip.Addr{12: m.client, 16: m.yours, 24: m.relay} {
		if address.IsValid() {
			copy(b[offset:], address.AsSlice())
		}
	}
	copy(b[28:], m.mac)
	b = append(b, cookie[:]...)
	b = append(b, optionMessageType, 1, byte(m.kind))
	if m.requested.IsValid() {
		b = append(append(b, optionRequested, 4), m.requested.AsSlice()...)
	}
	if m.server.IsValid() {
		b = append(append(b, optionServer, 4), m.server.AsSlice()...)
	}
	for _, o := range m.options {
		b = append(append(b, o.code, byte(len(o.value))), o.value...)
	}
	b = append(b, optionEnd)
	for len(b) < minimumSize {
		b = append(b, optionPad)
	}
	return b
}
