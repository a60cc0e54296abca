package plan

import (
	"slices"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// Status tells how everything stands that the lab wants on the hosts that facts
// were gathered from, has there, or meets there in its way: by host, in the order
// in which it is built. It asks the planner twice and so cannot say anything else
// than a plan does: what it would do on hosts where nothing stands is what is
// wanted, what it would do on these is what is not as wanted. Problems are why a
// host, or all, could not be judged.
func Status(lab *inventory.Lab, facts map[string]hostapi.Facts, in Inputs) ([]report.Object, []Network, []*Problem) {
	d := newDeployment(lab, facts, in)
	if len(d.hosts) == 0 {
		return nil, nil, nil
	}
	if d.settle(); len(d.problems) > 0 {
		return nil, nil, d.problems
	}
	for _, host := range d.hosts {
		d.refuseForeign(host)
		d.refuseClashes(host)
		d.refuseForeignVirt(host)
		d.refuseFRR(host)
	}
	bare := *d
	bare.facts, bare.newBridges, bare.newTunnels = map[string]hostapi.Facts{}, map[hostNetwork]bool{}, map[string]bool{}
	for host := range facts {
		bare.facts[host] = hostapi.Facts{Virt: &hostapi.VirtFacts{Images: whole(in.Images)}}
	}
	wanted, actual := bare.plan(), d.plan()
	var all []report.Object
	for _, host := range slices.Sorted(slices.Values(d.hosts)) {
		all = append(all, d.judge(host, steps(wanted, host), steps(actual, host))...)
		for _, p := range d.problems {
			if p.Host == host && !d.isTaken(p) {
				all = append(all, report.Object{Host: host, Kind: "clash", State: report.Foreign, Deploy: refuse, Note: p.Message, Hint: p.Hint})
			}
		}
	}
	return all, actual.Networks, actual.Blocks()
}

// whole gives images as a host has them that lacks none.
func whole(images map[string]hostapi.Image) []hostapi.ImageFacts {
	var all []hostapi.ImageFacts
	for _, image := range images {
		all = append(all, hostapi.ImageFacts{Image: image, Whole: true})
	}
	return all
}

// refuse is what a deploy does about what is in its way.
const refuse = "refuse"

func (d *deployment) isTaken(p *Problem) bool {
	for _, taken := range d.taken {
		if taken == p {
			return true
		}
	}
	return false
}

// steps are a host's in the order in which they run.
func steps(p Plan, host string) []hostapi.Step {
	var all []hostapi.Step
	for _, phase := range p.Phases {
		all = append(all, phase.Steps[host]...)
	}
	return all
}

// judge compares what is wanted on a host with what a deploy would do there.
func (d *deployment) judge(host string, wanted, actual []hostapi.Step) []report.Object {
	work := map[object][]hostapi.Step{}
	for _, s := range actual {
		o := objectOf(host, s)
		work[o] = append(work[o], s)
	}
	var all []report.Object
	seen := map[object]bool{}
	for _, s := range wanted {
		o := objectOf(host, s)
		if !Lasting(s) || seen[o] || isVirtual(s) && d.lacksForVMs(host) != nil {
			continue
		}
		seen[o] = true
		row := report.Object{Host: host, Kind: o.kind, Name: o.name, For: purpose(s), State: report.OK}
		if p := d.taken[o]; p != nil {
			row.State, row.Deploy, row.Note, row.Hint = report.Foreign, refuse, p.Message, p.Hint
		} else if len(work[o]) > 0 {
			difference(&row, work[o])
		}
		all = append(all, row)
	}
	for _, s := range actual {
		switch o := objectOf(host, s); {
		case s.Op != hostapi.Remove || seen[o]:
		case s.Address != nil && !d.carries(host, *s.Address):
			// Taken away after a proof that has not been yet.
		case s.Address != nil:
			all = append(all, report.Object{Host: host, Kind: o.kind, Name: s.Address.Prefix.String() + " on " + o.name, State: report.Stale, Deploy: string(hostapi.Remove)})
		default:
			row := report.Object{Host: host, Kind: o.kind, Name: o.name, For: purpose(s), State: report.Stale, Deploy: string(hostapi.Remove)}
			if m := d.markOf(host, s); m != nil && !m.Intended {
				row.MadeBy = m.User + "@" + m.Controller
			}
			all = append(all, row)
		}
	}
	for _, file := range d.facts[host].Leftovers {
		all = append(all, report.Object{Host: host, Kind: "file", Name: file, State: report.Stale, Deploy: string(hostapi.Remove)})
	}
	return all
}

// difference says how an object differs by the steps that a deploy has for it.
// Those that follow its making are about what is not yet, and one that changes
// nothing makes sure of what stands.
func difference(row *report.Object, work []hostapi.Step) {
	if work[0].Op == hostapi.Create {
		row.State, row.Deploy = report.Absent, string(hostapi.Create)
		return
	}
	if work[0].Op == hostapi.Rebuild {
		work = work[:1]
	}
	for _, s := range work {
		if len(s.Changes) > 0 && row.Deploy == "" {
			row.State, row.Deploy = report.Drifted, string(s.Op)
		}
		for _, c := range s.Changes {
			row.Changes = append(row.Changes, report.Change(c))
			if c.Property == hostapi.Marked || c.From == hostapi.HalfMade {
				row.State = report.HalfMade
			}
		}
	}
}

// isVirtual tells whether a step is about VMs. Where a host cannot run them, which
// is a problem by itself, it does not say how they stand.
func isVirtual(s hostapi.Step) bool { return s.Domain != nil || s.VirtNetwork != nil }

// carries tells whether an address is on its link.
func (d *deployment) carries(host string, a hostapi.Address) bool {
	l := findLink(d.facts[host], a.Link)
	return l != nil && slices.Contains(l.Addresses, a.Prefix)
}

// purpose is the network or the workload that a step's object is for.
func purpose(s hostapi.Step) string {
	switch {
	case s.VTEP != nil:
		return s.VTEP.For
	case s.Bridge != nil:
		return s.Bridge.For
	case s.Namespace != nil:
		return s.Namespace.For
	case s.Veth != nil:
		return s.Veth.For
	case s.VirtNetwork != nil:
		return s.VirtNetwork.For
	case s.Domain != nil:
		return s.Domain.For
	}
	return ""
}

// markOf is the mark that the object of a step bears; nil if it is not there.
func (d *deployment) markOf(host string, s hostapi.Step) *hostapi.Mark {
	facts := d.facts[host]
	_, name := s.Object()
	switch {
	case s.Namespace != nil:
		if n := findNamespace(facts, name); n != nil {
			return n.Mark
		}
	case s.Domain != nil:
		if v := findDomain(facts.Virt, name); v != nil {
			return v.Mark
		}
	case s.VirtNetwork != nil:
		if v := findVirtNetwork(facts.Virt, name); v != nil {
			return v.Mark
		}
	case s.FRR != nil:
		if facts.FRR != nil {
			return facts.FRR.Mark
		}
	default:
		if l := findLink(facts, name); l != nil {
			return l.Mark
		}
	}
	return nil
}
