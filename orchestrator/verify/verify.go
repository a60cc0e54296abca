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

// An exchange over TCP: enough for several windows, at ports below those that
// kernels give to clients, each its own.
const (
	tcpBytes     = 64 << 10
	firstTCPPort = 20000
	tcpPorts     = 10000
)

// A check's throughput is measured for a second, at a port that the exchanges do
// not use, unless it names one.
const (
	throughputTime = time.Second
	throughputPort = firstTCPPort + tcpPorts
)

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
	// Whole: with a packet as large as the sender's link carries, unfragmented.
	Whole bool
	// TCP is the port of an exchange of data over TCP, to ToNetns; 0: an echo.
	TCP     int
	ToNetns string
	// Of a check:
	Unreachable bool          // no reply is to come
	Apart       bool          // the ends share no network
	MaxRTT      time.Duration // 0: any
	// Of a proof that two networks are apart: To's, its MAC there, and the link of the
	// sender that it is asked from.
	ToNetwork, MAC, Link string
	// MinThroughput is in bits a second, of an exchange that lasts; 0: it does not.
	MinThroughput int64
}

// Mesh gives the directed pairs of endpoints that share a network, each once:
// first those between containers, then those with a VM at one end or both, whose
// proof comes later since VMs take their time to start. Pairs of containers and
// pairs of VMs on different hosts are the seed's proofs of their own; what else
// there is belongs to the mesh. Of a network with many endpoints it gives a
// choice, unless full asks for all. From each host to each other one pair of
// containers is added that fills its packets, and from each host to the next, in
// a ring, one that exchanges data over TCP: what spoils TCP alone is a host's, not
// a pair's, and an exchange costs a hundred times a ping.
func Mesh(lab *inventory.Lab, full bool) (containers, vms []Pair) {
	ends := endpoints(lab)
	exchanges := 0
	for _, network := range lab.Networks {
		stations := stationsOf(ends, network.Name)
		hosts := make([]string, len(stations))
		for i, s := range stations {
			hosts[i] = s.host
		}
		next := ring(stations)
		filled := map[[2]string]bool{} // hosts
		for _, chosen := range choose(hosts, full || len(stations) <= meshEnds, lab.Name+" "+network.Name) {
			from, to := stations[chosen[0]], stations[chosen[1]]
			if from.name == to.name {
				continue // two legs of one endpoint
			}
			for _, target := range to.leg.Addresses() {
				pair := from.pair(to, target)
				if from.vm || to.vm {
					vms = append(vms, pair)
				} else {
					containers = append(containers, pair)
				}
			}
			between := [2]string{from.host, to.host}
			if from.vm || to.vm || from.host == to.host || filled[between] {
				continue
			}
			filled[between] = true
			whole := from.pair(to, to.leg.Address)
			whole.Whole = true
			containers = append(containers, whole)
			if full || next[from.host] == to.host {
				exchange := from.pair(to, to.leg.Address)
				exchange.TCP, exchange.ToNetns = firstTCPPort+exchanges%tcpPorts, to.netns
				exchanges++
				containers = append(containers, exchange)
			}
		}
	}
	return containers, vms
}

// station is an endpoint's leg in a network.
type station struct {
	endpoint
	leg inventory.Interface
}

func stationsOf(ends []endpoint, network string) []station {
	var stations []station
	for _, end := range ends {
		for _, leg := range end.legs {
			if leg.Network == network {
				stations = append(stations, station{end, leg})
			}
		}
	}
	return stations
}

// ring gives each host that has a container among stations the next one, by name.
func ring(stations []station) map[string]string {
	var hosts []string
	for _, s := range stations {
		if !s.vm {
			hosts = append(hosts, s.host)
		}
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	next := make(map[string]string, len(hosts))
	for i, host := range hosts {
		next[host] = hosts[(i+1)%len(hosts)]
	}
	return next
}

func (s station) pair(to station, target netip.Addr) Pair {
	return Pair{
		Stage: meshStage(s.endpoint, to.endpoint), Network: s.leg.Network,
		From: s.name, FromHost: s.host, FromVM: s.vmName(), Netns: s.netns, Guest: s.guest, Mute: s.mute,
		To: to.name, ToHost: to.host, ToVM: to.vmName(), Target: target,
	}
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
// for one end at least; of very many hosts a choice, unless full asks for all.
func VTEPs(network inventory.Network, hosts []string, changed map[string]bool, full bool) []Pair {
	var pairs []Pair
	for _, chosen := range choose(hosts, full || len(hosts) <= pairHosts, network.Name) {
		from, to := hosts[chosen[0]], hosts[chosen[1]]
		if changed[from] || changed[to] {
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
	if p.TCP != 0 {
		return hostapi.Probe{Netns: p.Netns, Target: p.Target, TCP: p.exchange()}
	}
	if p.ToNetwork != "" {
		return hostapi.Probe{Netns: p.Netns, Target: p.Target, Solicit: &hostapi.Solicitation{Link: p.Link, MAC: p.MAC}}
	}
	probe := hostapi.Probe{Netns: p.Netns, Guest: p.Guest, Target: p.Target, Bytes: pingBytes, Whole: p.Whole}
	if p.Unreachable {
		probe.Tries = 1 // it is waited for in vain
	}
	return probe
}

// Serving is what the other host of an exchange is asked at the same time.
func (p Pair) Serving() hostapi.Probe {
	exchange := p.exchange()
	exchange.Serve = true
	return hostapi.Probe{Netns: p.ToNetns, Target: p.Target, TCP: exchange}
}

func (p Pair) exchange() *hostapi.TCPExchange {
	exchange := &hostapi.TCPExchange{Port: p.TCP, Bytes: tcpBytes}
	if p.MinThroughput > 0 {
		exchange.For = throughputTime
	}
	return exchange
}

// Judge turns what came of p's probe into a row of the report.
func (p Pair) Judge(r hostapi.ProbeResult) report.Probe {
	row := p.row()
	row.Sent, row.Received = r.Sent, r.Received
	if p.Whole || p.MinThroughput > 0 && r.Received > 0 {
		row.Bytes, row.Throughput = r.Bytes, mbits(r.BitRate)
	}
	row.Result = report.Fail
	if r.Received > 0 {
		row.Result = report.Pass
		ms := float64(r.RTT) / float64(time.Millisecond)
		row.RTT = report.RTT{Min: ms, Avg: ms, Max: ms}
	}
	if r.Error != nil {
		row.Error, row.Hint = r.Error.Message, r.Error.Hint
	}
	if p.ToNetwork != "" {
		p.judgeIsolation(r, &row)
	} else {
		p.judgeCheck(r, &row)
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
	kind, bytes := report.KindPing, pingBytes
	switch {
	case p.Whole:
		kind = report.KindMTU
	case p.ToNetwork != "":
		kind, bytes = report.KindIsolation, 0
	case p.MinThroughput > 0:
		kind, bytes = report.KindThroughput, 0
	case p.TCP != 0:
		kind, bytes = report.KindTCP, tcpBytes
	}
	row := report.Probe{
		Kind: kind, Stage: p.Stage, Network: p.Network,
		From: p.From, FromHost: p.FromHost, To: p.To, ToHost: p.ToHost,
		Address: p.Target.String(), Bytes: bytes, ToNetwork: p.ToNetwork,
	}
	if p.Stage == report.StageCheck {
		row.Port, row.MaxRTT, row.MinThroughput = p.TCP, float64(p.MaxRTT)/float64(time.Millisecond), mbits(p.MinThroughput)
	}
	if p.Unreachable {
		row.Expect = report.ExpectUnreachable
	}
	return row
}
