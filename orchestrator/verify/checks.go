package verify

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// Proofs gives the mesh's pairs, those that prove networks to be apart, and those of
// the inventory's checks: first those between containers, then those with a VM at an
// end.
func Proofs(lab *inventory.Lab, full bool) (containers, vms []Pair) {
	containers, vms = Mesh(lab, full)
	apart, vmsApart := Isolation(lab, full)
	checks, vmChecks := Checks(lab)
	return slices.Concat(containers, apart, checks), slices.Concat(vms, vmsApart, vmChecks)
}

// Rounds are the pairs that are proved at once, in order: first all but those that
// measure throughput, which would fill the others' way. These follow, and in each
// round a host has one at most, since two would share what they measure.
func Rounds(pairs []Pair) [][]Pair {
	var rounds [][]Pair
	var busy []map[string]bool // hosts, by round
	first := slices.DeleteFunc(slices.Clone(pairs), func(p Pair) bool { return p.MinThroughput > 0 })
	if len(first) > 0 {
		rounds, busy = append(rounds, first), append(busy, nil)
	}
	for _, p := range pairs {
		if p.MinThroughput == 0 {
			continue
		}
		i := slices.IndexFunc(busy, func(hosts map[string]bool) bool { return hosts != nil && !hosts[p.FromHost] && !hosts[p.ToHost] })
		if i < 0 {
			i = len(rounds)
			rounds, busy = append(rounds, nil), append(busy, map[string]bool{})
		}
		rounds[i] = append(rounds[i], p)
		busy[i][p.FromHost], busy[i][p.ToHost] = true, true
	}
	return rounds
}

// Measuring tells whether a round measures throughput.
func Measuring(round []Pair) bool { return len(round) > 0 && round[0].MinThroughput > 0 }

// Checks gives the pairs of the inventory's checks: one for every address of To in
// every network that it shares with From; where they share none, for every address.
// What measures throughput comes last, where there are VMs among these: until they
// stand, images travel.
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
				if p.MinThroughput = c.MinThroughput; c.TCP != 0 || c.MinThroughput > 0 {
					p.TCP, p.ToNetns = cmp.Or(c.TCP, throughputPort), to.netns
				}
				if from.vm || to.vm || c.MinThroughput > 0 && len(lab.VMs) > 0 {
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
	case p.MinThroughput > r.BitRate && r.Received > 0:
		row.Result, row.Error = report.Fail, fmt.Sprintf("%s, less than %s", report.Throughput(row.Throughput), report.Throughput(row.MinThroughput))
	}
}

// mbits is bits a second as reports have them.
func mbits(rate int64) float64 { return float64(rate) / 1e6 }

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
