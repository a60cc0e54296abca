package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

const (
	// askEvery is the time between two questions.
	askEvery = 100 * time.Millisecond
	// probeEvery is the time between two ARP probes, which are only the second try.
	probeEvery = 500 * time.Millisecond
	// unsure is how long a guest may be checking, without a sign of it, that an
	// address is free: RFC 5227 §1.1 gives two seconds between its probes, and as
	// much before it says that the address is its own.
	unsure = 2500 * time.Millisecond
)

// Answers tells whether the guest on that tap, of the calling thread's network
// namespace, has addr. It asks by ARP or, for an IPv6 address, by neighbour
// solicitation, at once and then every 100 ms until the guest answers or ctx
// ends: then it is false. Nobody but the guest sees the questions. The error is
// an *hostapi.Error: of KindInvalid if there is no such tap, at the start or later.
//
// The questions come from a link-local address. One from no address at all, as
// RFC 5227's probes and RFC 4862's duplicate address detection ask, would make a
// guest that itself just checks the same address give it up. Yet a guest that
// filters reverse paths hears no other, so after a while it is asked that way
// too, while it does not look as if it were checking.
func Answers(ctx context.Context, tap string, addr netip.Addr) (bool, error) {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
		return false, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("%s cannot be a guest's address", addr)}
	}
	program, err := neighbourTalk()
	if err != nil {
		return false, err
	}
	conn, _, err := listen(tap, &packet.Config{Filter: program})
	if err != nil {
		return false, err
	}
	defer conn.Close()
	a := &asker{conn: conn, from: conn.LocalAddr().(*packet.Addr).HardwareAddr, addr: addr}
	// Unblocks the read below.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	answered, err := a.run()
	if ctx.Err() != nil {
		return false, nil
	}
	return answered, err
}

type asker struct {
	conn *packet.Conn
	from net.HardwareAddr
	addr netip.Addr
}

func (a *asker) run() (bool, error) {
	buffer := make([]byte, 1<<16)
	quiet := time.Now() // since when nothing says that the guest is checking
	var asked, probed time.Time
	for {
		if now := time.Now(); now.Sub(asked) >= askEvery {
			asked = now
			if err := a.send(self(a.addr)); err != nil {
				return false, err
			}
			if a.addr.Is4() && now.Sub(quiet) >= unsure && now.Sub(probed) >= probeEvery {
				probed = now
				if err := a.send(netip.IPv4Unspecified()); err != nil {
					return false, err
				}
			}
			if err := a.conn.SetReadDeadline(now.Add(askEvery)); err != nil {
				return false, err
			}
		}
		n, _, err := a.conn.ReadFrom(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case errors.Is(err, unix.ENETDOWN): // said once; sending tells whether the tap is gone
			continue
		case err != nil:
			return false, fmt.Errorf("read from the tap: %w", err)
		}
		has, checks := a.judge(buffer[:n])
		if has {
			return true, nil
		}
		if checks {
			quiet = time.Now()
		}
	}
}

// send asks once; sender is the one who asks by ARP.
func (a *asker) send(sender netip.Addr) error {
	to, frame, err := a.question(sender)
	if err != nil {
		return err
	}
	_, err = a.conn.WriteTo(frame, &packet.Addr{HardwareAddr: to})
	// A tap that is not up yet, or that the guest does not read yet.
	if err == nil || errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENOBUFS) {
		return nil
	}
	return explain("ask for "+a.addr.String(), err)
}

func (a *asker) question(sender netip.Addr) (to net.HardwareAddr, frame []byte, err error) {
	if a.addr.Is4() {
		ask := arp{request: true, mac: a.from, sender: sender, target: a.addr}
		return everybody, etherFrame(everybody, a.from, etherARP, ask.marshal()), nil
	}
	packet, err := solicitation(a.from, a.addr)
	if err != nil {
		return nil, nil, err
	}
	bytes := a.addr.As16()
	group := net.HardwareAddr{0x33, 0x33, 0xff, bytes[13], bytes[14], bytes[15]} // RFC 2464 §7
	return group, etherFrame(group, a.from, etherIPv6, packet), nil
}

// solicitation is an IPv6 packet that asks for target's MAC (RFC 4861 §4.3).
func solicitation(from net.HardwareAddr, target netip.Addr) ([]byte, error) {
	source := linkLocal(from)
	if source == target {
		source = source.Next()
	}
	wanted := target.As16()
	group := netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: wanted[13], 14: wanted[14], 15: wanted[15]})

	body := make([]byte, 4, 28) // reserved
	body = append(body, wanted[:]...)
	body = append(append(body, 1, 1), from...) // option: source's link-layer address
	message := icmp.Message{Type: ipv6.ICMPTypeNeighborSolicitation, Body: &icmp.RawBody{Data: body}}
	payload, err := message.Marshal(icmp.IPv6PseudoHeader(source.AsSlice(), group.AsSlice()))
	if err != nil {
		return nil, fmt.Errorf("make a neighbour solicitation: %w", err)
	}
	b := make([]byte, 8, 40+len(payload))
	b[0] = 6 << 4
	b[5] = byte(len(payload))
	b[6], b[7] = protocolICMPv6, 255 // RFC 4861 §7.1.1: not from beyond a router
	b = append(append(b, source.AsSlice()...), group.AsSlice()...)
	return append(b, payload...), nil
}

// linkLocal is the address that belongs to a MAC (RFC 4291 §2.5.6).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// judge says what a frame from the guest shows: that it has the address; that it
// may be about to check one.
func (a *asker) judge(frame []byte) (has, checks bool) {
	_, kind, payload, ok := splitFrame(frame)
	if !ok {
		return false, false
	}
	switch kind {
	case etherARP:
		m, ok := parseARP(payload)
		if !ok {
			return false, false
		}
		// Whoever speaks in the name of an address has it, asked or not.
		return m.sender == a.addr, m.sender.IsUnspecified()
	case etherIPv4:
		_, dhcp := toServer(payload)
		return false, dhcp
	case etherIPv6:
		if len(payload) < 40 {
			return false, false
		}
		source := netip.AddrFrom16([16]byte(payload[8:]))
		return a.addr.Is6() && advertises(payload, a.addr), source.IsUnspecified()
	}
	return false, false
}

// advertises tells whether an IPv6 packet is a neighbour advertisement for
// target (RFC 4861 §4.4).
func advertises(packet []byte, target netip.Addr) bool {
	const size = 8 + 16
	return len(packet) >= 40+size && packet[6] == protocolICMPv6 && packet[7] == 255 &&
		packet[40] == byte(ipv6.ICMPTypeNeighborAdvertisement) && packet[41] == 0 &&
		netip.AddrFrom16([16]byte(packet[48:])) == target
}

// neighbourTalk is a program that lets through what judge looks at: ARP, IPv6's
// control messages, and UDP to port 67; nothing that this host sends.
func neighbourTalk() ([]bpf.RawInstruction, error) {
	dhcp, err := toServers(true, 0xffff, 0)
	if err != nil {
		return nil, err
	}
	const (
		packetOutgoing = 4
		hopByHop       = 0 // before a multicast listener's report
	)
	first, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetOutgoing, SkipTrue: 7},
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherARP, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 14 + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolICMPv6, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: hopByHop, SkipTrue: 1},
		bpf.RetConstant{Val: 0xffff},
	})
	return append(first, dhcp...), err
}
