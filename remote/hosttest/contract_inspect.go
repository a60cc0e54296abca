package hosttest

import (
	"net/netip"
	"slices"

	"vxorch/remote/hostapi"
)

func (b *bench) inspect() {
	inspector, ok := b.Host.(hostapi.Inspector)
	if !ok {
		b.Fatalf("%T cannot be looked into", b.Host)
	}
	v1, v2 := b.pair("10.77.0.11/24", "10.77.0.12/24")
	vtep := b.vtep()
	vtep.Group, vtep.Static = netip.Addr{}, true
	via, _ := b.tunnelEnds()
	far := hostapi.Remote{MAC: b.mac(0x41), Via: via, Addresses: []netip.Addr{netip.MustParseAddr("10.77.0.41")}}
	b.apply(hostapi.Create, b.step(vtep))
	b.apply(hostapi.Update, b.step(hostapi.Forwarding{VTEP: vtep.Name, Bridge: vtep.Bridge, Remotes: []hostapi.Remote{far}}))
	before := b.observe(hostapi.ObserveRequest{})
	target := netip.MustParseAddr("10.77.0.12")
	b.probes(hostapi.Probe{Netns: v1.Netns, Target: target})
	seen, err := inspector.Inspect(b.ctx(), hostapi.InspectRequest{
		Links: []string{vtep.Bridge, vtep.Name, v1.Name, b.name("no")}, MACs: []string{far.MAC},
		Namespaces: []string{v1.Netns, b.name("no")}, Addresses: []netip.Addr{target},
	})
	if err != nil {
		b.Fatalf("Inspect: %v", err)
	}
	ports := map[string]string{}
	for _, l := range seen.Links {
		ports[l.Name] = l.Port
	}
	b.same("states of ports", map[string]string{vtep.Bridge: "", vtep.Name: "forwarding", v1.Name: "forwarding"}, ports)
	for _, want := range []hostapi.FDBEntry{{Link: vtep.Name, MAC: far.MAC, Via: via, Static: true}, {Link: vtep.Name, MAC: far.MAC, Static: true}} {
		if !slices.Contains(seen.Entries, want) {
			b.Errorf("entries %+v, want %+v among them", seen.Entries, want)
		}
	}
	b.same("neighbours", []hostapi.Neighbour{{Netns: v1.Netns, Address: target, MAC: v2.InnerMAC}}, seen.Neighbours)
	b.same("after an inspection", before, b.observe(hostapi.ObserveRequest{}))
}
