package packets_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"vxorch/orchestrator/packets"
)

var (
	a4, b4, c4 = netip.MustParseAddr("192.168.100.11"), netip.MustParseAddr("192.168.100.12"), netip.MustParseAddr("192.168.100.13")
	a6, b6     = netip.MustParseAddr("fd00:100::11"), netip.MustParseAddr("fd00:100::12")
	h1, h2     = netip.MustParseAddr("10.83.0.1"), netip.MustParseAddr("10.83.0.2")
	g1, g2     = netip.MustParseAddr("fd00:83::1"), netip.MustParseAddr("fd00:83::2")
)

func ether(kind uint16, packet []byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 12), kind), packet...)
}

// ip is a frame with an IP packet; one of IPv4 has options.
func ip(from, to netip.Addr, protocol byte, body []byte) []byte {
	if from.Is6() {
		p := append([]byte{0x60, 0, 0, 0, 0, byte(len(body)), protocol, 64}, from.AsSlice()...)
		return ether(0x86dd, append(append(p, to.AsSlice()...), body...))
	}
	p := append([]byte{0x46, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0}, from.AsSlice()...)
	return ether(0x0800, append(append(append(p, to.AsSlice()...), 1, 1, 1, 1), body...))
}

func arp(op byte, from, to netip.Addr) []byte {
	b := append([]byte{0, 1, 8, 0, 6, 4, 0, op, 2, 0, 0, 0, 0, 1}, from.AsSlice()...)
	return ether(0x0806, append(append(b, 0, 0, 0, 0, 0, 0), to.AsSlice()...))
}

func ports(from, to uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	return append(binary.BigEndian.AppendUint16(b, to), make([]byte, 60)...)
}

func vxlan(from, to netip.Addr, frame []byte) []byte {
	udp := append(ports(55555, 4789)[:8], 0x08, 0, 0, 0, 0, 0, 100, 0)
	return ip(from, to, 17, append(udp, frame...))
}

var (
	ping4  = ip(a4, b4, 1, append([]byte{8, 0, 0, 0, 0, 7, 0, 1}, "mark"...))
	pong6  = ip(b6, a6, 58, append([]byte{129, 0, 0, 0, 0, 7, 0, 1}, "mark"...))
	whohas = arp(1, a4, b4)
	isat   = arp(2, b4, a4)
	nsol   = ip(a6, netip.MustParseAddr("ff02::1:ff00:12"), 58, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, b6.AsSlice()...))
	nadv   = ip(b6, a6, 58, append([]byte{136, 0, 0, 0, 0, 0, 0, 0}, b6.AsSlice()...))
	tcp4   = ip(a4, b4, 6, ports(40000, 80))
	udp6   = ip(a6, b6, 17, ports(53, 40000))
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		frame    []byte
		kind     packets.Kind
		from, to netip.Addr
	}{
		"echo request":           {ping4, packets.Request, a4, b4},
		"echo reply over IPv6":   {pong6, packets.Reply, b6, a6},
		"ARP request":            {whohas, packets.Ask, a4, b4},
		"ARP reply":              {isat, packets.Answer, b4, a4},
		"neighbour solicitation": {nsol, packets.Ask, a6, b6},
		"neighbour advert":       {nadv, packets.Answer, b6, a6},
		"TCP":                    {tcp4, packets.Other, a4, b4},
	} {
		for _, around := range []string{"", "in IPv4", "in IPv6"} {
			frame := tc.frame
			want := &packets.Tunnel{Port: 4789, VNI: 100}
			switch around {
			case "":
				want = nil
			case "in IPv4":
				frame, want.From, want.To = vxlan(h1, h2, tc.frame), h1, h2
			case "in IPv6":
				frame, want.From, want.To = vxlan(g1, g2, tc.frame), g1, g2
			}
			p := packets.Parse(frame)
			if p.Kind != tc.kind || p.From != tc.from || p.To != tc.to || (p.Tunnel == nil) != (want == nil) || want != nil && *p.Tunnel != *want {
				t.Errorf("%s %s: %+v, tunnel %+v", name, around, p, p.Tunnel)
			}
			if (p.Kind == packets.Request || p.Kind == packets.Reply) && (p.ID != 7 || p.Seq != 1 || string(p.Payload) != "mark") {
				t.Errorf("%s %s: echo %+v", name, around, p)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(vxlan(h1, h2, ping4))
	f.Add(nsol)
	f.Fuzz(func(_ *testing.T, frame []byte) { packets.Parse(frame) })
}

func TestFilter(t *testing.T) {
	all := map[string][]byte{"ping4": ping4, "pong6": pong6, "whohas": whohas, "isat": isat, "nsol": nsol, "nadv": nadv, "tcp4": tcp4, "udp6": udp6}
	for name, tc := range map[string]struct {
		want packets.Want
		pass string // names of frames
	}{
		"icmp":                {packets.Want{Protocols: []string{"icmp"}}, "ping4 pong6 nsol nadv"},
		"icmp or arp":         {packets.Want{Protocols: []string{"icmp", "arp"}}, "ping4 pong6 whohas isat nsol nadv"},
		"between two":         {packets.Want{Addresses: []netip.Addr{b4, a4}}, "ping4 whohas isat tcp4"},
		"between two, IPv6":   {packets.Want{Addresses: []netip.Addr{a6, b6}}, "pong6 nsol nadv udp6"},
		"of another":          {packets.Want{Addresses: []netip.Addr{a4, c4}}, ""},
		"a port":              {packets.Want{Ports: []int{80}}, "tcp4"},
		"a port, of UDP":      {packets.Want{Protocols: []string{"udp"}, Ports: []int{53}}, "udp6"},
		"both ports":          {packets.Want{Ports: []int{40000, 53}}, "udp6"},
		"all without a port":  {packets.Want{Without: []int{80, 22}}, "ping4 pong6 whohas isat nsol nadv udp6"},
		"without a UDP port":  {packets.Want{Without: []int{53}}, "ping4 pong6 whohas isat nsol nadv tcp4 udp6"},
		"of one without port": {packets.Want{Addresses: []netip.Addr{a4}, Without: []int{40000}}, "ping4 whohas isat"},
		"a port of ARP":       {packets.Want{Protocols: []string{"arp"}, Ports: []int{80}}, ""},
		"a trace's":           {packets.Want{Protocols: []string{"icmp", "arp"}, Addresses: []netip.Addr{a6, b6}}, "pong6 nsol nadv"},
		"tcp with addresses":  {packets.Want{Protocols: []string{"tcp"}, Addresses: []netip.Addr{a4, b4}, Ports: []int{80}}, "tcp4"},
	} {
		for _, tunnelled := range []bool{false, true} {
			w := tc.want
			w.Tunnelled = tunnelled
			program, err := w.Filter()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var ops []bpf.Instruction
			for _, op := range program {
				ops = append(ops, bpf.RawInstruction{Op: op.Op, Jt: op.Jt, Jf: op.Jf, K: op.Data}.Disassemble())
			}
			vm, err := bpf.NewVM(ops)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for what, frame := range all {
				pass := slices.Contains(strings.Fields(tc.pass), what)
				for around, tried := range map[string][]byte{"": frame, "in IPv4": vxlan(h1, h2, frame), "in IPv6": vxlan(g1, g2, frame)} {
					want := pass && (around != "" || !tunnelled)
					if len(w.Without) > 0 && what == "tcp4" && around != "" {
						want = true // what is in a tunnel is not meant
					}
					n, err := vm.Run(tried)
					if err != nil || (n > 0) != want {
						t.Errorf("%s, tunnelled %v: %s %s passes: %v, %v; want %v", name, tunnelled, what, around, n > 0, err, want)
					}
				}
			}
		}
	}
	if program, err := (packets.Want{}).Filter(); err != nil || program != nil {
		t.Errorf("a filter of everything: %v, %v; want none", program, err)
	}
}
