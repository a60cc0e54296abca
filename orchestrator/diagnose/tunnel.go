package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vxorch/inventory"
	"vxorch/orchestrator/preflight"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

const anyMAC = "00:00:00:00:00:00"

// forwarding looks at where both hosts send frames to the other's end.
func (d *doctor) forwarding(p path) *report.Finding {
	for _, ends := range p.ends() {
		here, there := ends[0], ends[1]
		if _, inspected := d.After[here.host]; !inspected {
			continue
		}
		found := d.atBridge(p, here, there)
		if found == nil && p.between() {
			found = d.atVTEP(p, here, there)
		}
		if found != nil {
			found.Layer, found.Host = LayerFDB, here.host
			return found
		}
	}
	return nil
}

// atBridge looks for a bridge's entry that leads frames for the far end astray.
func (d *doctor) atBridge(p path, here, there end) *report.Finding {
	if there.name == "" {
		return nil
	}
	wanted := p.network.VXLAN
	if !p.between() {
		wanted = there.leg.Link
	}
	for _, e := range d.After[here.host].Entries {
		if e.MAC != there.leg.MAC || e.Via.IsValid() || e.Link == wanted || d.link(here.host, e.Link) == nil && !e.Static {
			continue
		}
		if there.vm != nil && !p.between() {
			continue // its tap's name is libvirt's to choose
		}
		return &report.Finding{
			Cause: fmt.Sprintf("bridge %s sends frames for %s to a wrong port", p.network.Name, there.name),
			Proof: fmt.Sprintf("its entry for MAC %s is port %s, not %s", e.MAC, e.Link, wanted),
			Mend:  fmt.Sprintf("bridge fdb del %s dev %s master", e.MAC, e.Link),
		}
	}
	return nil
}

// atVTEP looks at what the VTEP does with frames for the far end.
func (d *doctor) atVTEP(p path, here, there end) *report.Finding {
	end, known := d.Ground.Underlays[there.host]
	told := d.Told[here.host][p.Network]
	if !known {
		return nil
	}
	var floods []netip.Addr
	var entry *hostapi.FDBEntry
	entries := d.After[here.host].Entries
	for i, e := range entries {
		switch {
		case e.Link != p.network.VXLAN || !e.Via.IsValid():
		case e.MAC == anyMAC:
			floods = append(floods, e.Via)
		case e.MAC == there.leg.MAC:
			entry = &entries[i]
		}
	}
	vtep := p.network.VXLAN
	static := p.network.Flood == inventory.FloodStatic
	if entry != nil && entry.Via != end.Local && (entry.Static || static) {
		return &report.Finding{
			Cause: fmt.Sprintf("VTEP %s sends frames for %s to a wrong host", vtep, there.name),
			Proof: fmt.Sprintf("its entry for MAC %s is tunnel end %s, not %s of %s", entry.MAC, entry.Via, end.Local, there.host),
			Mend:  fmt.Sprintf("bridge fdb replace %s dev %s dst %s self permanent", entry.MAC, vtep, end.Local),
		}
	}
	switch {
	case static && there.name != "" && entry == nil && slices.ContainsFunc(told.Remotes, func(r hostapi.Remote) bool { return r.MAC == there.leg.MAC }):
		return &report.Finding{
			Cause: fmt.Sprintf("VTEP %s does not know where %s is", vtep, there.name), Proof: fmt.Sprintf("it has no entry for MAC %s", there.leg.MAC),
			Mend: fmt.Sprintf("bridge fdb replace %s dev %s dst %s self permanent", there.leg.MAC, vtep, end.Local),
		}
	case p.network.Flood == inventory.FloodUnicast && !slices.Contains(floods, end.Local):
		return &report.Finding{
			Cause: fmt.Sprintf("the flood list of VTEP %s lacks %s", vtep, there.host), Proof: fmt.Sprintf("it has %s, and no %s", addresses(floods), end.Local),
			Mend: fmt.Sprintf("bridge fdb append %s dev %s dst %s self permanent", anyMAC, vtep, end.Local),
		}
	case p.network.Flood == inventory.FloodEVPN && !slices.Contains(floods, end.Local) && slices.Contains(d.ends(here.host, p.network.VNI), end.Local):
		return &report.Finding{
			Cause: fmt.Sprintf("the flood list of VTEP %s lacks %s, of which BGP has told", vtep, there.host), Proof: fmt.Sprintf("it has %s, and no %s", addresses(floods), end.Local),
			Mend: redeploy,
		}
	case p.network.Flood == inventory.FloodMulticast && p.network.Group.IsValid() && !slices.Contains(floods, p.network.Group):
		return &report.Finding{
			Cause: fmt.Sprintf("VTEP %s floods nothing to its group", vtep), Proof: fmt.Sprintf("it floods to %s, not to %s", addresses(floods), p.network.Group),
			Mend: fmt.Sprintf("bridge fdb append %s dev %s dst %s via %s self permanent", anyMAC, vtep, p.network.Group, d.Ground.Underlays[here.host].Device),
		}
	}
	if l := d.link(here.host, vtep); static && l != nil && l.VXLAN != nil {
		for _, c := range told.Diff(l.VXLAN.Forwarding) {
			return &report.Finding{
				Cause: fmt.Sprintf("VTEP %s and its bridge are not told of the others as planned", vtep), Proof: fmt.Sprintf("%s: %s, planned %s", c.Property, c.From, c.To), Mend: redeploy,
			}
		}
	}
	return nil
}

func addresses(all []netip.Addr) string {
	if len(all) == 0 {
		return "none"
	}
	text := ""
	for i, a := range all {
		if i > 0 {
			text += ", "
		}
		text += a.String()
	}
	return text
}

// counters looks at what the VTEPs could not send while the probe was sent again.
func (d *doctor) counters(p path) *report.Finding {
	if !p.between() {
		return nil
	}
	for _, ends := range p.ends() {
		here, there := ends[0].host, ends[1].host
		before, after, ok := d.counted(p, here)
		switch {
		case !ok:
		case after.Collided > before.Collided:
			return &report.Finding{
				Layer: LayerUnderlay, Host: here, Cause: fmt.Sprintf("its way to the tunnel end of %s leads through the tunnel itself", there),
				Proof: counter("collisions", p, before.Collided, after.Collided), Mend: "ip route get " + d.local(there),
			}
		case after.TXCarrier > before.TXCarrier:
			return &report.Finding{
				Layer: LayerUnderlay, Host: here, Cause: fmt.Sprintf("it has no route to the tunnel end of %s", there),
				Proof: counter("tx_carrier_errors", p, before.TXCarrier, after.TXCarrier), Mend: "ip route get " + d.local(there),
			}
		}
	}
	return nil
}

// counted is what a host's VTEP had counted before and after the probe was sent
// again, if it is known.
func (d *doctor) counted(p path, host string) (before, after hostapi.LinkState, ok bool) {
	before, after = state(d.Before[host], p.network.VXLAN), state(d.After[host], p.network.VXLAN)
	return before, after, before.Name != "" && after.Name != ""
}

func counter(name string, p path, was, is uint64) string {
	return fmt.Sprintf("%s of %s was %d, then %d", name, p.network.VXLAN, was, is)
}

// dropped looks at frames that a VTEP has thrown away, when nothing else tells why:
// it does so for want of an entry, and where the host does not let its datagrams out.
// One that floods nothing drops all that it was not told of, be it of this probe or
// not.
func (d *doctor) dropped(p path) *report.Finding {
	if !p.between() || p.network.Flood == inventory.FloodStatic || p.Kind != report.KindPing && !d.lost(p, report.KindPing) {
		return nil
	}
	for _, ends := range p.ends() {
		host := ends[0].host
		if before, after, ok := d.counted(p, host); ok && after.TXDropped > before.TXDropped {
			return &report.Finding{
				Layer: LayerVTEP, Host: host, Cause: fmt.Sprintf("VTEP %s throws frames away", p.network.VXLAN),
				Proof: counter("tx_dropped", p, before.TXDropped, after.TXDropped), Mend: redeploy,
			}
		}
	}
	return nil
}

// reversePath looks for datagrams that rp_filter has dropped.
func (d *doctor) reversePath(p path) *report.Finding {
	if !p.between() {
		return nil
	}
	for _, ends := range p.ends() {
		host, other := ends[0].host, ends[1].host
		before, known := d.Before[host].Counters[hostapi.CounterReversePath]
		after := d.After[host].Counters[hostapi.CounterReversePath]
		if !known || after <= before || d.passes(p, other, host) {
			continue
		}
		u := d.Ground.Underlays[host]
		return &report.Finding{
			Layer: LayerReversePath, Host: host,
			Cause: fmt.Sprintf("rp_filter drops what comes from %s, since the way back is another", other),
			Proof: fmt.Sprintf("%s was %d, then %d", hostapi.CounterReversePath, before, after),
			Mend:  fmt.Sprintf("ip route get %s shows the way back: correct it, or sysctl net.ipv4.conf.%s.rp_filter=2", d.local(other), u.Device),
		}
	}
	return nil
}

// passes tells whether a small datagram got from one host to the other.
func (d *doctor) passes(p path, from, to string) bool {
	return d.Try.Try.Passes(from, to, p.network.Port, d.Try.Came)
}

// underlay looks at what became of datagrams between the hosts.
func (d *doctor) underlay(p path) *report.Finding {
	if !p.between() || len(d.Ground.Networks) == 0 {
		return nil
	}
	for _, f := range d.tried(p.network) {
		ours := f.Host == p.from.host || f.Host == p.to.host
		switch {
		case f.Layer == LayerMTU, f.Layer == LayerMulticast && p.network.Flood != inventory.FloodMulticast:
		case ours, f.Host == "" && f.Layer == LayerMulticast:
			f.Severity = ""
			if _, known := d.After[f.Host].Counters[hostapi.CounterReversePath]; known {
				f.Cause = strings.TrimSuffix(f.Cause, preflight.OrReversePath) // it did not count
			}
			if drop, before := d.dropping(f.Host); drop != nil {
				f.Proof += fmt.Sprintf("; %s dropped %d packets, then %d", called(*drop), before, drop.Packets)
				if drop.Family != "ip" && drop.Family != "ip6" { // else iptables' own command does it
					f.Mend = fmt.Sprintf("nft insert rule %s %s %s udp dport %d accept", drop.Family, drop.Table, drop.Chain, p.network.Port)
				}
			}
			return &f
		}
	}
	return nil
}

// tried are the findings of the datagrams that bear on a network.
func (d *doctor) tried(n inventory.Network) []report.Finding {
	found, done := d.underlays[n.Name]
	if !done {
		found = preflight.JudgeUnderlay(d.lab, d.Try, n)
		d.underlays[n.Name] = found
	}
	return found
}

// dropping is a rule or a policy of a host's that dropped packets meanwhile, with
// what it had counted before; nil: none did.
func (d *doctor) dropping(host string) (drop *hostapi.Drop, before uint64) {
	drops := d.After[host].Drops
	for i := range drops {
		if before, rose := d.rose(host, drops[i]); rose && drops[i].Hook != hostapi.HookForward {
			return &drops[i], before
		}
	}
	return nil, 0
}

// mtu looks at why a full packet does not pass where small ones do.
func (d *doctor) mtu(p path) *report.Finding {
	if p.Kind == report.KindPing || d.lost(p, report.KindPing) || p.OverTCP() && !d.lost(p, report.KindMTU) {
		return nil
	}
	for _, ends := range p.ends() {
		e := ends[0]
		links := []*hostapi.Link{d.link(e.host, p.network.Name), d.link(e.host, p.network.VXLAN), d.link(e.host, e.leg.Link)}
		for _, l := range links {
			if l != nil && p.network.MTU > 0 && l.MTU < p.network.MTU {
				return &report.Finding{
					Layer: LayerMTU, Host: e.host, Cause: fmt.Sprintf("%s carries less than the others", l.Name),
					Proof: fmt.Sprintf("its mtu is %d, the network's is %d", l.MTU, p.network.MTU), Mend: fmt.Sprintf("ip link set %s mtu %d", l.Name, p.network.MTU),
				}
			}
		}
	}
	for _, f := range d.tried(p.network) {
		if f.Layer == LayerMTU && (f.Host == p.from.host || f.Host == p.to.host) {
			f.Severity = ""
			return &f
		}
	}
	return nil
}

// lost tells whether a probe of that kind between the same ends failed, too.
func (d *doctor) lost(p path, kind string) bool {
	return slices.ContainsFunc(d.probes, func(q report.Probe) bool {
		return q.Kind == kind && q.Lost() && q.Network == p.Network && q.From == p.Probe.From && q.To == p.Probe.To
	})
}

// offload looks at TCP that fails where pings of every size pass: then what fills
// in the packets' checksums does it wrong. A check's port may be filtered.
func (d *doctor) offload(p path) *report.Finding {
	if p.Kind != report.KindTCP || p.Stage == report.StageCheck || !p.between() || d.lost(p, report.KindPing) || d.lost(p, report.KindMTU) {
		return nil
	}
	proof := "pings pass, also those that fill their packets; " + p.Error
	for _, ends := range p.ends() {
		host := ends[0].host
		for _, name := range []string{hostapi.CounterUDPChecksum, hostapi.CounterUDP6Checksum} {
			if before, after := d.Before[host].Counters[name], d.After[host].Counters[name]; after > before {
				proof += fmt.Sprintf("; %s of %s was %d, then %d", name, host, before, after)
			}
		}
	}
	return &report.Finding{
		Layer: LayerOffload, Host: p.from.host, Cause: fmt.Sprintf("TCP to %s does not get through", p.to.host), Proof: proof,
		Mend: fmt.Sprintf("ethtool -K %s tx-checksum-ip-generic off on both hosts, if their network cards' offloading is at fault; else look for what filters TCP", p.network.VXLAN),
	}
}
