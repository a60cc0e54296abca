// Package diagnose says why probes failed: from what was seen of the hosts before
// and after a failed probe was sent again, it works an ordered list off on both
// hosts of the probe and stops at the first proof. It is pure, and it says nothing
// where nothing is proved.
package diagnose

import (
	"slices"
	"strings"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/preflight"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// Layers of findings, as they are looked at.
const (
	LayerEndpoint    = "endpoint"
	LayerGuest       = "guest" // of a VM
	LayerBridge      = "bridge"
	LayerVTEP        = "vtep"
	LayerNetfilter   = "netfilter" // on bridged frames
	LayerBGP         = "bgp"       // what fills the tables of networks with flood: evpn
	LayerFDB         = "fdb"
	LayerReversePath = "reverse-path"
	LayerUnderlay    = "underlay"
	LayerMulticast   = "multicast"
	LayerMTU         = "mtu"
	LayerLate        = "late"
	LayerOffload     = "offload"
	LayerIsolation   = "isolation" // of networks
)

// Evidence is what was seen once probes had failed. A host that is missing from a
// map says nothing, and nothing is found about it.
type Evidence struct {
	Ground   plan.Ground
	Problems []*plan.Problem                          // why no plan can be made any more
	Told     map[string]map[string]hostapi.Forwarding // what VTEPs are to know, by host and network
	Facts    map[string]hostapi.Facts
	// Before and After the probes were sent again.
	Before, After map[string]hostapi.Inspection
	// Again is what came of those that were sent again, by index.
	Again map[int]hostapi.ProbeResult
	Try   preflight.Evidence // datagrams over the underlay
}

// Findings names the causes of the probes that failed: each probe has one at most,
// and one cause is named once, with all its probes. probes are sorted as reports
// have them.
func Findings(lab *inventory.Lab, probes []report.Probe, e Evidence) []report.Finding {
	d := &doctor{Evidence: e, lab: lab, probes: probes, underlays: map[string][]report.Finding{}}
	var all []report.Finding
	for i, p := range probes {
		var found *report.Finding
		switch {
		case p.Lost():
			found = d.look(d.path(i, p))
		case p.Leaked():
			found = d.leak(p)
		}
		if found == nil {
			continue
		}
		at := slices.IndexFunc(all, func(f report.Finding) bool {
			return f.Layer == found.Layer && f.Host == found.Host && f.Cause == found.Cause
		})
		if at < 0 {
			at = len(all)
			all = append(all, *found)
		} else if f := &all[at]; !strings.Contains(f.Mend, found.Mend) {
			f.Mend += "; " + found.Mend
		}
		all[at].Probes = append(all[at].Probes, i)
	}
	return all
}

// doctor works the list off.
type doctor struct {
	Evidence
	lab       *inventory.Lab
	probes    []report.Probe
	underlays map[string][]report.Finding // by network
}

// path is a probe that failed, with its two ends.
type path struct {
	report.Probe
	index    int
	network  inventory.Network // settled, as far as it is
	from, to end
}

// end is one end of a path. Of a proof between VTEPs it is the host alone.
type end struct {
	host string
	name string // workload; empty: a VTEP's
	vm   *inventory.VM
	nets string // namespace of a container
	leg  inventory.Interface
}

// between tells whether the path leads over the underlay.
func (p path) between() bool { return p.from.host != p.to.host }

// ends are both, each with the other.
func (p path) ends() [2][2]end { return [2][2]end{{p.from, p.to}, {p.to, p.from}} }

func (d *doctor) path(index int, p report.Probe) path {
	out := path{Probe: p, index: index, network: d.lab.Network(p.Network)}
	if i := slices.IndexFunc(d.Ground.Networks, func(n inventory.Network) bool { return n.Name == p.Network }); i >= 0 {
		out.network = d.Ground.Networks[i]
	}
	out.from, out.to = d.end(p, p.FromHost, p.From), d.end(p, p.ToHost, p.To)
	return out
}

func (d *doctor) end(p report.Probe, host, name string) end {
	e := end{host: host}
	if p.Stage == report.StageVTEP {
		return e
	}
	e.name = name
	leg := func(legs []inventory.Interface) {
		for _, l := range legs {
			if l.Network == p.Network {
				e.leg = l
			}
		}
	}
	for _, c := range d.lab.Containers {
		if c.Name == name {
			e.nets = c.Netns
			leg(c.Interfaces)
		}
	}
	for i, vm := range d.lab.VMs {
		if vm.Name == name {
			e.vm = &d.lab.VMs[i]
			leg(vm.Interfaces)
		}
	}
	return e
}

// look works the list off for one path.
func (d *doctor) look(p path) *report.Finding {
	for _, check := range []func(path) *report.Finding{
		d.endpoints, d.bridges, d.vteps, d.leaking, d.addressTaken, d.settled, d.netfilter, d.controlPlane, d.forwarding, d.counters,
		d.reversePath, d.underlay, d.silent, d.mtu, d.dropped, d.late, d.offload,
	} {
		if found := check(p); found != nil {
			found.Probes = []int{}
			return found
		}
	}
	return nil
}

// settled tells of a host on which nothing could be planned any more: its underlay
// is gone, or not as it was.
func (d *doctor) settled(p path) *report.Finding {
	for _, problem := range d.Problems {
		if p.between() && (problem.Host == p.from.host || problem.Host == p.to.host) {
			return &report.Finding{Layer: LayerUnderlay, Host: problem.Host, Cause: "the lab cannot stand on it as it is", Proof: problem.Message, Mend: problem.Hint}
		}
	}
	return nil
}

// late tells of a probe that was answered when it was sent again.
func (d *doctor) late(p path) *report.Finding {
	if r := d.Again[p.index]; r.Received > 0 {
		return &report.Finding{
			Layer: LayerLate, Host: p.from.host, Cause: "the first packets were lost, later ones are answered",
			Proof: "sent again, it was answered in " + r.RTT.String(), Mend: "vxorch verify",
		}
	}
	return nil
}

// link is one in a host's own namespace; nil: it is not there.
func (d *doctor) link(host, name string) *hostapi.Link {
	links := d.Facts[host].Links
	if i := slices.IndexFunc(links, func(l hostapi.Link) bool { return l.Name == name }); i >= 0 {
		return &links[i]
	}
	return nil
}

// seen tells whether a host's facts are at hand.
func (d *doctor) seen(host string) bool {
	_, ok := d.Facts[host]
	return ok
}

// state is what a link counted.
func state(i hostapi.Inspection, name string) hostapi.LinkState {
	for _, l := range i.Links {
		if l.Name == name {
			return l
		}
	}
	return hostapi.LinkState{}
}

// local is a host's tunnel end, as text.
func (d *doctor) local(host string) string { return d.Ground.Underlays[host].Local.String() }
