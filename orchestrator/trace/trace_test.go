package trace_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/trace"
	"vxorch/remote/hostapi"
)

var update = flag.Bool("update", false, "write golden files")

const text = `
lab: lu
hosts:
  host1: {address: 192.0.2.11}
  host2: {address: 192.0.2.12}
networks:
  lu-br0: {vxlan: vxlan0, subnet: [192.168.100.0/24, 'fd00:100::/64']}
  other: {vni: 101}
containers:
  cn1: {host: host1, network: lu-br0}
  cn2: {host: host2, network: lu-br0}
  cn3: {host: host1, network: lu-br0}
  far: {host: host2, network: other}
images: {img: {file: x.qcow2}, in: {file: y.qcow2, login: {user: a, password: b}}}
vms:
  mute: {host: host1, network: lu-br0, image: img}
  vm1: {host: host2, network: lu-br0, image: in}
`

func lab(t *testing.T) *inventory.Lab {
	t.Helper()
	lab, err := inventory.Parse("lab.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return lab
}

// find is a path over hosts on which all stands.
func find(t *testing.T, from, to string) *trace.Path {
	t.Helper()
	path, err := trace.Find(lab(t), from, to)
	if err != nil {
		t.Fatal(err)
	}
	path.Stand(map[string]hostapi.Facts{"host1": facts("192.0.2.11"), "host2": facts("192.0.2.12")})
	return path
}

func facts(local string) hostapi.Facts {
	return hostapi.Facts{Links: []hostapi.Link{{
		Name: "vxlan0", Up: true, Master: "lu-br0",
		VXLAN: &hostapi.VXLAN{VNI: 100, Port: 4789, Local: netip.MustParseAddr(local), Device: "eth0", Group: netip.MustParseAddr("239.0.0.1")},
	}}}
}

func TestPath(t *testing.T) {
	for name, tc := range map[string]struct{ from, to, want string }{
		"over two hosts":     {"cn1", "cn2", "inner port vtep underlay underlay vtep port inner"},
		"on one host":        {"cn1", "cn3", "inner port port inner"},
		"to a VM":            {"cn1", "vm1", "inner port vtep underlay underlay vtep port"},
		"from a VM":          {"vm1", "cn1", "port vtep underlay underlay vtep port inner"},
		"to an address":      {"cn1", lab(t).Containers[1].Interfaces[0].Second.String(), "inner port vtep underlay underlay vtep port inner"},
		"to nobody's":        {"cn1", "192.168.100.99", "inner port vtep underlay"},
		"to one without VMs": {"cn1", "mute", "inner port port"},
	} {
		var kinds []string
		for _, h := range find(t, tc.from, tc.to).Hops {
			kinds = append(kinds, h.Kind)
		}
		if got := strings.Join(kinds, " "); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
	for ends, want := range map[[2]string]string{
		{"cn9", "cn2"}:            `no container and no VM is called "cn9"`,
		{"cn1", "cn9"}:            `no container and no VM is called "cn9", and it is no address`,
		{"cn1", "cn1"}:            "cn1 is both ends",
		{"cn1", "far"}:            "cn1 and far share no network",
		{"cn1", "10.0.0.1"}:       "10.0.0.1 is in none of the subnets that cn1 is in",
		{"cn1", "192.168.100.11"}: "192.168.100.11 is cn1's own address",
		{"mute", "cn1"}:           "nothing can be sent from inside mute: its image has no login",
	} {
		if _, err := trace.Find(lab(t), ends[0], ends[1]); err == nil || err.Error() != want {
			t.Errorf("Find(%q): %v, want %s", ends, err, want)
		}
	}
}

func TestSettleTakesTheShortestRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	reading := func(trip, ahead time.Duration) trace.Reading {
		return trace.Reading{Asked: at, Answered: at.Add(trip), Host: at.Add(trip/2 + ahead)}
	}
	got := trace.Settle([]trace.Reading{
		reading(5*time.Millisecond, time.Second), reading(200*time.Microsecond, 3*time.Second), reading(time.Millisecond, 2*time.Second),
	})
	if want := (trace.Clock{Ahead: 3 * time.Second, Within: 100 * time.Microsecond}); got != want {
		t.Errorf("Settle: %+v, want %+v", got, want)
	}
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// echo is a frame of an ICMP echo with a mark; in a tunnel from the first host to
// the other, or back.
func echo(kind byte, from, to, mark string, tunnelled bool) []byte {
	frame := ip(from, to, 1, append([]byte{kind, 0, 0, 0, 0, 7, 0, 1}, mark...))
	if !tunnelled {
		return frame
	}
	return tunnel(from, frame)
}

func tunnel(from string, frame []byte) []byte {
	ends := []string{"192.0.2.11", "192.0.2.12"}
	if from != "192.168.100.11" {
		ends[0], ends[1] = ends[1], ends[0]
	}
	udp := append(binary.BigEndian.AppendUint16([]byte{0xd9, 3}, 4789), 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 100, 0)
	return ip(ends[0], ends[1], 17, append(udp, frame...))
}

func ip(from, to string, protocol byte, body []byte) []byte {
	a, b := netip.MustParseAddr(from), netip.MustParseAddr(to)
	p := append([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0}, a.AsSlice()...)
	return append(append(p, b.AsSlice()...), body...)
}

func arp(op byte, from, to string) []byte {
	a, b := netip.MustParseAddr(from), netip.MustParseAddr(to)
	f := append([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, op, 0, 0, 0, 0, 0, 2}, a.AsSlice()...)
	return append(append(f, 0, 0, 0, 0, 0, 0), b.AsSlice()...)
}

// evidence has host2's clock three seconds ahead.
func evidence() trace.Evidence {
	return trace.Evidence{
		Lab: "lu", Mark: []byte("mark"), Errors: map[int]*hostapi.Error{},
		Clocks: map[string]trace.Clock{"host1": {0, 40 * time.Microsecond}, "host2": {3 * time.Second, 60 * time.Microsecond}},
	}
}

// passes adds a packet at hops one after the other, from micros on, ten each.
func passes(e *trace.Evidence, micros int, frame func(tunnelled bool) []byte, hops ...int) {
	for i, hop := range hops {
		at := began.Add(time.Duration(micros+10*i) * time.Microsecond)
		if hop >= 4 {
			at = at.Add(3 * time.Second) // by its host's clock
		}
		forth := len(hops) < 2 || hops[0] < hops[len(hops)-1]
		leaves := map[int]bool{0: true, 2: true, 3: true, 6: true}[hop] == forth
		e.Packets = append(e.Packets, trace.Copy{Hop: hop, Packet: hostapi.Packet{Time: at, Outgoing: leaves, Data: frame(hop == 3 || hop == 4)}})
	}
}

func request(tunnelled bool) []byte {
	return echo(8, "192.168.100.11", "192.168.100.12", "mark", tunnelled)
}
func reply(tunnelled bool) []byte {
	return echo(0, "192.168.100.12", "192.168.100.11", "mark", tunnelled)
}
func another(tunnelled bool) []byte {
	return echo(8, "192.168.100.11", "192.168.100.12", "else", tunnelled)
}

func asks(from, to string) func(bool) []byte {
	return func(tunnelled bool) []byte {
		if tunnelled {
			return tunnel(from, arp(1, from, to))
		}
		return arp(1, from, to)
	}
}

func answers(from, to string) func(bool) []byte {
	return func(tunnelled bool) []byte {
		if tunnelled {
			return tunnel(from, arp(2, from, to))
		}
		return arp(2, from, to)
	}
}

func TestJudge(t *testing.T) {
	const a, b = "192.168.100.11", "192.168.100.12"
	absent := &hostapi.Error{Kind: hostapi.KindInvalid, Message: `there is no link "vxlan0"`}
	for name, e := range map[string]func(*trace.Evidence){
		"answered": func(e *trace.Evidence) {
			e.Probe = hostapi.ProbeResult{Sent: 1, Received: 1, RTT: 180 * time.Microsecond}
			passes(e, 5, another, 0, 1, 2, 3) // somebody else's, earlier
			passes(e, 10, request, 0, 1, 2, 3, 4, 5, 6, 7)
			passes(e, 90, reply, 7, 6, 5, 4, 3, 2, 1, 0)
		},
		"dropped by host2": func(e *trace.Evidence) { passes(e, 10, request, 0, 1, 2, 3, 4) },
		"dropped by host2, which asks for a neighbour": func(e *trace.Evidence) {
			passes(e, 10, request, 0, 1, 2, 3, 4)
			passes(e, 90, asks(b, a), 7, 6, 5, 4, 3, 2, 1, 0)
			passes(e, 200, answers(a, b), 0, 1, 2, 3, 4)
		},
		"lost between": func(e *trace.Evidence) { passes(e, 10, request, 0, 1, 2, 3) },
		"no VTEP there": func(e *trace.Evidence) {
			passes(e, 10, request, 0, 1, 2, 3, 4)
			e.Errors[5] = absent
		},
		"lost on the way back": func(e *trace.Evidence) {
			passes(e, 10, request, 0, 1, 2, 3, 4, 5, 6, 7)
			passes(e, 90, reply, 7, 6, 5, 4)
		},
		"no answer":    func(e *trace.Evidence) { passes(e, 10, request, 0, 1, 2, 3, 4, 5, 6, 7) },
		"no neighbour": func(e *trace.Evidence) { passes(e, 10, asks(a, b), 0, 1, 2) },
		"no neighbour back": func(e *trace.Evidence) {
			passes(e, 10, request, 0, 1, 2, 3, 4, 5, 6, 7)
			passes(e, 90, asks(b, a), 7, 6)
		},
		"nothing left": func(e *trace.Evidence) {
			e.Probe.Error = &hostapi.Error{Message: "no route to 192.168.100.12", Hint: "deploy again"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			evidence := evidence()
			e(&evidence)
			r := trace.Judge(find(t, "cn1", "cn2"), evidence)
			if (r.Result == trace.Answered) != (name == "answered") {
				t.Errorf("it was %s", r.Result)
			}
			var out bytes.Buffer
			if err := trace.WriteText(&out, r, report.TextOptions{}); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.ReplaceAll(strings.ReplaceAll(name, ",", ""), " ", "-")+".txt", out.Bytes())
			if name != "answered" {
				return
			}
			out.Reset()
			if err := trace.WriteJSON(&out, r); err != nil {
				t.Fatal(err)
			}
			golden(t, "answered.json", out.Bytes())
			out.Reset()
			if err := trace.WriteText(&out, r, report.TextOptions{Color: true}); err != nil {
				t.Fatal(err)
			}
			golden(t, "answered-colour.txt", out.Bytes())
		})
	}
}

// A question that does not leave the VTEP: where to look depends on who was to have it.
func TestWhereAQuestionWasToGo(t *testing.T) {
	for name, c := range map[string]struct {
		stands func(*hostapi.Link)
		want   string
	}{
		"multicast": {func(*hostapi.Link) {}, "does it know where to send it?"},
		"unicast":   {func(l *hostapi.Link) { l.VXLAN.Group = netip.Addr{} }, "does its flood list, of 00:00:00:00:00:00, have 192.0.2.12?"},
		"static":    {func(l *hostapi.Link) { l.VXLAN.Group, l.Suppress = netip.Addr{}, true }, "bridge lu-br0 is to answer it"},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := facts("192.0.2.11"), facts("192.0.2.12")
			c.stands(&here.Links[0])
			path := find(t, "cn1", "cn2")
			path.Stand(map[string]hostapi.Facts{"host1": here, "host2": there})
			e := evidence()
			passes(&e, 10, asks("192.168.100.11", "192.168.100.12"), 0, 1, 2)
			r := trace.Judge(path, e)
			if !strings.Contains(r.Hint, c.want) {
				t.Errorf("hint %q, want %q in it", r.Hint, c.want)
			}
			e = evidence()
			passes(&e, 10, request, 0, 1, 2)
			if r := trace.Judge(path, e); !strings.Contains(r.Hint, "does it know where to send it?") {
				t.Errorf("hint for the ping %q", r.Hint)
			}
		})
	}
}

// A guest's ping bears no mark, and where clocks are known but within some time it
// may seem to have arrived before it left.
func TestAGuestsPingIsFollowedThoughClocksDiffer(t *testing.T) {
	path, e := find(t, "vm1", "cn1"), evidence()
	e.Probe = hostapi.ProbeResult{Sent: 1, Received: 1, RTT: time.Millisecond}
	for hop, leaves := range []bool{false, true, true, false, false, true, false} {
		at := began.Add(time.Duration(10*hop) * time.Microsecond)
		if hop < 3 { // on host2
			at = at.Add(3*time.Second + 50*time.Microsecond)
		}
		frame := echo(8, path.From.Address.String(), path.To.Address.String(), "", hop == 2 || hop == 3)
		e.Packets = append(e.Packets, trace.Copy{Hop: hop, Packet: hostapi.Packet{Time: at, Outgoing: leaves, Data: frame}})
	}
	r := trace.Judge(path, e)
	if len(r.Flights) != 1 || len(r.Flights[0].Seen) != len(path.Hops) {
		t.Errorf("of %d hops: %+v", len(path.Hops), r.Flights)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s, -want +got:\n%s", name, d)
	}
}
