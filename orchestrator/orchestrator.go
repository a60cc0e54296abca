// Package orchestrator holds the verbs: each a short list of phases over the
// hosts of a lab. How a host is reached, who asks and where progress goes are
// handed in; printing and exit codes are left to the command.
package orchestrator

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/history"
	"vxorch/orchestrator/images"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
	"vxorch/orchestrator/verify"
	"vxorch/remote/hostapi"
)

// Controller runs verbs on behalf of one user. All fields are needed but Full, Part and
// Events.
type Controller struct {
	Dial     func(context.Context, inventory.Host) (hostapi.Host, error)
	Resolve  func(ctx context.Context, name string) (netip.Addr, error) // a host's SSH address
	User     string                                                     // who asks; goes into marks and locks
	Machine  string                                                     // from where; goes into marks and locks
	Images   images.Cache                                               // of VMs' images
	History  history.Store                                              // remembers the hosts of deploys
	Parallel int                                                        // hosts worked on at once
	Full     bool                                                       // prove every pair, however many there are
	Part     []string                                                   // names of the hosts to work on, no other being contacted; none: all
	// Rollback: a deploy that fails on any host takes what it has made away again,
	// on every host that answers, and does not begin without all hosts.
	Rollback bool
	Now      func() time.Time
	Events   func(run.Event) // progress; may be nil
}

// Outcome is what came of a verb.
type Outcome struct {
	Result *report.Result
	Plan   plan.Plan
	// Errs are the hosts' errors, the reasons why no plan could be made and what
	// a destroy left, for people. None: everything was done, though a probe may
	// have failed.
	Errs []error
	// Warnings are for people, too; nothing failed.
	Warnings []Warning
}

// Confirm is asked before a verb takes anything away; its error ends the verb
// before anything is changed.
type Confirm func(plan.Plan) error

// Plan tells what Deploy would do. It changes nothing and takes no lock.
func (c *Controller) Plan(ctx context.Context, lab *inventory.Lab) Outcome {
	s := c.begin(lab)
	defer s.close()
	in, err := s.prepareImages(ctx)
	if err != nil {
		return s.refuse("plan", err)
	}
	facts := s.gather(ctx, "", s.deployRequest(in))
	known := s.recall()
	s.nameLeft(known, facts)
	in.Known = s.lastKnown(known)
	s.tryMulticast(ctx, facts, &in)
	p, problems := plan.Deploy(lab, facts, in)
	return s.outcome("plan", p, append(problems, p.Blocks()...))
}

// Deploy brings the hosts to what lab asks for, from whatever state they are in,
// and proves it.
func (c *Controller) Deploy(ctx context.Context, lab *inventory.Lab, confirm Confirm) Outcome {
	s := c.begin(lab)
	defer s.close()
	in, err := s.prepareImages(ctx)
	if err != nil {
		return s.refuse("deploy", err)
	}
	facts := s.gather(ctx, "deploy", s.deployRequest(in))
	known := s.recall()
	s.nameLeft(known, facts)
	in.Known = s.lastKnown(known)
	s.tryMulticast(ctx, facts, &in)
	p, problems := plan.Deploy(lab, facts, in)
	if s.locked() || len(problems) > 0 {
		return s.outcome("deploy", plan.Plan{}, problems)
	}
	if c.Rollback && len(s.run.Errs()) > 0 {
		return s.refuse("deploy", errNotWhole)
	}
	if c.Rollback && len(p.Blocks()) > 0 { // all of it or nothing
		return s.outcome("deploy", plan.Plan{}, p.Blocks())
	}
	if len(p.Removals) > 0 {
		if err := confirm(p); err != nil {
			return s.refuse("deploy", err)
		}
	}
	s.remember(facts)
	sending := s.upload(ctx, p.Uploads)
	s.run.Apply(ctx, p.Phases, s.hosts, s.batch(), sending.await)
	sending.end()
	if c.Rollback && len(s.run.Errs()) > 0 {
		s.rollback(ctx, facts)
	}
	s.recordSkips(p)
	return s.diagnosed(ctx, in, s.outcome("deploy", p, nil))
}

// Verify sends the proofs of a deployed lab again. It changes nothing and takes
// no lock.
func (c *Controller) Verify(ctx context.Context, lab *inventory.Lab) Outcome {
	s := c.begin(lab)
	defer s.close()
	s.connect(ctx)
	containers, vms := verify.Proofs(lab, c.Full)
	s.run.Prove(ctx, plan.PhaseProof, verify.Among(c.Part, containers), s.hosts)
	if vms = verify.Among(c.Part, vms); len(vms) > 0 {
		s.run.Prove(ctx, plan.PhaseVMProof, vms, s.hosts)
	}
	return s.diagnosed(ctx, plan.Inputs{Part: c.Part, Full: c.Full}, s.outcome("verify", plan.Plan{}, nil))
}

// Destroy takes away what bears the lab's mark on its hosts and looks everywhere
// there whether anything is left. Only the lab's name and hosts matter.
func (c *Controller) Destroy(ctx context.Context, lab *inventory.Lab, confirm Confirm) Outcome {
	s := c.begin(lab)
	defer s.close()
	facts := s.gather(ctx, "destroy", func(string) hostapi.ObserveRequest { return s.everything() })
	p := plan.Destroy(lab.Name, facts)
	if s.locked() {
		return s.outcome("destroy", plan.Plan{}, nil)
	}
	if p.Changes() > 0 {
		if err := confirm(p); err != nil {
			return s.refuse("destroy", err)
		}
		s.run.Apply(ctx, p.Phases, s.hosts, s.batch(), nil)
	}
	s.lookForRemains(ctx, facts)
	s.forget(func(host string) bool { return s.host(host) != nil && s.run.Err(host) == nil })
	return s.outcome("destroy", p, nil)
}

// recordSkips notes on each host the proofs that its part of p does without.
func (s *session) recordSkips(p plan.Plan) {
	for _, phase := range p.Phases {
		if phase.Proof == "" || len(phase.Probes) > 0 {
			continue
		}
		for name := range s.hosts {
			if s.run.Err(name) == nil {
				s.run.Skip(name, phase.Proof, "nothing to prove")
			}
		}
	}
}

// refuse ends a verb before anything is changed.
func (s *session) refuse(verb string, err error) Outcome {
	s.refused = err
	return s.outcome(verb, plan.Plan{}, nil)
}

// outcome sums the session up.
func (s *session) outcome(verb string, p plan.Plan, problems []*plan.Problem) Outcome {
	result := s.run.Result(s.lab.Name, verb)
	result.Topology, result.Left = topology(s.lab, p), s.left
	errs := s.run.Errs()
	for _, problem := range problems {
		errs = append(errs, problem)
		for i := range result.Hosts {
			if h := &result.Hosts[i]; h.Name == problem.Host && h.Error == "" {
				h.Result, h.Error, h.Hint = report.Failed, "plan: "+problem.Message, problem.Hint
			}
		}
	}
	if s.refused != nil {
		errs = append(errs, s.refused)
		result.Error = s.refused.Error()
	}
	if len(errs) > 0 {
		result.Result = report.Fail
	}
	result.Sort()
	return Outcome{Result: result, Plan: p, Errs: errs, Warnings: s.warnings}
}

func topology(lab *inventory.Lab, p plan.Plan) report.Topology {
	t := report.Topology{Networks: []report.Network{}, Endpoints: []report.Endpoint{}}
	for _, n := range lab.Networks {
		row := report.Network{
			Name: n.Name, VTEP: n.VXLAN, VNI: n.VNI, Port: n.Port, Flood: string(n.Flood), Subnet: n.Subnet.String(), MTU: n.MTU,
		}
		if n.Group.IsValid() {
			row.Group = n.Group.String()
		}
		if i := slices.IndexFunc(p.Networks, func(s plan.Network) bool { return s.Name == n.Name }); i >= 0 {
			settled := p.Networks[i]
			row.MTU, row.Flood, row.FloodWhy, row.Group, row.Unproved = settled.MTU, settled.Flood, settled.Why, settled.Group, settled.Unproved
		}
		if n.Second.IsValid() {
			row.Second = n.Second.String()
		}
		t.Networks = append(t.Networks, row)
	}
	for host, u := range p.Underlays {
		t.Underlays = append(t.Underlays, report.Underlay{Host: host, Device: u.Device, Address: u.Local.String(), MTU: u.MTU})
	}
	add := func(name, kind, host string, legs []inventory.Interface) {
		for _, leg := range legs {
			row := report.Endpoint{Name: name, Kind: kind, Host: host, Network: leg.Network, Address: leg.Address.String(), MAC: leg.MAC}
			if leg.Second.IsValid() {
				row.Second = leg.Second.String()
			}
			t.Endpoints = append(t.Endpoints, row)
		}
	}
	for _, c := range lab.Containers {
		add(c.Name, "container", c.Host, c.Interfaces)
	}
	for _, vm := range lab.VMs {
		add(vm.Name, "vm", vm.Host, vm.Interfaces)
	}
	return t
}

// locked tells whether another controller holds the lab on any host: then
// nothing is changed anywhere.
func (s *session) locked() bool {
	return slices.ContainsFunc(s.run.Errs(), func(err error) bool { return errors.Is(err, hostapi.ErrLocked) })
}
