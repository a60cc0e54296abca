// Package verify derives the probes that a lab implies and judges what came of
// them. It is pure: sending them is left to others.
package verify

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// consoleDeadline bounds a VM's pings through its console: logging in, and
// three tries of each.
const consoleDeadline = 60 * time.Second

// pingBytes is the ICMP payload that ping(8) sends by default.
const pingBytes = 56

// Pair is one directed proof: an echo request from one end to the other.
type Pair struct {
	Stage    string // report.StageVTEP, …
	Network  string
	From, To string // workloads; of a VTEP proof the hosts
	FromHost string
	ToHost   string
	FromVM   string         // From where it is a VM; else empty
	ToVM     string         // To where it is a VM; else empty
	Netns    string         // to send from; empty: the host's own
	Guest    *hostapi.Guest // to send from inside; nil: not a VM
	Mute     string         // why nothing can be sent; empty: it can
	Target   netip.Addr
}

// Mesh gives every directed pair of endpoints that share a network, each once:
// first those between containers, then those with a VM at one end or both, whose
// proof comes later since VMs take their time to start. Pairs of containers and
// pairs of VMs on different hosts are the seed's proofs of their own; what else
// there is belongs to the mesh.
func Mesh(lab *inventory.Lab) (containers, vms []Pair) {
	ends := endpoints(lab)
	for _, from := range ends {
		for _, to := range ends {
			if to.name == from.name {
				continue
			}
			for _, leg := range from.legs {
				for _, far := range to.legs {
					if far.Network != leg.Network {
						continue
					}
					pair := Pair{
						Stage: meshStage(from, to), Network: leg.Network,
						From: from.name, FromHost: from.host, Netns: from.netns, Guest: from.guest, Mute: from.mute,
						FromVM: from.vmName(), ToVM: to.vmName(),
						To: to.name, ToHost: to.host, Target: far.Address,
					}
					if from.vm || to.vm {
						vms = append(vms, pair)
					} else {
						containers = append(containers, pair)
					}
				}
			}
		}
	}
	return containers, vms
}

// Among leaves the pairs of which both ends are on hosts; no hosts mean all.
func Among(hosts []string, pairs []Pair) []Pair {
	if len(hosts) == 0 {
		return pairs
	}
	return slices.DeleteFunc(pairs, func(p Pair) bool {
		return !slices.Contains(hosts, p.FromHost) || !slices.Contains(hosts, p.ToHost)
	})
}

// endpoint is a workload as its proofs see it.
type endpoint struct {
	name, host string
	vm         bool
	netns      string
	guest      *hostapi.Guest
	mute       string // why nothing can be sent from inside; empty: it can
	legs       []inventory.Interface
}

func (e endpoint) vmName() string {
	if e.vm {
		return e.name
	}
	return ""
}

func endpoints(lab *inventory.Lab) []endpoint {
	var ends []endpoint
	for _, c := range lab.Containers {
		ends = append(ends, endpoint{name: c.Name, host: c.Host, netns: c.Netns, legs: c.Interfaces})
	}
	for _, vm := range lab.VMs {
		end := endpoint{name: vm.Name, host: vm.Host, vm: true, legs: vm.Interfaces}
		login := lab.Image(vm.Image).Login
		if login.User == "" {
			end.mute = fmt.Sprintf("image %s has no login, so nothing can be sent from inside %s", vm.Image, vm.Name)
		} else {
			end.guest = &hostapi.Guest{Domain: vm.Domain, Login: hostapi.Login(login), Deadline: consoleDeadline}
		}
		ends = append(ends, end)
	}
	return ends
}

func meshStage(from, to endpoint) string {
	switch {
	case from.host == to.host || from.vm != to.vm:
		return report.StageMesh
	case from.vm:
		return report.StageVM
	}
	return report.StageContainer
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
	return hostapi.Probe{Netns: p.Netns, Guest: p.Guest, Target: p.Target, Bytes: pingBytes}
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
		row.Error, row.Hint = r.Error.Message, r.Error.Hint
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
