package dhcp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
)

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protocolUDP    = 17
	protocolICMPv6 = 58

	serverPort = 67
	clientPort = 68
)

var everybody = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// etherFrame puts an Ethernet header before a payload.
func etherFrame(to, from net.HardwareAddr, kind uint16, payload []byte) []byte {
	b := make([]byte, 0, 14+len(payload))
	b = append(append(b, to...), from...)
	b = binary.BigEndian.AppendUint16(b, kind)
	return append(b, payload...)
}

// splitFrame takes an Ethernet frame apart.
func splitFrame(b []byte) (from net.HardwareAddr, kind uint16, payload []byte, ok bool) {
	if len(b) < 14 {
		return nil, 0, nil, false
	}
	return b[6:12], binary.BigEndian.Uint16(b[12:]), b[14:], true
}

// toServer gives what an IPv4 packet to a DHCP server carries. Checksums are not
// looked at: a guest leaves them to the network card that it does not have.
func toServer(packet []byte) ([]byte, bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[9] != protocolUDP {
		return nil, false
	}
	header, total := int(packet[0]&0xf)*4, int(binary.BigEndian.Uint16(packet[2:]))
	fragment := binary.BigEndian.Uint16(packet[6:])&0x3fff != 0 // offset, or more of them to come
	if header < 20 || total > len(packet) || total < header+8 || fragment {
		return nil, false
	}
	udp := packet[header:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != serverPort || length < 8 || length > len(udp) {
		return nil, false
	}
	return udp[8:length], true
}

// fromServer puts IPv4 and UDP headers before a server's message.
func fromServer(from, to netip.Addr, payload []byte) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[1] = 0x45, 0x10 // no options; low delay, as DHCP servers send
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	b[8], b[9] = 64, protocolUDP
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:20]))

	binary.BigEndian.PutUint16(b[20:], serverPort)
	binary.BigEndian.PutUint16(b[22:], clientPort)
	length := uint16(8 + len(payload))
	binary.BigEndian.PutUint16(b[24:], length)
	b = append(b, payload...)
	pseudo := sum(protocolUDP, b[12:20]) // addresses; RFC 768
	check := ^sum(uint32(pseudo)+uint32(length), b[20:])
	if check == 0 {
		check = 0xffff // zero says that there is none
	}
	binary.BigEndian.PutUint16(b[26:], check)
	return b
}

// sum is the Internet checksum's one's complement sum (RFC 1071) of start and b.
func sum(start uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		start += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return uint16(start)
}

// arp is an ARP message for IPv4 over Ethernet (RFC 826).
type arp struct {
	request  bool
	mac      net.HardwareAddr // sender's
	sender   netip.Addr       // 0.0.0.0 in a probe (RFC 5227 §1.1)
	target   netip.Addr
	receiver net.HardwareAddr // target's; nil: not known
}

var arpHeader = []byte{0, 1, 8, 0, 6, 4, 0}

func parseARP(b []byte) (arp, bool) {
	if len(b) < 28 || !bytes.Equal(b[:7], arpHeader) || b[7] != 1 && b[7] != 2 {
		return arp{}, false
	}
	return arp{
		request:  b[7] == 1,
		mac:      b[8:14],
		sender:   netip.AddrFrom4([4]byte(b[14:])),
		receiver: b[18:24],
		target:   netip.AddrFrom4([4]byte(b[24:])),
	}, true
}

func (a arp) marshal() []byte {
	b := make([]byte, 28)
	copy(b, arpHeader)
	b[7] = 2
	if a.request {
		b[7] = 1
	}
	copy(b[8:], a.mac)
	copy(b[14:], a.sender.AsSlice())
	copy(b[18:], a.receiver)
	copy(b[24:], a.target.AsSlice())
	return b
}
