// Package preflight says what would keep a lab from working before anything of
// it is built: from the inventory and what was seen of the hosts it derives what
// to ask and to try, and judges what came of it. It is pure. What stands in the
// way of a plan alone, plan finds.
package preflight

import (
	"cmp"
	"slices"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// Seen is what was seen of one host.
type Seen struct {
	Facts hostapi.Facts
	Check *hostapi.CheckFacts // nil: it was not checked
	Clock time.Duration       // how far its clock is ahead of the controller's
	Gone  bool                // it failed during the try, which then says nothing of it
}

// Request is what to ask a host; the try's part is left to Listen.
func Request(lab *inventory.Lab, host string, ground plan.Ground) hostapi.CheckRequest {
	req := hostapi.CheckRequest{Lab: lab.Name, Device: ground.Underlays[host].Device}
	for _, n := range lab.Networks {
		req.Links = append(req.Links, n.VXLAN, n.Name)
		req.Bridges = append(req.Bridges, n.Name)
	}
	for _, c := range lab.Containers {
		if c.Host == host {
			for _, leg := range c.Interfaces {
				req.Links = append(req.Links, leg.Link)
			}
		}
	}
	for _, vm := range lab.VMs {
		if vm.Host == host {
			req.Virt = true
			for _, leg := range vm.Interfaces {
				req.Links = append(req.Links, leg.Link)
			}
		}
	}
	return req
}

// Evidence is all that a judgement goes by.
type Evidence struct {
	Ground   plan.Ground
	Seen     map[string]Seen // by host
	Problems []*plan.Problem // why no plan can be made
	Blocks   []*plan.Problem // what the plan leaves out on hosts, and why
	Uploads  []plan.Upload   // that the plan has
	Try      Try
	Came     Came
}

// judge collects findings.
type judge struct {
	Evidence
	lab      *inventory.Lab
	hosts    []string // seen and checked, by name
	findings []report.Finding
}

func newJudge(lab *inventory.Lab, e Evidence) *judge {
	j := &judge{Evidence: e, lab: lab}
	for host, s := range e.Seen {
		if s.Check != nil {
			j.hosts = append(j.hosts, host)
		}
	}
	slices.Sort(j.hosts)
	return j
}

// Judge gives all findings, errors first.
func Judge(lab *inventory.Lab, e Evidence) []report.Finding {
	j := newJudge(lab, e)
	for _, p := range e.Problems {
		j.error("plan", p.Host, "deploy would refuse it and change nothing anywhere", p.Message, p.Hint)
	}
	for _, p := range e.Blocks {
		j.error("libvirt", p.Host, "deploy would leave its VMs out", p.Message, p.Hint)
	}
	j.machines()
	j.underlay()
	j.datagrams()
	j.multicast()
	slices.SortStableFunc(j.findings, func(a, b report.Finding) int { return cmp.Compare(weight(a), weight(b)) })
	return j.findings
}

// weight puts errors before warnings.
func weight(f report.Finding) int {
	if f.Severity == report.SeverityError {
		return 0
	}
	return 1
}

func (j *judge) find(severity, layer, host, cause, proof, mend string) {
	j.findings = append(j.findings, report.Finding{
		Severity: severity, Layer: layer, Host: host, Cause: cause, Proof: proof, Mend: mend, Probes: []int{},
	})
}

func (j *judge) error(layer, host, cause, proof, mend string) {
	j.find(report.SeverityError, layer, host, cause, proof, mend)
}

func (j *judge) warn(layer, host, cause, proof, mend string) {
	j.find(report.SeverityWarning, layer, host, cause, proof, mend)
}

// Lose notes that a host failed during the try.
func (e *Evidence) Lose(host string) {
	seen := e.Seen[host]
	seen.Gone = true
	e.Seen[host] = seen
}
