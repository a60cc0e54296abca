package hosttest

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"vxorch/remote/hostapi"
)

func (b *bench) capturer() hostapi.Capturer {
	b.Helper()
	c, ok := b.Host.(hostapi.Capturer)
	if !ok {
		b.Fatalf("%T cannot capture", b.Host)
	}
	return c
}

// icmpOnly lets ICMP over IPv4 through.
var icmpOnly = []hostapi.FilterOp{
	{Op: 0x28, Data: 12}, {Op: 0x15, Jf: 3, Data: 0x0800},
	{Op: 0x30, Data: 23}, {Op: 0x15, Jf: 1, Data: 1},
	{Op: 0x06, Data: 1 << 16}, {Op: 0x06},
}

func (b *bench) begin(req hostapi.CaptureRequest) []*hostapi.Error {
	b.Helper()
	failed, err := b.capturer().Capture(b.ctx(), req)
	if err != nil || len(failed) != len(req.Points) {
		b.Fatalf("Capture: %v, %v; want a result for each of %d points", failed, err, len(req.Points))
	}
	return failed
}

// packets fetches packets until there are as many of them, or the end.
func (b *bench) packets(want int) (all []hostapi.Packet, ended bool) {
	b.Helper()
	deadline := time.Now().Add(patience)
	for len(all) < want && !ended && time.Now().Before(deadline) {
		got, err := b.capturer().Packets(b.ctx(), hostapi.PacketsRequest{Patience: time.Second})
		if err != nil || got.Lost > 0 {
			b.Fatalf("Packets: %+v, %v", got, err)
		}
		all, ended = append(all, got.Packets...), got.Ended
	}
	return all, ended
}

func (b *bench) capture() {
	if _, err := b.capturer().Packets(b.ctx(), hostapi.PacketsRequest{}); !errors.Is(err, hostapi.ErrInvalid) {
		b.Errorf("Packets without Capture: %v, want ErrInvalid", err)
	}
	first, second := b.pair("10.77.0.11/24", "10.77.0.12/24")
	mark := []byte("mark of the contract")
	ping := hostapi.Probe{Netns: first.Netns, Target: second.Addresses[0].Addr(), Tries: 1, Mark: mark}
	// From here on it is known who is where, and no ping waits for that.
	b.await("the first reply", func() bool { return b.probes(ping)[0].Received == 1 })
	time.Sleep(50 * time.Millisecond) // for those that waited: they all go at once

	before := b.observe(hostapi.ObserveRequest{})
	failed := b.begin(hostapi.CaptureRequest{Filter: icmpOnly, Snaplen: 64, Points: []hostapi.CapturePoint{
		{Netns: first.Netns, Link: first.Inner}, {Link: b.name("no")}, {Netns: b.name("nons"), Link: "eth0"}, {Link: first.Name},
	}})
	if failed[0] != nil || failed[1] == nil || failed[2] == nil || failed[3] != nil {
		b.Errorf("points that cannot be: %v, want the second and the third", failed)
	}
	began := b.clock()
	b.probes(ping)
	// What has passed by now is there, however little time anybody had to copy it.
	at, err := b.capturer().Packets(b.ctx(), hostapi.PacketsRequest{})
	if err != nil {
		b.Fatalf("Packets: %v", err)
	}
	got, ended := at.Packets, at.Ended
	b.same("after a capture", before, b.observe(hostapi.ObserveRequest{}))
	type seen struct {
		point    int
		outgoing bool
	}
	var ways []seen
	for _, p := range got {
		if len(p.Data) != 64 || p.Length != 14+20+8+56 || !bytes.HasPrefix(p.Data[14+20+8:], mark) {
			b.Errorf("a packet of %d bytes, cut to %d: %x, want the ping's", p.Length, len(p.Data), p.Data)
		}
		if p.Time.Before(began.Add(-time.Second)) || p.Time.After(b.clock().Add(time.Second)) {
			b.Errorf("a packet of %v, at %v", p.Time, b.clock())
		}
		ways = append(ways, seen{p.Point, p.Outgoing})
	}
	slices.SortStableFunc(ways, func(x, y seen) int { return x.point - y.point })
	if want := []seen{{0, true}, {0, false}, {3, false}, {3, true}}; !slices.Equal(ways, want) || ended {
		b.Errorf("the ping passed %v, ended %v; want %v", ways, ended, want)
	}

	// Bounds end it, and a new one begins without what came before.
	b.begin(hostapi.CaptureRequest{Filter: icmpOnly, Count: 1, Points: []hostapi.CapturePoint{{Link: first.Name}}})
	b.probes(ping)
	if got, ended := b.packets(2); len(got) != 1 || !ended || len(got[0].Data) != got[0].Length {
		b.Errorf("with a bound of one packet: %+v, ended %v", got, ended)
	}
	b.begin(hostapi.CaptureRequest{For: time.Millisecond, Points: []hostapi.CapturePoint{{Link: first.Name}}})
	if _, ended := b.packets(1 << 20); !ended {
		b.Errorf("with a bound of a millisecond it did not end")
	}

	for name, bad := range map[string]hostapi.CaptureRequest{
		"no point":         {},
		"a long snaplen":   {Snaplen: 1 << 16, Points: []hostapi.CapturePoint{{Link: first.Name}}},
		"a negative bound": {Count: -1, Points: []hostapi.CapturePoint{{Link: first.Name}}},
	} {
		if _, err := b.capturer().Capture(b.ctx(), bad); !errors.Is(err, hostapi.ErrInvalid) {
			b.Errorf("Capture with %s: %v, want ErrInvalid", name, err)
		}
	}
}

func (b *bench) clock() time.Time {
	b.Helper()
	now, err := b.capturer().Clock(b.ctx())
	if err != nil {
		b.Fatalf("Clock: %v", err)
	}
	return now
}
