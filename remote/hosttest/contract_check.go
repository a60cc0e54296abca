package hosttest

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vxorch/remote/hostapi"
)

func (b *bench) checker(h hostapi.Host) hostapi.Checker {
	b.Helper()
	c, ok := h.(hostapi.Checker)
	if !ok {
		b.Fatalf("%T cannot be checked", h)
	}
	return c
}

func (b *bench) overlaps() {
	subnet := netip.PrefixFrom(b.Local, b.Local.BitLen()).Masked()
	f := b.observe(hostapi.ObserveRequest{Subnets: []netip.Prefix{subnet}, Ports: []int{b.vtep().Port}})
	if !slices.ContainsFunc(f.Overlaps, func(r hostapi.HostRoute) bool {
		return r.Subnet == subnet && r.Device == b.Underlay && r.Prefix.Contains(b.Local) && !r.Gateway.IsValid()
	}) {
		b.Errorf("overlaps of %v are %+v, want the underlay's own network", subnet, f.Overlaps)
	}
	if len(f.Holders) > 0 {
		b.Errorf("holders %+v of a port that nobody holds", f.Holders)
	}
	if f := b.observe(hostapi.ObserveRequest{}); len(f.Overlaps) > 0 {
		b.Errorf("overlaps %+v that nobody asked for", f.Overlaps)
	}
}

const token = "0123456789abcdef"

// check asks for facts and listens at the underlay.
func (b *bench) check(groups ...netip.Addr) hostapi.CheckFacts {
	b.Helper()
	f, err := b.checker(b.Host).Check(b.ctx(), hostapi.CheckRequest{
		Lab: b.lab, Device: b.Underlay, Links: []string{b.name("vx"), b.name("br")}, Bridges: []string{b.name("br")},
		Listen: &hostapi.Listen{Token: token, Device: b.Underlay, Local: b.Local, Groups: groups},
	})
	if err != nil {
		b.Fatalf("Check: %v", err)
	}
	return f
}

func (b *bench) checkFacts() {
	began := time.Now()
	f := b.check()
	if len(f.Lacks) > 0 || f.Deaf != nil {
		b.Errorf("lacks %+v, deaf %v; want neither", f.Lacks, f.Deaf)
	}
	if f.Time.Before(began.Add(-time.Minute)) || f.Time.After(time.Now().Add(time.Minute)) {
		b.Errorf("the host's time is %v", f.Time)
	}
	before := b.observe(hostapi.ObserveRequest{})
	b.check()
	b.same("after a check", before, b.observe(hostapi.ObserveRequest{}))

	bad, err := b.checker(b.Host).Check(b.ctx(), hostapi.CheckRequest{
		Lab: b.lab, Listen: &hostapi.Listen{Token: "short", Device: b.Underlay, Local: b.Local},
	})
	if err != nil || bad.Deaf == nil || bad.Deaf.Kind != hostapi.KindInvalid {
		b.Errorf("Check with a bad token: %+v, %v; want it deaf and invalid", bad.Deaf, err)
	}
}

// datagrams is of what comes to the machine from itself: what between two
// machines is different, tests of two machines have to show.
func (b *bench) datagrams() {
	c := b.checker(b.Host)
	if _, err := c.Heard(b.ctx(), hostapi.HeardRequest{}); !errors.Is(err, hostapi.ErrInvalid) {
		b.Errorf("Heard without Listen: %v, want ErrInvalid", err)
	}
	b.check()
	send := hostapi.SendRequest{Token: token, Device: b.Underlay, Local: b.Local, Datagrams: []hostapi.Datagram{
		{ID: 7, To: b.Local, Port: 24790},
		{ID: 5, To: b.Local, Port: 24790, Plain: true},
		{ID: 6, To: b.Local, Port: 24790, Size: 1400},
	}}
	unsent, err := c.Send(b.ctx(), send)
	if err != nil || len(unsent) > 0 {
		b.Fatalf("Send: %+v, %v; want all sent", unsent, err)
	}
	heard, err := c.Heard(b.ctx(), hostapi.HeardRequest{IDs: []uint32{7, 5, 6}, Patience: patience})
	if err != nil {
		b.Fatalf("Heard: %v", err)
	}
	b.same("heard", []hostapi.Heard{{ID: 5, Delivered: true}, {ID: 6, Delivered: true}, {ID: 7, Delivered: true}}, heard)

	// What is not of this try is not heard, and what did not come is not waited for
	// longer than told.
	send.Token = strings.Repeat("f", 16)
	send.Datagrams = []hostapi.Datagram{{ID: 9, To: b.Local, Port: 24790}}
	if unsent, err := c.Send(b.ctx(), send); err != nil || len(unsent) > 0 {
		b.Fatalf("Send: %+v, %v", unsent, err)
	}
	heard, err = c.Heard(b.ctx(), hostapi.HeardRequest{IDs: []uint32{9}, Patience: 20 * time.Millisecond})
	if err != nil || len(heard) > 0 {
		b.Errorf("Heard of another try: %+v, %v; want nothing", heard, err)
	}

	// A new try begins with nothing heard.
	b.check()
	heard, err = c.Heard(b.ctx(), hostapi.HeardRequest{IDs: []uint32{7}})
	if err != nil || len(heard) > 0 {
		b.Errorf("Heard in a new try: %+v, %v; want nothing", heard, err)
	}

	send.Datagrams = []hostapi.Datagram{{ID: 1, To: netip.IPv6Loopback(), Port: 24790}}
	if b.Local.Is6() {
		send.Datagrams[0].To = netip.MustParseAddr("127.0.0.1")
	}
	if _, err := c.Send(b.ctx(), send); !errors.Is(err, hostapi.ErrInvalid) {
		b.Errorf("Send to another family: %v, want ErrInvalid", err)
	}
}
