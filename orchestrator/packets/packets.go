// Package packets reads copies of packets as far as a trace needs it, and makes
// the filters by which hosts choose what to copy. It is pure.
package packets

import (
	"encoding/binary"
	"net/netip"
)

// Kind is what a packet is for.
type Kind int

// Kinds of packets.
const (
	Other   Kind = iota
	Request      // ICMP echo request
	Reply        // ICMP echo reply
	Ask          // ARP request or neighbour solicitation
	Answer       // ARP reply or neighbour advertisement
)

// Packet is what a frame carries, within its tunnel if it has one.
type Packet struct {
	Kind    Kind
	From    netip.Addr // of an Answer: who was asked for
	To      netip.Addr // of an Ask: who is asked for
	ID, Seq uint16     // of an echo
	Payload []byte     // of an echo, as much as was copied
	Tunnel  *Tunnel    // nil: none
}

// Tunnel is what is around a frame in VXLAN.
type Tunnel struct {
	From netip.Addr `json:"from"`
	To   netip.Addr `json:"to"`
	Port int        `json:"port"` // UDP destination port
	VNI  int        `json:"vni"`
}

const (
	sizeEther = 14
	sizeIPv6  = 40
	sizeUDP   = 8
	sizeVXLAN = 8

	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58

	// vxlanFlags is the first word of a VXLAN header with a valid VNI (RFC 7348 §5).
	vxlanFlags = 0x08000000
)

// Parse reads a frame. What is too short or nothing that it knows is Other.
func Parse(frame []byte) Packet {
	p, protocol, body := parse(frame)
	if protocol != protocolUDP || len(body) < sizeUDP+sizeVXLAN+sizeEther || binary.BigEndian.Uint32(body[sizeUDP:]) != vxlanFlags {
		return p
	}
	inner, _, _ := parse(body[sizeUDP+sizeVXLAN:])
	inner.Tunnel = &Tunnel{
		From: p.From, To: p.To, Port: int(binary.BigEndian.Uint16(body[2:])), VNI: int(binary.BigEndian.Uint32(body[sizeUDP+4:]) >> 8),
	}
	return inner
}

// parse reads a frame without a look into tunnels.
func parse(frame []byte) (p Packet, protocol byte, body []byte) {
	if len(frame) < sizeEther {
		return p, 0, nil
	}
	packet := frame[sizeEther:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		return parseARP(packet), 0, nil
	case etherIPv4:
		if len(packet) < 20 || len(packet) < int(packet[0]&0xf)*4 || packet[0]&0xf < 5 {
			return p, 0, nil
		}
		p.From, _ = netip.AddrFromSlice(packet[12:16])
		p.To, _ = netip.AddrFromSlice(packet[16:20])
		protocol, body = packet[9], packet[int(packet[0]&0xf)*4:]
	case etherIPv6:
		if len(packet) < sizeIPv6 {
			return p, 0, nil
		}
		p.From, _ = netip.AddrFromSlice(packet[8:24])
		p.To, _ = netip.AddrFromSlice(packet[24:40])
		protocol, body = packet[6], packet[sizeIPv6:]
	}
	if len(body) < 8 {
		return p, protocol, body
	}
	switch {
	case protocol == protocolICMP && body[0] == 8, protocol == protocolICMPv6 && body[0] == 128:
		p.Kind = Request
	case protocol == protocolICMP && body[0] == 0, protocol == protocolICMPv6 && body[0] == 129:
		p.Kind = Reply
	case protocol == protocolICMPv6 && body[0] == 135 && len(body) >= 24:
		p.Kind = Ask
		p.To, _ = netip.AddrFromSlice(body[8:24])
	case protocol == protocolICMPv6 && body[0] == 136 && len(body) >= 24:
		p.Kind = Answer
		p.From, _ = netip.AddrFromSlice(body[8:24])
	}
	if p.Kind == Request || p.Kind == Reply {
		p.ID, p.Seq, p.Payload = binary.BigEndian.Uint16(body[4:]), binary.BigEndian.Uint16(body[6:]), body[8:]
	}
	return p, protocol, body
}

// parseARP reads what is behind the Ethernet header: ARP for IPv4 (RFC 826).
func parseARP(b []byte) (p Packet) {
	if len(b) < 28 || binary.BigEndian.Uint16(b[2:]) != etherIPv4 || b[4] != 6 || b[5] != 4 {
		return p
	}
	p.From, _ = netip.AddrFromSlice(b[14:18])
	p.To, _ = netip.AddrFromSlice(b[24:28])
	switch binary.BigEndian.Uint16(b[6:]) {
	case 1:
		p.Kind = Ask
	case 2:
		p.Kind = Answer
	}
	return p
}
