package hosttest

import (
	"net/netip"
	"slices"
	"time"

	"vxorch/remote/hostapi"
)

func (b *bench) probe() {
	first, second := b.pair("10.77.0.11/24", "10.77.0.12/24")
	probes := []hostapi.Probe{
		{Netns: first.Netns, Target: second.Addresses[0].Addr()},
		{Netns: second.Netns, Target: first.Addresses[0].Addr(), Bytes: 1000, Tries: 3},
	}
	for i, r := range b.probes(probes...) {
		if r.Error != nil || r.Received < 1 || r.Received > r.Sent || r.Sent > 3 || r.RTT <= 0 {
			b.Errorf("probe %d: %+v, want a reply", i, r)
		}
	}
	whole := b.probes(hostapi.Probe{Netns: first.Netns, Target: second.Addresses[0].Addr(), Whole: true})[0]
	if whole.Error != nil || whole.Received != 1 || whole.Bytes != 1400-28 {
		b.Errorf("probe that fills a packet: %+v, want a reply of 1372 bytes", whole)
	}
	exchange := hostapi.Probe{Netns: first.Netns, Target: second.Addresses[0].Addr(), TCP: &hostapi.TCPExchange{Port: 24791, Bytes: 1 << 16}}
	serving := exchange
	serving.Netns, serving.TCP = second.Netns, &hostapi.TCPExchange{Port: 24791, Bytes: 1 << 16, Serve: true}
	for i, r := range b.probes(exchange, serving) {
		if r.Error != nil || r.Received != 1 || r.Bytes != 1<<16 || r.RTT <= 0 {
			b.Errorf("side %d of a TCP exchange: %+v, want it done", i, r)
		}
	}
	serving.TCP.Clients = 2
	for i, r := range b.probes(exchange, serving, exchange) {
		if want := []int{1, 2, 1}[i]; r.Error != nil || r.Received != want {
			b.Errorf("side %d of two TCP exchanges with one: %+v, want %d done", i, r, want)
		}
	}
	lasting := exchange
	lasting.TCP = &hostapi.TCPExchange{Port: 24792, Bytes: 1 << 16, For: 400 * time.Millisecond}
	serving.TCP = &hostapi.TCPExchange{Port: 24792, Bytes: 1 << 16, For: 400 * time.Millisecond, Serve: true}
	for i, r := range b.probes(lasting, serving) {
		if r.Error != nil || r.Received != 1 || i == 0 && (r.BitRate <= 0 || r.Bytes <= 0) {
			b.Errorf("side %d of an exchange that lasts: %+v, want it done and measured", i, r)
		}
	}
	solicit := func(link, mac string, target netip.Addr) hostapi.Probe {
		return hostapi.Probe{Netns: first.Netns, Target: target, Solicit: &hostapi.Solicitation{Link: link, MAC: mac}}
	}
	at := second.Addresses[0].Addr()
	for i, r := range b.probes(
		solicit(first.Inner, second.InnerMAC, at), solicit(first.Inner, first.InnerMAC, at),
		solicit(first.Inner, second.InnerMAC, netip.MustParseAddr("198.51.100.1")), probes[0],
	) {
		if want := i == 0 || i == 3; r.Error != nil || r.Sent < 1 || (r.Received > 0) != want {
			b.Errorf("solicitation %d: %+v, want an answer: %v", i, r, want)
		}
	}
	if r := b.probes(solicit("none0", second.InnerMAC, at))[0]; r.Error == nil || r.Sent != 0 || r.Received != 0 {
		b.Errorf("solicitation from a link that there is not: %+v, want an error", r)
	}
	exchange.Target = netip.MustParseAddr("198.51.100.1")
	away := hostapi.Probe{Netns: first.Netns, Target: exchange.Target}
	for i, r := range b.probes(exchange, away) {
		if r.Error == nil || r.Error.Kind != hostapi.KindUnreachable || r.Sent != 0 || r.Received != 0 {
			b.Errorf("probe %d to where no route leads: %+v, want it unreachable", i, r)
		}
	}
	// Many at once keep their order: those to nobody are at known places.
	var many []hostapi.Probe
	for i := range 20 {
		p := probes[i%2]
		if i%5 == 3 {
			p.Target, p.Tries = netip.MustParseAddr("10.77.0.200"), 1
		}
		many = append(many, p)
	}
	for i, r := range b.probes(many...) {
		if want := i%5 != 3; r.Error != nil || (r.Received > 0) != want {
			b.Errorf("probe %d of %d: %+v, want a reply: %v", i, len(many), r, want)
		}
	}
	if got, err := b.Host.Probe(b.ctx(), nil); err != nil || len(got) != 0 {
		b.Errorf("no probes: %v, %v", got, err)
	}
}

func (b *bench) probeIPv6() {
	first, second := b.pair("10.77.0.11/24 fd00:77::11/64", "fd00:77::12/64")
	b.standsAsWanted([]hostapi.Step{b.step(first), b.step(second)})
	target := second.Addresses[0].Addr()
	if r := b.probes(hostapi.Probe{Netns: first.Netns, Target: target})[0]; r.Error != nil || r.Received < 1 {
		b.Errorf("probe of %v: %+v, want a reply", target, r)
	}
	solicited := hostapi.Probe{Netns: first.Netns, Target: target, Solicit: &hostapi.Solicitation{Link: first.Inner, MAC: second.InnerMAC}}
	if r := b.probes(solicited)[0]; r.Error != nil || r.Received != 1 {
		b.Errorf("solicitation of %v: %+v, want an answer", target, r)
	}
}

func (b *bench) probeNobody() {
	first, _ := b.pair("10.77.0.11/24", "10.77.0.12/24")
	start := time.Now()
	r := b.probes(hostapi.Probe{Netns: first.Netns, Target: netip.MustParseAddr("10.77.0.200"), Tries: 2})[0]
	if r.Error != nil || r.Received != 0 || r.Sent < 1 || r.Sent > 2 || r.RTT != 0 {
		b.Errorf("probe of an address that nobody has: %+v, want it sent and no reply", r)
	}
	if took := time.Since(start); took > patience {
		b.Errorf("two tries took %v", took)
	}
}

func (b *bench) probeUnsent() {
	first, _ := b.pair("10.77.0.11/24", "10.77.0.12/24")
	results := b.probes(
		hostapi.Probe{Netns: b.name("nons"), Target: netip.MustParseAddr("10.77.0.12")},
		hostapi.Probe{Netns: first.Netns, Target: netip.MustParseAddr("10.77.0.12")},
		hostapi.Probe{Netns: first.Netns, Target: netip.MustParseAddr("10.99.0.1")}, // no route to it
	)
	for i, sent := range []bool{false, true, false} {
		if got := results[i].Error == nil; got != sent {
			b.Errorf("probe %d: %+v, want it sent: %v", i, results[i], sent)
		}
	}
}

func (b *bench) temporaryAddress() {
	vtep := b.vtep()
	vtep.Bridge = ""
	b.apply(hostapi.Create, b.step(vtep))
	a := hostapi.Address{Link: vtep.Name, Prefix: netip.MustParsePrefix("10.77.0.1/24"), Lifetime: time.Minute}
	there := func() bool {
		l := b.link(b.observe(hostapi.ObserveRequest{}), vtep.Name)
		return l != nil && slices.Contains(l.Addresses, a.Prefix)
	}
	if res := b.apply(hostapi.Create, b.step(a)); !res.Steps[0].Changed || !there() {
		b.Errorf("address to create: changed %v, there %v", res.Steps[0].Changed, there())
	}
	if r := b.probes(hostapi.Probe{Target: a.Prefix.Addr()})[0]; r.Error != nil || r.Received < 1 {
		b.Errorf("probe of the own address: %+v, want a reply", r)
	}
	b.standsAsWanted([]hostapi.Step{b.step(vtep)}) // the address is no difference
	for _, changed := range []bool{true, false} {
		if res := b.apply(hostapi.Remove, b.step(a)); res.Steps[0].Changed != changed || there() {
			b.Errorf("address to remove: changed %v, there %v; want changed %v", res.Steps[0].Changed, there(), changed)
		}
	}
	a.Lifetime = time.Second
	b.apply(hostapi.Create, b.step(a))
	b.await("the address to expire", func() bool { return !there() })

	forever := a
	forever.Lifetime = 0
	if _, err := b.try(b.Host, hostapi.Create, b.step(forever)); err == nil || there() {
		b.Errorf("address without a lifetime: %v, there %v; want it refused", err, there())
	}
}
