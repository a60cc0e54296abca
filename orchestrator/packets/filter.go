package packets

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"

	"vxorch/remote/hostapi"
)

// Want says which packets are wanted; the zero value wants all. What is said of
// them holds for a packet itself or for the one in its VXLAN tunnel.
type Want struct {
	Protocols []string     // icmp (of both IP versions), arp, tcp, udp: one of them; none: any
	Addresses []netip.Addr // each is the sender's, the receiver's, or the one that a neighbour is asked for
	Ports     []int        // each is a port of TCP's or UDP's, at either end
	Tunnelled bool         // only packets in a VXLAN tunnel
	Without   []int        // ports of TCP's that a packet itself has at neither end, whatever else holds
}

// Protocols are those that a Want knows.
var Protocols = []string{"icmp", "arp", "tcp", "udp"}

// Filter is w as a program for hosts; none if all packets are wanted.
func (w Want) Filter() ([]hostapi.FilterOp, error) {
	all := len(w.Protocols) == 0 && len(w.Addresses) == 0 && len(w.Ports) == 0 && !w.Tunnelled
	if all && len(w.Without) == 0 {
		return nil, nil
	}
	a := &assembler{at: map[string]int{}}
	if len(w.Without) > 0 {
		w.without(a)
	}
	if all {
		a.add(bpf.RetConstant{Val: everything})
		return a.assemble()
	}
	if !w.Tunnelled {
		a.add(bpf.LoadConstant{Dst: bpf.RegA, Val: 0}, bpf.StoreScratch{Src: bpf.RegA, N: base})
		w.match(a, "outer", "tunnel")
	}
	a.label("tunnel")
	a.add(bpf.LoadAbsolute{Off: 12, Size: 2})
	a.jump(etherIPv4, "tunnel4", "")
	a.jump(etherIPv6, "tunnel6", "no")
	a.label("tunnel4")
	a.add(bpf.LoadAbsolute{Off: sizeEther + 9, Size: 1})
	a.jump(protocolUDP, "", "no")
	a.add(bpf.LoadMemShift{Off: sizeEther}, bpf.LoadIndirect{Off: sizeEther + sizeUDP, Size: 4})
	a.jump(vxlanFlags, "", "no")
	a.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: sizeEther + sizeUDP + sizeVXLAN}, bpf.StoreScratch{Src: bpf.RegA, N: base})
	a.always("inside")
	a.label("tunnel6")
	a.add(bpf.LoadAbsolute{Off: sizeEther + 6, Size: 1})
	a.jump(protocolUDP, "", "no")
	a.add(bpf.LoadAbsolute{Off: sizeEther + sizeIPv6 + sizeUDP, Size: 4})
	a.jump(vxlanFlags, "", "no")
	a.add(bpf.LoadConstant{Dst: bpf.RegA, Val: sizeEther + sizeIPv6 + sizeUDP + sizeVXLAN}, bpf.StoreScratch{Src: bpf.RegA, N: base})
	a.label("inside")
	w.match(a, "inner", "no")
	a.label("no")
	a.add(bpf.RetConstant{Val: 0})
	a.label("yes")
	a.add(bpf.RetConstant{Val: everything})
	return a.assemble()
}

// without refuses what goes from or to a port that is not wanted.
func (w Want) without(a *assembler) {
	a.add(bpf.LoadAbsolute{Off: 12, Size: 2})
	a.jump(etherIPv4, "without-4", "")
	a.jump(etherIPv6, "", "go")
	a.add(bpf.LoadAbsolute{Off: sizeEther + 6, Size: 1})
	a.jump(protocolTCP, "", "go")
	a.add(bpf.LoadConstant{Dst: bpf.RegX, Val: sizeIPv6})
	a.always("without-ports")
	a.label("without-4")
	a.add(bpf.LoadAbsolute{Off: sizeEther + 9, Size: 1})
	a.jump(protocolTCP, "", "go")
	a.add(bpf.LoadAbsolute{Off: sizeEther + 6, Size: 2}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x1fff})
	a.jump(0, "", "go")
	a.add(bpf.LoadMemShift{Off: sizeEther})
	a.label("without-ports")
	for _, off := range []uint32{0, 2} {
		a.add(bpf.LoadIndirect{Off: sizeEther + off, Size: 2})
		for _, port := range w.Without {
			a.jump(uint32(port), "without", "")
		}
	}
	a.always("go")
	a.label("without")
	a.add(bpf.RetConstant{Val: 0})
	a.label("go")
}

// everything is more bytes than a frame has.
const everything = 1 << 18

// base is the scratch word that has where the frame in question begins.
const base = 0

// match goes to "yes" if the frame at base is wanted, else to no. Names of its own
// labels begin with name.
func (w Want) match(a *assembler, name, no string) {
	a.add(bpf.LoadScratch{Dst: bpf.RegA, N: base}, bpf.TAX{}, bpf.LoadIndirect{Off: 12, Size: 2})
	a.jump(etherARP, name+"-arp", "")
	a.jump(etherIPv4, name+"-4", "")
	a.jump(etherIPv6, name+"-6", no)

	a.label(name + "-arp")
	if !w.has("arp") || len(w.Ports) > 0 {
		a.always(no)
	} else {
		w.addresses(a, name+"-arp", no, false, 28, 38)
		a.always("yes")
	}
	a.label(name + "-4")
	w.packet(a, name+"-4", no, false)
	a.label(name + "-6")
	w.packet(a, name+"-6", no, true)
}

func (w Want) has(protocol string) bool {
	return len(w.Protocols) == 0 || slices.Contains(w.Protocols, protocol)
}

// packet is match for an IP packet; X has where its frame begins.
func (w Want) packet(a *assembler, name, no string, six bool) {
	at, icmp := uint32(sizeEther+9), uint32(protocolICMP)
	if six {
		at, icmp = sizeEther+6, protocolICMPv6
	}
	var numbers []uint32
	for protocol, number := range map[string]uint32{"icmp": icmp, "tcp": protocolTCP, "udp": protocolUDP} {
		if w.has(protocol) && (len(w.Ports) == 0 || protocol != "icmp") {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	switch {
	case len(w.Protocols) == 0 && len(w.Ports) == 0:
	case len(numbers) == 0:
		a.always(no)
		return
	default:
		a.add(bpf.LoadIndirect{Off: at, Size: 1})
		for _, n := range numbers {
			a.jump(n, name+"-protocol", "")
		}
		a.always(no)
		a.label(name + "-protocol")
	}
	if six {
		w.addresses(a, name, no, true, sizeEther+8, sizeEther+24)
	} else {
		w.addresses(a, name, no, false, sizeEther+12, sizeEther+16)
	}
	if len(w.Ports) > 0 {
		w.ports(a, name, no, six)
	}
	a.always("yes")
}

// addresses goes on if each address stands at one of the two places.
func (w Want) addresses(a *assembler, name, no string, six bool, from, to uint32) {
	for i, address := range w.Addresses {
		if address.Is6() != six {
			a.always(no)
			return
		}
		found := fmt.Sprintf("%s-address-%d", name, i)
		a.compare(address, from, found)
		a.compare(address, to, found)
		if six {
			a.add(bpf.LoadIndirect{Off: sizeEther + 6, Size: 1})
			a.jump(protocolICMPv6, "", no)
			a.compare(address, sizeEther+sizeIPv6+8, found) // who is asked for, or answers (RFC 4861 §4.3)
		}
		a.always(no)
		a.label(found)
	}
}

// ports goes on if each port is one of the packet's two.
func (w Want) ports(a *assembler, name, no string, six bool) {
	if six {
		a.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: sizeEther + sizeIPv6}, bpf.TAX{})
	} else {
		// Of fragments only the first has ports.
		a.add(bpf.LoadIndirect{Off: sizeEther + 6, Size: 2}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x1fff})
		a.jump(0, "", no)
		a.add(bpf.LoadIndirect{Off: sizeEther, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf},
			bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2}, bpf.ALUOpX{Op: bpf.ALUOpAdd},
			bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: sizeEther}, bpf.TAX{})
	}
	for i, port := range w.Ports {
		found := fmt.Sprintf("%s-port-%d", name, i)
		for _, off := range []uint32{0, 2} {
			a.add(bpf.LoadIndirect{Off: off, Size: 2})
			a.jump(uint32(port), found, "")
		}
		a.always(no)
		a.label(found)
	}
}

// assembler puts a program together whose jumps go to labels.
type assembler struct {
	ops  []bpf.Instruction
	to   [][2]string    // of the instruction of that place: labels if true, if false; empty: the next one
	at   map[string]int // labels
	uses int
}

func (a *assembler) add(ops ...bpf.Instruction) {
	for _, op := range ops {
		a.ops, a.to = append(a.ops, op), append(a.to, [2]string{})
	}
}

func (a *assembler) label(name string) { a.at[name] = len(a.ops) }

func (a *assembler) jump(equal uint32, yes, no string) {
	a.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: equal})
	a.to[len(a.to)-1] = [2]string{yes, no}
}

func (a *assembler) always(to string) {
	a.add(bpf.Jump{})
	a.to[len(a.to)-1] = [2]string{to, to}
}

// compare goes to found if the address stands at off from X.
func (a *assembler) compare(address netip.Addr, off uint32, found string) {
	a.uses++
	differs := fmt.Sprintf("differs-%d", a.uses)
	bytes := address.AsSlice()
	for i := 0; i < len(bytes); i += 4 {
		a.add(bpf.LoadIndirect{Off: off + uint32(i), Size: 4})
		a.jump(binary.BigEndian.Uint32(bytes[i:]), "", differs)
	}
	a.always(found)
	a.label(differs)
}

func (a *assembler) assemble() ([]hostapi.FilterOp, error) {
	skip := func(i int, label string) (uint32, error) {
		if label == "" {
			return 0, nil
		}
		at, ok := a.at[label]
		if !ok || at <= i {
			return 0, fmt.Errorf("filter: no way forward to %s", label)
		}
		return uint32(at - i - 1), nil
	}
	for i, to := range a.to {
		yes, err := skip(i, to[0])
		no, err2 := skip(i, to[1])
		if err := cmp.Or(err, err2); err != nil {
			return nil, err
		}
		switch op := a.ops[i].(type) {
		case bpf.Jump:
			op.Skip = yes
			a.ops[i] = op
		case bpf.JumpIf:
			if yes > 255 || no > 255 {
				return nil, errors.New("the filter has too many addresses and ports")
			}
			op.SkipTrue, op.SkipFalse = uint8(yes), uint8(no)
			a.ops[i] = op
		}
	}
	raw, err := bpf.Assemble(a.ops)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	program := make([]hostapi.FilterOp, len(raw))
	for i, op := range raw {
		program[i] = hostapi.FilterOp{Op: op.Op, Jt: op.Jt, Jf: op.Jf, Data: op.K}
	}
	return program, nil
}
