package verify

import (
	"fmt"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// Proofs gives the mesh's pairs and those of the inventory's checks: first those
// between containers, then those with a VM at an end.
func Proofs(lab *inventory.Lab, full bool) (containers, vms []Pair) {
	containers, vms = Mesh(lab, full)
	checks, vmChecks := Checks(lab)
	return append(containers, checks...), append(vms, vmChecks...)
}

// Checks gives the pairs of the inventory's checks: one for every address of To in
// every network that it shares with From; where they share none, for every address.
func Checks(lab *inventory.Lab) (containers, vms []Pair) {
	ends := map[string]endpoint{}
	for _, e := range endpoints(lab) {
		ends[e.name] = e
	}
	for _, c := range lab.Checks {
		from, to := ends[c.From], ends[c.To]
		shared := map[string]bool{}
		for _, leg := range from.legs {
			for _, other := range to.legs {
				if leg.Network == other.Network {
					shared[leg.Network] = true
				}
			}
		}
		for _, leg := range to.legs {
			if len(shared) > 0 && !shared[leg.Network] {
				continue
			}
			for _, target := range leg.Addresses() {
				p := station{from, leg}.pair(station{to, leg}, target)
				p.Stage, p.Unreachable, p.Apart, p.MaxRTT = report.StageCheck, c.Unreachable, len(shared) == 0, c.MaxRTT
				if c.TCP != 0 {
					p.TCP, p.ToNetns = c.TCP, to.netns
				}
				if from.vm || to.vm {
					vms = append(vms, p)
				} else {
					containers = append(containers, p)
				}
			}
		}
	}
	return containers, vms
}

// judgeCheck is Judge's for what a check expects beyond a reply.
func (p Pair) judgeCheck(r hostapi.ProbeResult, row *report.Probe) {
	switch {
	case p.Unreachable && r.Received > 0:
		row.Result, row.Error = report.Fail, "answered, but is to be unreachable"
	case p.Unreachable && p.quiet(r):
		row.Result, row.Error, row.Hint = report.Pass, "", ""
	case p.Unreachable && r.Error != nil:
		row.Error = "nothing is proved: " + r.Error.Message
	case p.MaxRTT > 0 && r.Received > 0 && r.RTT > p.MaxRTT:
		row.Result, row.Error = report.Fail, fmt.Sprintf("answered in %s, more than %s", r.RTT.Round(time.Microsecond), p.MaxRTT)
	}
}

// quiet tells whether it was proved that no reply comes: something was sent and
// nothing came, or no route leads to where none should.
func (p Pair) quiet(r hostapi.ProbeResult) bool {
	if r.Received > 0 {
		return false
	}
	nobody := r.Error != nil && r.Error.Kind == hostapi.KindUnreachable
	if r.Sent == 0 {
		return p.Apart && nobody
	}
	if p.TCP != 0 {
		return nobody // a connection that was taken was reached, whatever came of it
	}
	return r.Error == nil
}
