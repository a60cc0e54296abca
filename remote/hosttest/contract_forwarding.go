package hosttest

import (
	"errors"
	"net/netip"

	"vxorch/remote/hostapi"
)

// tunnelEnds are addresses of b's underlay's family behind which nobody is.
func (b *bench) tunnelEnds() (first, second netip.Addr) {
	if b.Local.Is6() {
		return netip.MustParseAddr("2001:db8::7:1"), netip.MustParseAddr("2001:db8::7:2")
	}
	return netip.MustParseAddr("192.0.2.201"), netip.MustParseAddr("192.0.2.202")
}

// forwarding gives what was seen of the VTEP's.
func (b *bench) forwarding() hostapi.ForwardingFacts {
	b.Helper()
	l := b.link(b.observe(hostapi.ObserveRequest{}), b.vtep().Name)
	if l == nil || l.VXLAN == nil {
		b.Fatalf("the VTEP is seen as %+v", l)
	}
	return l.VXLAN.Forwarding
}

func (b *bench) floodList() {
	vtep := b.vtep()
	vtep.Group, vtep.Bridge = netip.Addr{}, ""
	b.apply(hostapi.Create, b.step(vtep))
	if seen := b.forwarding(); seen != (hostapi.ForwardingFacts{}) {
		b.Errorf("forwarding of a new VTEP: %+v, want nothing", seen)
	}
	first, second := b.tunnelEnds()
	f := hostapi.Forwarding{VTEP: vtep.Name}
	for _, list := range [][]netip.Addr{{first}, {first, second}, {second}, nil} {
		f.Flood = list
		if res := b.apply(hostapi.Update, b.step(f)); !res.Steps[0].Changed {
			b.Errorf("flood list %v: nothing was changed", list)
		}
		if changes := f.Diff(b.forwarding()); len(changes) > 0 {
			b.Errorf("flood list %v: seen with %+v", list, changes)
		}
		if res := b.apply(hostapi.Update, b.step(f)); res.Steps[0].Changed {
			b.Errorf("flood list %v: changed a second time", list)
		}
	}
	b.standsAsWanted([]hostapi.Step{b.step(vtep)})
}

func (b *bench) remotes() {
	vtep := b.vtep()
	vtep.Group, vtep.Static = netip.Addr{}, true
	b.apply(hostapi.Create, b.step(b.bridge()), b.step(vtep))
	b.standsAsWanted([]hostapi.Step{b.step(b.bridge()), b.step(vtep)})
	first, second := b.tunnelEnds()
	far := hostapi.Remote{MAC: b.mac(0x41), Via: first, Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.41"), netip.MustParseAddr("fd00:77::41")}}
	farther := hostapi.Remote{MAC: b.mac(0x42), Via: second, Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.42")}}
	moved := far
	moved.Via = second
	f := hostapi.Forwarding{VTEP: vtep.Name, Bridge: vtep.Bridge}
	for _, remotes := range [][]hostapi.Remote{{far}, {far, farther}, {moved, farther}, {farther}} {
		f.Remotes = remotes
		if res := b.apply(hostapi.Update, b.step(f)); !res.Steps[0].Changed {
			b.Errorf("remotes %v: nothing was changed", remotes)
		}
		seen := b.forwarding()
		if changes := f.Diff(seen); len(changes) > 0 || seen.Remotes != len(remotes) || seen.Flood != 0 {
			b.Errorf("remotes %v: seen as %+v, changes %+v", remotes, seen, changes)
		}
		if res := b.apply(hostapi.Update, b.step(f)); res.Steps[0].Changed {
			b.Errorf("remotes %v: changed a second time", remotes)
		}
	}
	if res := b.apply(hostapi.Remove, b.step(f)); !res.Steps[0].Changed || b.forwarding() != (hostapi.ForwardingFacts{}) {
		b.Errorf("after the removal: changed %t, seen %+v", res.Steps[0].Changed, b.forwarding())
	}

	alone := hostapi.Forwarding{VTEP: vtep.Name, Bridge: b.name("nobr"), Remotes: []hostapi.Remote{far}}
	if _, err := b.try(b.Host, hostapi.Update, b.step(alone)); err == nil {
		b.Error("remote endpoints on a bridge that does not exist: no error")
	}
	name := b.name("alien")
	b.Plant(b.T, name)
	if _, err := b.try(b.Host, hostapi.Update, b.step(hostapi.Forwarding{VTEP: name, Flood: []netip.Addr{first}})); !errors.Is(err, hostapi.ErrForeign) {
		b.Errorf("forwarding of a foreign link: %v, want ErrForeign", err)
	}
}
