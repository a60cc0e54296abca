package survey

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// wanted is a program that lets through UDP packets with a try's token. They
// begin with the UDP header, with an IPv4 header that says how long it is, or
// with an IPv6 one.
func wanted(token []byte, begin uint32, withIPv4 bool) ([]bpf.RawInstruction, error) {
	first := binary.BigEndian.Uint32(token) // of the token; the rest is looked at afterwards
	program := []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegX, Val: begin}}
	if withIPv4 {
		program = []bpf.Instruction{
			bpf.LoadAbsolute{Off: 9, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1},
			bpf.RetConstant{Val: 0},
			bpf.LoadMemShift{Off: 0},
		}
	}
	return bpf.Assemble(append(program,
		bpf.LoadIndirect{Off: sizeUDP, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: first, SkipTrue: 3},
		bpf.LoadIndirect{Off: sizeUDP + sizeVXLAN + sizeEther, Size: 4}, // of a shorter packet: no
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: first, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 1 << 16},
	))
}
