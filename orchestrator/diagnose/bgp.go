package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// badAS is how bgpd calls it that the other has another number (RFC 4271 §6.2).
const badAS = "Bad Peer AS"

// BGPQuery is what to ask a host's control plane, as far as the ground is known; nil:
// the lab has none.
func BGPQuery(lab *inventory.Lab, host string, ground plan.Ground) *hostapi.BGPQuery {
	if lab.EVPN == nil {
		return nil
	}
	q := &hostapi.BGPQuery{Lab: lab.Name}
	for _, reflector := range lab.EVPN.Reflectors {
		if u, known := ground.Underlays[reflector]; known && reflector != host {
			q.Peers = append(q.Peers, u.Local)
		}
	}
	for _, n := range lab.Networks {
		if n.Flood == inventory.FloodEVPN {
			q.VNIs = append(q.VNIs, n.VNI)
		}
	}
	return q
}

// controlPlane looks at what fills the tables of both hosts: whether it runs, has a
// session, tells the other of the network and was told.
func (d *doctor) controlPlane(p path) *report.Finding {
	if !p.between() || p.network.Flood != inventory.FloodEVPN {
		return nil
	}
	for _, check := range []func(path, end, end) *report.Finding{d.daemons, d.session, d.route} {
		for _, ends := range p.ends() {
			here, there := ends[0], ends[1]
			if found := check(p, here, there); found != nil {
				found.Layer, found.Host = LayerBGP, here.host
				return found
			}
		}
	}
	return nil
}

// daemons tells of ones that do not run.
func (d *doctor) daemons(_ path, here, _ end) *report.Finding {
	seen := d.Facts[here.host].FRR
	if !d.seen(here.host) || seen == nil {
		return nil
	}
	var gone []string
	for _, name := range []string{hostapi.Zebra, hostapi.BGPD} {
		if !seen.Runs(name) {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return &report.Finding{Cause: "the lab's " + strings.Join(gone, " and ") + " do not run on it", Proof: "there is no such process", Mend: redeploy}
}

// session tells of a host that has none with any reflector, and why.
func (d *doctor) session(_ path, here, _ end) *report.Finding {
	state := d.After[here.host].BGP
	if state == nil || len(state.Peers) == 0 || slices.ContainsFunc(state.Peers, func(p hostapi.BGPPeer) bool { return p.State == hostapi.Established }) {
		return nil
	}
	peer := state.Peers[0]
	reflector := d.hostAt(peer.Address)
	proof := fmt.Sprintf("its session with %s (%s, tcp port %d) is %s", peer.Address, reflector, d.lab.EVPN.Port, report.Clean(peer.State))
	if strings.Contains(peer.Reason, badAS) {
		return &report.Finding{
			Cause: "BGP's numbers differ between it and the reflectors", Proof: proof + ": " + report.Clean(peer.Reason),
			Mend: fmt.Sprintf("look for `router bgp` and remote-as in its bgpd, which are to be %d; %s", d.lab.EVPN.ASN, redeploy),
		}
	}
	for _, name := range []string{hostapi.CounterMD5Failure, hostapi.CounterMD5NotFound, hostapi.CounterMD5Unexpected} {
		for _, host := range []string{reflector, here.host} {
			if before, after := d.Before[host].Counters[name], d.After[host].Counters[name]; after > before {
				return &report.Finding{
					Cause: "BGP's password differs between it and the reflectors", Proof: fmt.Sprintf("%s; %s of %s was %d, then %d", proof, name, host, before, after),
					Mend: "vxorch deploy with one evpn.password_file for all hosts",
				}
			}
		}
	}
	cause := "it has no BGP session with a reflector"
	mend := fmt.Sprintf("let TCP to port %d pass between %s and %s", d.lab.EVPN.Port, here.host, reflector)
	for _, host := range []string{here.host, reflector} {
		if drop, before := d.dropping(host); drop != nil {
			cause = fmt.Sprintf("it has no BGP session with a reflector, since %s drops packets", host)
			proof += fmt.Sprintf("; %s of %s dropped %d packets, then %d", called(*drop), host, before, drop.Packets)
			break
		}
	}
	return &report.Finding{Cause: cause, Proof: proof, Mend: mend}
}

// route tells of a host that does not serve the network, or was not told of the
// other.
func (d *doctor) route(p path, here, there end) *report.Finding {
	mine, other := d.Ground.Underlays[here.host].Local, d.Ground.Underlays[there.host].Local
	if d.told(here.host, p.network.VNI) == nil || !mine.IsValid() || !other.IsValid() {
		return nil
	}
	known := d.ends(here.host, p.network.VNI)
	switch {
	case !slices.Contains(known, mine):
		return &report.Finding{
			Cause: fmt.Sprintf("its bgpd tells nobody of VNI %d", p.network.VNI), Proof: fmt.Sprintf("of the VNI it has routes to %s, and none of its own", addresses(known)),
			Mend: "look for advertise-all-vni in its bgpd; " + redeploy,
		}
	case slices.Contains(known, other) || !slices.Contains(d.ends(there.host, p.network.VNI), other): // or the other is at fault
		return nil
	}
	return &report.Finding{
		Cause: fmt.Sprintf("no route to the tunnel end of %s has come", there.host), Proof: fmt.Sprintf("of VNI %d its bgpd has routes to %s, not to %s", p.network.VNI, addresses(known), other),
		Mend: "look at the sessions of both and of the reflectors; " + redeploy,
	}
}

// told is what a host's bgpd told of a VNI; nil: nothing.
func (d *doctor) told(host string, vni int) *hostapi.EVPNState {
	if state := d.After[host].BGP; state != nil {
		for i, v := range state.VNIs {
			if v.VNI == vni {
				return &state.VNIs[i]
			}
		}
	}
	return nil
}

// ends are the tunnel ends of a VNI that a host's bgpd knows, its own among them.
func (d *doctor) ends(host string, vni int) []netip.Addr {
	if told := d.told(host, vni); told != nil {
		return told.Ends
	}
	return nil
}

// hostAt is the host with that tunnel end.
func (d *doctor) hostAt(end netip.Addr) string {
	for host, u := range d.Ground.Underlays {
		if u.Local == end {
			return host
		}
	}
	return "no host"
}
