package dhcp

import (
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
)

// asGuest puts a client's IPv4 and UDP headers before a message.
func asGuest(m message) []byte {
	packet := fromServer(none, netip.MustParseAddr("255.255.255.255"), m.marshal())
	packet[20+1], packet[22+1] = clientPort, serverPort
	return etherFrame(everybody, mac, etherIPv4, packet)
}

func TestAFrameIsAnsweredOnlyIfItIsTheGuests(t *testing.T) {
	for name, c := range map[string]struct {
		frame func() []byte
		want  bool
	}{
		"the guest's": {func() []byte { return asGuest(message{kind: discover, mac: mac}) }, true},
		"another client's, by the guest's card": {func() []byte {
			return asGuest(message{kind: discover, mac: []byte{2, 0, 0, 0, 0, 9}})
		}, false},
		"the guest's, by another card": {func() []byte {
			frame := asGuest(message{kind: discover, mac: mac})
			frame[11] = 9
			return frame
		}, false},
		"to another port": {func() []byte {
			frame := asGuest(message{kind: discover, mac: mac})
			frame[14+23]++
			return frame
		}, false},
		"cut off": {func() []byte { return asGuest(message{kind: discover, mac: mac})[:100] }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{from: mac, leases: map[string]Lease{string(mac): given}, leased: make(chan struct{})}
			if out, ok := s.handle(c.frame()); ok != c.want {
				t.Errorf("handle gave %x, %t", out, ok)
			}
		})
	}
}

// FuzzHandle sends anything that a hostile guest may send.
func FuzzHandle(f *testing.F) {
	f.Add(asGuest(message{kind: discover, mac: mac}))
	f.Add(asGuest(message{kind: request, mac: mac, requested: guest}))
	f.Add(etherFrame(everybody, mac, etherARP, arp{request: true, mac: mac, sender: none, target: guest}.marshal()))
	f.Fuzz(func(t *testing.T, frame []byte) {
		s := &Server{from: mac, leases: map[string]Lease{string(mac): given}, leased: make(chan struct{})}
		if out, ok := s.handle(frame); ok && len(out) > 1400 {
			t.Errorf("an answer of %d bytes", len(out))
		}
		for _, addr := range []netip.Addr{guest, netip.MustParseAddr("fd00::1")} {
			(&asker{from: mac, addr: addr}).judge(frame)
		}
	})
}

func TestTheFilterAndTheParserAgree(t *testing.T) {
	program, err := toServers(false, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	instructions, ok := bpf.Disassemble(program[2:]) // the machine below knows no tags
	if !ok {
		t.Fatal("the program has unknown instructions")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	dhcp := asGuest(message{kind: discover, mac: mac})
	with := func(offset int, value byte) []byte {
		frame := append([]byte(nil), dhcp...)
		frame[offset] = value
		return frame
	}
	for name, c := range map[string]struct {
		frame []byte
		want  int
	}{
		"a request":       {dhcp, 1},
		"a first part":    {with(14+6, 0x20), 1},
		"a later part":    {with(14+7, 1), 0},
		"to another port": {with(14+23, 53), 0},
		"TCP":             {with(14+9, 6), 0},
		"IPv6":            {with(12, 0x86), 0},
		"short":           {dhcp[:30], 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := vm.Run(c.frame); got != c.want || err != nil {
				t.Errorf("the filter says %d (%v), want %d", got, err, c.want)
			}
		})
	}
}
