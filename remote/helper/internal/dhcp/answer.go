package dhcp

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
)

// answer gives the reply to m, which came from the guest that l is for; ok is
// false if there is none.
func (l Lease) answer(m message) (reply message, ok bool) {
	server := self(l.Address.Addr())
	elsewhere := m.server.IsValid() && m.server != server // another server's offer is taken or kept
	if m.reply || m.relay.IsValid() && !m.relay.IsUnspecified() || elsewhere {
		return message{}, false
	}
	reply = message{reply: true, id: m.id, broadcast: m.broadcast, mac: m.mac, server: server}
	switch m.kind {
	case discover:
		reply.kind = offer
	case request:
		// A client that renews or rebinds says what it has in the header only.
		wanted := m.requested
		if !wanted.IsValid() {
			wanted = m.client
		}
		if wanted != l.Address.Addr() {
			reply.kind = nak
			return reply, true
		}
		reply.kind, reply.client = ack, m.client
	case inform: // it has an address, and asks for the rest (RFC 2131 §4.3.5)
		reply.kind, reply.client = ack, m.client
		reply.options = l.settings()
		return reply, true
	default:
		return message{}, false
	}
	reply.yours = l.Address.Addr()
	forever := binary.BigEndian.AppendUint32(nil, math.MaxUint32) // RFC 2131 §3.3
	reply.options = append([]option{{optionLeaseTime, forever}}, l.settings()...)
	return reply, true
}

// settings is what a guest is told besides its address. The lab has no router
// and no DNS.
func (l Lease) settings() []option {
	options := []option{{optionSubnetMask, net.CIDRMask(l.Address.Bits(), 32)}}
	if l.MTU != 0 {
		options = append(options, option{optionMTU, binary.BigEndian.AppendUint16(nil, uint16(l.MTU))})
	}
	if l.Hostname != "" {
		options = append(options, option{optionHostname, []byte(l.Hostname)})
	}
	return options
}

// destination says where a reply is sent (RFC 2131 §4.1): a client without an
// address gets it at the one that it is about to have, unless it asked for a
// broadcast, and its refusal always by broadcast.
func (m message) destination() (net.HardwareAddr, netip.Addr) {
	switch {
	case m.kind != nak && m.client.IsValid() && !m.client.IsUnspecified():
		return m.mac, m.client
	case m.kind != nak && !m.broadcast && m.yours.IsValid():
		return m.mac, m.yours
	}
	return everybody, netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
