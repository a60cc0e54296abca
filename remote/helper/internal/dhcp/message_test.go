package dhcp

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	mac   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	guest = netip.MustParseAddr("192.168.100.21")
	other = netip.MustParseAddr("192.168.100.99")
	own   = netip.MustParseAddr("169.254.0.1")
	none  = netip.IPv4Unspecified()
	given = Lease{MAC: mac.String(), Address: netip.PrefixFrom(guest, 24), MTU: 1450, Hostname: "vm1"}

	byAddr = cmpopts.EquateComparable(netip.Addr{})
	unexp  = cmp.AllowUnexported(message{}, option{}, arp{})
)

func TestEveryRequestGetsItsAnswer(t *testing.T) {
	settings := []option{
		{optionSubnetMask, []byte{255, 255, 255, 0}},
		{optionMTU, []byte{0x05, 0xaa}},
		{optionHostname, []byte("vm1")},
	}
	forever := option{optionLeaseTime, []byte{255, 255, 255, 255}}
	leased := append([]option{forever}, settings...)
	for name, c := range map[string]struct {
		in   message
		want message // with no kind: none
	}{
		"discover": {
			message{kind: discover, id: 7},
			message{kind: offer, id: 7, yours: guest, options: leased},
		},
		"discover that asks for a broadcast": {
			message{kind: discover, broadcast: true},
			message{kind: offer, broadcast: true, yours: guest, options: leased},
		},
		"discover that would like another address": {
			message{kind: discover, requested: other},
			message{kind: offer, yours: guest, options: leased},
		},
		"request of what was offered": {
			message{kind: request, requested: guest, server: own},
			message{kind: ack, yours: guest, options: leased},
		},
		"request after a reboot": {
			message{kind: request, requested: guest},
			message{kind: ack, yours: guest, options: leased},
		},
		"request to keep it": {
			message{kind: request, client: guest},
			message{kind: ack, client: guest, yours: guest, options: leased},
		},
		"request of another address":         {message{kind: request, requested: other}, message{kind: nak}},
		"request to keep another address":    {message{kind: request, client: other}, message{kind: nak}},
		"request of nothing":                 {message{kind: request}, message{kind: nak}},
		"request of another server's offer":  {message{kind: request, requested: guest, server: other}, message{}},
		"inform":                             {message{kind: inform, client: other}, message{kind: ack, client: other, options: settings}},
		"decline":                            {message{kind: 4, requested: guest, server: own}, message{}},
		"release":                            {message{kind: 7, client: guest, server: own}, message{}},
		"another server's offer":             {message{kind: offer, reply: true, yours: guest}, message{}},
		"through a relay":                    {message{kind: discover, relay: other}, message{}},
		"a kind that nobody has defined yet": {message{kind: 200}, message{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.in.mac = mac
			got, ok := given.answer(c.in)
			if c.want.kind == 0 {
				if ok {
					t.Fatalf("answered with %+v, want no answer", got)
				}
				return
			}
			c.want.reply, c.want.mac, c.want.server = true, mac, own
			if diff := cmp.Diff(c.want, got, unexp, byAddr); diff != "" || !ok {
				t.Errorf("answer %t (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestWhereAReplyGoes(t *testing.T) {
	everywhere := netip.MustParseAddr("255.255.255.255")
	for name, c := range map[string]struct {
		reply message
		mac   net.HardwareAddr
		addr  netip.Addr
	}{
		"to the address that it is about to have": {message{kind: offer, yours: guest}, mac, guest},
		"to the address that it has":              {message{kind: ack, client: guest, yours: guest, broadcast: true}, mac, guest},
		"as a broadcast if asked":                 {message{kind: offer, yours: guest, broadcast: true}, everybody, everywhere},
		"a refusal always as a broadcast":         {message{kind: nak, client: other}, everybody, everywhere},
	} {
		t.Run(name, func(t *testing.T) {
			c.reply.mac = mac
			if m, a := c.reply.destination(); m.String() != c.mac.String() || a != c.addr {
				t.Errorf("destination = %s %s, want %s %s", m, a, c.mac, c.addr)
			}
		})
	}
}

func TestAServerNeverHasItsGuestsAddress(t *testing.T) {
	l := Lease{MAC: mac.String(), Address: netip.PrefixFrom(own, 16)}
	reply, ok := l.answer(message{kind: discover, mac: mac})
	if !ok || reply.server == own {
		t.Errorf("offer %t by %s of %s", ok, reply.server, reply.yours)
	}
}

func TestLinkLocalAddressIsOneThatAGuestMayHave(t *testing.T) {
	seen := map[netip.Addr]bool{}
	for i := range 1000 {
		mac := fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&0xff)
		p := LinkLocal(mac)
		b := p.Addr().As4()
		if b[0] != 169 || b[1] != 254 || b[2] == 0 || b[2] == 255 || p.Bits() != 16 || p != LinkLocal(strings.ToUpper(mac)) {
			t.Fatalf("LinkLocal(%s) = %v, want one of 169.254.1.0…169.254.254.255, with /16, always the same", mac, p)
		}
		seen[p.Addr()] = true
	}
	if len(seen) < 950 {
		t.Errorf("1000 MACs have %d addresses", len(seen))
	}
}

func TestMessagesSurviveTheirBytes(t *testing.T) {
	m := message{
		id: 0xdeadbeef, seconds: 3, broadcast: true, client: guest, yours: other, relay: own, mac: mac,
		kind: request, requested: other, server: own,
	}
	got, err := parse(m.marshal())
	if diff := cmp.Diff(m, got, unexp, byAddr); diff != "" || err != nil {
		t.Errorf("parse: %v (-want +got):\n%s", err, diff)
	}
	for _, reply := range []bool{false, true} {
		m := message{reply: reply, kind: ack, mac: mac}
		if b := m.marshal(); len(b) < minimumSize {
			t.Errorf("%d bytes, want at least %d", len(b), minimumSize)
		}
	}
}

func TestWhatIsNoDHCPIsRefused(t *testing.T) {
	good := message{kind: discover, mac: mac}.marshal()
	for name, spoil := range map[string]func(b []byte) []byte{
		"empty":                  func(b []byte) []byte { return nil },
		"cut off before options": func(b []byte) []byte { return b[:headerSize+3] },
		"no cookie":              func(b []byte) []byte { b[headerSize]++; return b },
		"no Ethernet":            func(b []byte) []byte { b[1] = 6; return b },
		"a long MAC":             func(b []byte) []byte { b[2] = 16; return b },
		"neither way":            func(b []byte) []byte { b[0] = 3; return b },
		"BOOTP":                  func(b []byte) []byte { b[headerSize+4] = optionEnd; return b },
		"an option cut off":      func(b []byte) []byte { return b[:headerSize+6] },
		"an option without size": func(b []byte) []byte { return b[:headerSize+5] },
		"an option of no size":   func(b []byte) []byte { b[headerSize+5] = 0; return b[:headerSize+6] },
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := parse(spoil(slices.Clone(good))); err == nil {
				t.Errorf("parse gave %+v", m)
			}
		})
	}
}

// TestHeadersAndTheirChecksums holds them against bytes that another program
// computed.
func TestHeadersAndTheirChecksums(t *testing.T) {
	got := hex.EncodeToString(fromServer(own, guest, []byte("abc")))
	const want = "4510001f000000004011ac01a9fe0001c0a86415" + "00430044000b6c31" + "616263"
	if got != want {
		t.Errorf("fromServer = %s\nwant         %s", got, want)
	}
}

func TestARPSurvivesItsBytes(t *testing.T) {
	for _, a := range []arp{
		{request: true, mac: mac, sender: own, target: guest, receiver: make([]byte, 6)},
		{mac: mac, sender: guest, target: own, receiver: mac},
	} {
		got, ok := parseARP(a.marshal())
		if diff := cmp.Diff(a, got, unexp, byAddr); diff != "" || !ok {
			t.Errorf("parseARP %t (-want +got):\n%s", ok, diff)
		}
	}
}

// FuzzParse holds that whatever is parsed says the same when it is written and
// parsed again.
func FuzzParse(f *testing.F) {
	f.Add(message{kind: discover, mac: mac}.marshal())
	f.Add(message{kind: request, mac: mac, requested: guest, server: own, broadcast: true}.marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		again, err := parse(m.marshal())
		if diff := cmp.Diff(m, again, unexp, byAddr); diff != "" || err != nil {
			t.Errorf("parsed again: %v (-first +again):\n%s", err, diff)
		}
		given.answer(m)
	})
}
