// Package verify derives the probes that a lab implies and judges what came of
// them. It is pure: sending them is left to others.
package verify

import (
	"net/netip"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// pingBytes is the ICMP payload that ping(8) sends by default.
const pingBytes = 56

// Pair is one directed proof: an echo request from one end to the other.
type Pair struct {
	Stage    string // report.StageVTEP, …
	Network  string
	From, To string // workloads; of a VTEP proof the hosts
	FromHost string
	ToHost   string
	Netns    string // to send from; empty: the host's own
	Target   netip.Addr
}

// Mesh gives every directed pair of endpoints that share a network, each once.
// Pairs of containers on different hosts are the seed's container proof; what
// else there is belongs to the mesh.
func Mesh(lab *inventory.Lab) []Pair {
	var pairs []Pair
	for _, from := range lab.Containers {
		for _, leg := range from.Interfaces {
			for _, to := range lab.Containers {
				if to.Name == from.Name {
					continue
				}
				for _, far := range to.Interfaces {
					if far.Network != leg.Network {
						continue
					}
					pairs = append(pairs, Pair{
						Stage: meshStage(from, to), Network: leg.Network,
						From: from.Name, FromHost: from.Host, Netns: from.Netns,
						To: to.Name, ToHost: to.Host, Target: far.Address,
					})
				}
			}
		}
	}
	return pairs
}

func meshStage(from, to inventory.Container) string {
	if from.Host != to.Host {
		return report.StageContainer
	}
	return report.StageMesh
}

// VTEPs gives the directed pairs of hosts in a network of which changed is true
// for one end at least.
func VTEPs(network inventory.Network, hosts []string, changed map[string]bool) []Pair {
	var pairs []Pair
	for _, from := range hosts {
		for _, to := range hosts {
			if from == to || !changed[from] && !changed[to] {
				continue
			}
			pairs = append(pairs, Pair{
				Stage: report.StageVTEP, Network: network.Name,
				From: from, FromHost: from, To: to, ToHost: to, Target: network.VTEPs[to],
			})
		}
	}
	return pairs
}

// Probe is what the sending host is asked.
func (p Pair) Probe() hostapi.Probe {
	return hostapi.Probe{Netns: p.Netns, Target: p.Target, Bytes: pingBytes}
}

// Judge turns what came of p's probe into a row of the report.
func (p Pair) Judge(r hostapi.ProbeResult) report.Probe {
	row := p.row()
	row.Sent, row.Received = r.Sent, r.Received
	row.Result = report.Fail
	if r.Received > 0 {
		row.Result = report.Pass
		ms := float64(r.RTT) / float64(time.Millisecond)
		row.RTT = report.RTT{Min: ms, Avg: ms, Max: ms}
	}
	if r.Error != nil {
		row.Error = r.Error.Error()
	}
	return row
}

// Skip is the row of a probe that was not sent, and why.
func (p Pair) Skip(why string) report.Probe {
	row := p.row()
	row.Result = report.Skipped
	row.Error = why
	return row
}

func (p Pair) row() report.Probe {
	return report.Probe{
		Kind: "ping", Stage: p.Stage, Network: p.Network,
		From: p.From, FromHost: p.FromHost, To: p.To, ToHost: p.ToHost,
		Address: p.Target.String(), Bytes: pingBytes,
	}
}
