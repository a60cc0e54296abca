package hostapi

import (
	"context"
	"net/netip"
)

// Inspector is a Host that can be looked into when probes fail. It needs no lock
// and changes nothing.
type Inspector interface {
	// Inspect reads what tells where a frame is lost: twice, around a probe, so that
	// counters can be compared. What a host does not tell is left out.
	Inspect(ctx context.Context, req InspectRequest) (Inspection, error)
}

// InspectRequest says what to read.
type InspectRequest struct {
	Links      []string     `json:"links,omitempty"`      // in the host's own namespace: VTEPs, bridges, their ports
	MACs       []string     `json:"macs,omitempty"`       // whose forwarding entries matter
	Namespaces []string     `json:"namespaces,omitempty"` // whose neighbours matter
	Addresses  []netip.Addr `json:"addresses,omitempty"`  // of neighbours that matter
	BGP        *BGPQuery    `json:"bgp,omitempty"`        // of a lab with a control plane; nil: none
}

// Inspection is what was read.
type Inspection struct {
	Links      []LinkState `json:"links,omitempty"`   // those asked for that there are, by name
	Entries    []FDBEntry  `json:"entries,omitempty"` // of those links and, where one is a bridge, of all its ports
	Neighbours []Neighbour `json:"neighbours,omitempty"`
	Drops      []Drop      `json:"drops,omitempty"`
	BGP        *BGPState   `json:"bgp,omitempty"`
	// Counters are the kernel's, by the names Counter….
	Counters map[string]uint64 `json:"counters,omitempty"`
}

// Counters of the host's own namespace, of /proc/net/snmp, snmp6 and netstat.
const (
	CounterReversePath  = "IPReversePathFilter" // packets that rp_filter dropped
	CounterUDPChecksum  = "UdpInCsumErrors"
	CounterUDP6Checksum = "Udp6InCsumErrors"
	// Segments whose signature (RFC 2385) is wrong, missing, or not asked for.
	CounterMD5Failure    = "TCPMD5Failure"
	CounterMD5NotFound   = "TCPMD5NotFound"
	CounterMD5Unexpected = "TCPMD5Unexpected"
)

// LinkState is what a link counts, and its state as a bridge's port.
type LinkState struct {
	Name      string `json:"name"`
	Running   bool   `json:"running"`        // it has a carrier
	Port      string `json:"port,omitempty"` // disabled, listening, learning, forwarding, blocking; empty: it is no port
	Received  uint64 `json:"received"`       // packets
	Sent      uint64 `json:"sent"`           // packets
	TXDropped uint64 `json:"tx_dropped"`     // of a VTEP: no FDB entry says where to
	TXCarrier uint64 `json:"tx_carrier"`     // of a VTEP: no route to the other one
	Collided  uint64 `json:"collided"`       // of a VTEP: the route to the other one leads through itself
}

// FDBEntry says where frames to a MAC go.
type FDBEntry struct {
	Link   string     `json:"link"`
	MAC    string     `json:"mac"`             // 00:00:00:00:00:00: what has no entry of its own
	Via    netip.Addr `json:"via,omitzero"`    // of a VTEP's own table: the tunnel end; zero: a bridge's entry for a port
	Static bool       `json:"static,omitzero"` // somebody wrote it; else it was learned
}

// Neighbour is what a namespace knows of an address.
type Neighbour struct {
	Netns   string     `json:"netns"`
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac,omitempty"` // empty: nobody has answered
}

// Hooks of a Drop.
const (
	HookInput   = "input"
	HookForward = "forward"
	HookOutput  = "output"
)

// Drop is where a packet filter drops packets: a rule, or a chain's policy.
type Drop struct {
	Family string `json:"family"` // ip, ip6, inet, bridge
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Hook   string `json:"hook,omitempty"`   // empty: other chains lead to it
	Handle uint64 `json:"handle,omitempty"` // of the rule; 0: the policy
	// Legacy: it is of iptables as it was before nftables. Handle is the rule's place then.
	Legacy bool `json:"legacy,omitempty"`
	// Sysctl hands bridged frames to the chain, as it stands; empty: it does not
	// see them, or is the bridges' own.
	Sysctl string `json:"sysctl,omitempty"`
	// Counts: it counts what it drops, into Packets.
	Counts  bool   `json:"counts,omitempty"`
	Packets uint64 `json:"packets,omitempty"`
}
