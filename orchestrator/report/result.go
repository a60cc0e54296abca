// Package report is the model of a run's results, as the contract names them,
// and its writers, one file each. It judges nothing and reaches no host.
package report

import (
	"cmp"
	"slices"
	"time"
)

// Result is one run of a verb.
type Result struct {
	Version  int       `json:"version"`       // 1
	Run      int       `json:"run,omitempty"` // its number among those kept of the lab; 0: not kept
	Lab      string    `json:"lab"`
	Verb     string    `json:"verb"`
	Started  time.Time `json:"started"` // UTC
	Seconds  float64   `json:"seconds"`
	Result   string    `json:"result"`          // Pass or Fail
	Changed  int       `json:"changed"`         // objects over all hosts
	Error    string    `json:"error,omitempty"` // why the verb ended before it began with the hosts
	Hosts    []Host    `json:"hosts"`
	Probes   []Probe   `json:"probes"`
	Findings []Finding `json:"findings"`
	Topology Topology  `json:"topology"`
	// Gates are the bounds that the run was held against.
	Gates []Gate `json:"gates,omitempty"`
	// Left are hosts that an earlier deploy reached and the inventory no longer has.
	Left []Left `json:"left"`
	// Objects are a status's alone.
	Objects []Object `json:"objects,omitzero"`
}

// What a whole run, a host, a stage and a probe can come to.
const (
	Pass    = "pass" // run, probe
	Fail    = "fail" // run, probe
	Skipped = "skipped"

	OK          = "ok"          // host, stage
	Failed      = "failed"      // host, stage
	Unreachable = "unreachable" // host
	Interrupted = "interrupted" // host
	Changed     = "changed"     // stage
)

// Host is one host's part in a run.
type Host struct {
	Name    string  `json:"name"`
	Address string  `json:"address"`
	Result  string  `json:"result"`
	Changed int     `json:"changed"`
	Error   string  `json:"error"`
	Hint    string  `json:"hint,omitempty"`
	Stages  []Stage `json:"stages"`
	// Rebooted: since the last deploy from this controller. Of a status alone.
	Rebooted bool `json:"rebooted,omitempty"`
}

// Stage is one stretch of a host's work.
type Stage struct {
	Name    string  `json:"name"`
	Result  string  `json:"result"`
	Started float64 `json:"started"` // seconds after the run's start
	Seconds float64 `json:"seconds"`
	Changed int     `json:"changed"`
	Error   string  `json:"error"`
	// Notes are what a person should know although nothing failed.
	Notes []string `json:"notes,omitempty"`
}

// Stages of probes.
const (
	StageVTEP      = "vtep"
	StageContainer = "container"
	StageVM        = "vm"
	StageMesh      = "mesh"
	StageIsolation = "isolation" // that networks are apart
	StageCheck     = "check"     // what the inventory's checks expect
)

// Kinds of probes.
const (
	KindPing = "ping" // ICMP echo
	KindMTU  = "mtu"  // ICMP echo as large as the sender's link carries, unfragmented; a byte more must not leave
	KindTCP  = "tcp"  // data over TCP, answered with its checksum; its time is that of all of it

	KindThroughput = "throughput" // the same for a second, to see how fast data comes
	KindIsolation  = "isolation"  // a question on layer 2 who has an address of another network
)

// Probe is one directed proof.
type Probe struct {
	Kind     string `json:"kind"`
	Stage    string `json:"stage"`
	Network  string `json:"network"`
	From     string `json:"from"` // workload; of stage vtep: the host
	FromHost string `json:"from_host"`
	To       string `json:"to"`
	ToHost   string `json:"to_host"`
	// ToNetwork is To's, of a proof that it is apart from Network.
	ToNetwork string `json:"to_network,omitempty"`
	Address   string `json:"address"` // of To
	Bytes     int    `json:"bytes"`   // ICMP payload; of TCP, the data
	Sent      int    `json:"sent"`
	Received  int    `json:"received"`
	RTT       RTT    `json:"rtt_ms"`
	Result    string `json:"result"`
	Error     string `json:"error"`
	Hint      string `json:"hint,omitempty"`
	// Of a check:
	Expect string  `json:"expect,omitempty"`     // ExpectUnreachable: it passes if no reply came; empty: one is to come. Of isolation, too
	Port   int     `json:"port,omitempty"`       // of TCP
	MaxRTT float64 `json:"max_rtt_ms,omitempty"` // that it passes with; 0: any
	// Of one of throughput, in Mbit/s: what was measured, and the least that it passes with.
	Throughput    float64 `json:"throughput_mbit_s,omitempty"`
	MinThroughput float64 `json:"min_throughput_mbit_s,omitempty"`
}

// ExpectUnreachable is of a check that is not to be answered.
const ExpectUnreachable = "unreachable"

// Lost tells whether a reply was to come and did not.
func (p Probe) Lost() bool {
	return p.Result == Fail && p.Received == 0 && p.Expect != ExpectUnreachable
}

// Leaked tells whether somebody answered in a network who is in another.
func (p Probe) Leaked() bool { return p.Kind == KindIsolation && p.Result == Fail && p.Received > 0 }

// OverTCP tells whether data is exchanged instead of an echo.
func (p Probe) OverTCP() bool { return p.Kind == KindTCP || p.Kind == KindThroughput }

// RTT is in milliseconds; all zero without a reply.
type RTT struct {
	Min float64 `json:"min"`
	Avg float64 `json:"avg"`
	Max float64 `json:"max"`
}

// How much a finding of a check weighs.
const (
	SeverityError   = "error"   // the lab will not work
	SeverityWarning = "warning" // it may not, or it will do so badly
)

// Finding names a cause of failed probes, or of those that would fail.
type Finding struct {
	Severity string `json:"severity,omitempty"` // of a check's
	Layer    string `json:"layer"`
	Host     string `json:"host"` // empty: all
	Cause    string `json:"cause"`
	Proof    string `json:"proof"`
	Mend     string `json:"mend"`
	Probes   []int  `json:"probes"` // indices into Result.Probes
}

// Gate is a bound that a user set on a run.
type Gate struct {
	Name   string `json:"name"`  // max-duration, max-loss, max-rtt
	Limit  string `json:"limit"` // as people write it: 5ms, 1%
	Result string `json:"result"`
	By     string `json:"by"` // what crossed it, of one that is Fail; else how near it was come
}

// Left is a host on which the lab still stands although the inventory has it no
// more.
type Left struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Since   time.Time `json:"since"`   // of the last deploy that reached it; UTC
	Destroy string    `json:"destroy"` // the command that takes the lab away from it
}

// Topology is what the lab consists of.
type Topology struct {
	Networks  []Network  `json:"networks"`
	Endpoints []Endpoint `json:"endpoints"`
	// Underlays are those of the hosts that settled theirs in this run.
	Underlays []Underlay `json:"underlays,omitempty"`
}

// Underlay is what carries a host's tunnels.
type Underlay struct {
	Host    string `json:"host"`
	Device  string `json:"device"`
	Address string `json:"address"` // of its VTEPs
	MTU     int    `json:"mtu"`     // bytes
}

// Network is one VXLAN segment.
type Network struct {
	Name  string `json:"name"`           // also of its bridge
	VTEP  string `json:"vtep,omitempty"` // the device's name
	VNI   int    `json:"vni"`
	Port  int    `json:"port"`
	Flood string `json:"flood"`
	// FloodWhy is why it floods so, where the inventory left it open.
	FloodWhy string `json:"flood_why,omitempty"`
	Group    string `json:"group"`
	Subnet   string `json:"subnet"`
	Second   string `json:"second,omitempty"` // subnet of the other IP version
	MTU      int    `json:"mtu"`
	// Unproved is why this run has no proof of the network's VTEPs.
	Unproved string `json:"unproved,omitempty"`
}

// Endpoint is a workload's leg in a network.
type Endpoint struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"` // container or vm
	Host    string `json:"host"`
	Network string `json:"network"`
	Address string `json:"address"`
	Second  string `json:"second,omitempty"` // address of the other IP version
	MAC     string `json:"mac"`
}

// Sort puts hosts, probes and the topology in the order of their names, so that
// two runs can be compared. Findings refer to probes by index: sort first.
func (r *Result) Sort() {
	slices.SortFunc(r.Hosts, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Probes, func(a, b Probe) int {
		return cmp.Or(
			cmp.Compare(stageOrder(a.Stage), stageOrder(b.Stage)),
			cmp.Compare(a.Network, b.Network),
			cmp.Compare(a.From, b.From),
			cmp.Compare(a.To, b.To),
			cmp.Compare(a.Address, b.Address),
			cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.ToNetwork, b.ToNetwork))
	})
	slices.SortFunc(r.Topology.Underlays, func(a, b Underlay) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortFunc(r.Topology.Networks, func(a, b Network) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Topology.Endpoints, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Network, b.Network), cmp.Compare(a.Address, b.Address))
	})
}

// stageOrder is the order in which the proofs are made.
func stageOrder(stage string) int {
	return slices.Index([]string{StageVTEP, StageContainer, StageVM, StageMesh, StageIsolation, StageCheck}, stage)
}
