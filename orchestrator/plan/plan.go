// Package plan decides what has to be done: from a lab and the facts of its
// hosts it makes phases of steps and probes. It is pure, and what it gives is
// what runs: printing a plan and applying it cannot differ.
package plan

import (
	"maps"
	"slices"

	"vxorch/orchestrator/verify"
	"vxorch/remote/hostapi"
)

// Plan is an ordered list of phases.
type Plan struct {
	Phases []Phase
	// Removals are the workloads that deploy takes away because the inventory no
	// longer has them, and the VMs that it makes anew, without what is on their
	// disks. They are among the steps.
	Removals []Removal
	// Uploads are the images that hosts lack; they have to be there before the
	// phase that makes the VMs.
	Uploads []Upload
	// Networks is how the hosts settled what the inventory left to them.
	Networks []Network
	// Underlays is what carries the hosts' tunnels, by host.
	Underlays map[string]Underlay
	// StandIns are the hosts that are not at hand and for whose underlay what was
	// last known of them stands.
	StandIns []string
}

// Phase is a batch of steps a host, in parallel, then the probes once every
// host has done its steps. Without probes and barriers no host waits for another.
type Phase struct {
	Name   string // report's stage
	Proof  string // report's stage of the probes; empty without probes
	Steps  map[string][]hostapi.Step
	Probes []verify.Pair
	// Barrier: no host begins before all have done what comes before.
	Barrier bool
	// VMs: the phase is about VMs alone. A host that fails in it goes on without
	// them.
	VMs bool
	// Blocked is what keeps hosts from their part of the phase, as their facts tell.
	Blocked map[string]*hostapi.Error
}

// Removal is a workload of an earlier inventory that still stands on a host, or a
// VM that cannot become what the inventory wants without losing its disk.
type Removal struct {
	Host string
	Kind string
	Name string
	Mark hostapi.Mark
	Anew bool // it comes back, with an empty disk
}

// Network is what a network came to on the hosts at hand.
type Network struct {
	Name     string `json:"name"`
	MTU      int    `json:"mtu"`                // bytes
	Flood    string `json:"flood"`              // how BUM frames reach the other hosts
	Why      string `json:"why,omitempty"`      // it is so, where the inventory left it open
	Group    string `json:"group,omitempty"`    // multicast group
	Unproved string `json:"unproved,omitempty"` // why its VTEPs are not proved; empty: they are
}

type object struct{ host, kind, name string }

// objectOf is what a step on a host is about.
func objectOf(host string, s hostapi.Step) object {
	kind, name := s.Object()
	return object{host, kind, name}
}

// Changes counts the objects that the uploads and the steps leave changed, each
// once however many steps it takes.
func (p Plan) Changes() int {
	changed := map[object]bool{}
	for _, phase := range p.Phases {
		for host, steps := range phase.Steps {
			for _, step := range steps {
				if Lasting(step) {
					changed[objectOf(host, step)] = true
				}
			}
		}
	}
	for _, u := range p.Uploads {
		changed[object{u.Host, "image", u.Image}] = true
	}
	return len(changed)
}

// Lasting tells whether a step leaves something changed: a proof's temporary
// addresses come and go, and guests and routes are only waited for.
func Lasting(s hostapi.Step) bool { return s.Address == nil && s.Guest == nil && s.Routes == nil }

// Blocks lists what keeps hosts from their part of a phase, as problems.
func (p Plan) Blocks() []*Problem {
	var all []*Problem
	for _, phase := range p.Phases {
		for _, host := range slices.Sorted(maps.Keys(phase.Blocked)) {
			why := phase.Blocked[host]
			all = append(all, &Problem{host, why.Message, why.Hint})
		}
	}
	return all
}

// Problem is why no plan can be made, or why a part of one cannot be done.
// Nothing has been changed on any host.
type Problem struct {
	Host    string
	Message string
	Hint    string
}

func (p *Problem) Error() string { return p.Host + ": plan: " + p.Message }
