package hostapi

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Forwarding is what one of the lab's VTEPs is told about the others, where it
// does not find them by a multicast group: a flood list, or every remote endpoint.
// What the VTEP learns by itself is not counted.
type Forwarding struct {
	VTEP   string       `json:"vtep"`
	Bridge string       `json:"bridge,omitempty"` // that the VTEP is a port of; needed with Remotes
	Flood  []netip.Addr `json:"flood,omitempty"`  // tunnel ends that get a copy of every BUM frame (head-end replication)
	// Remotes are the endpoints behind other VTEPs. The bridge answers ARP and ND
	// for them, so that nothing has to be flooded.
	Remotes []Remote `json:"remotes,omitempty"`
}

// Remote is an endpoint behind another VTEP.
type Remote struct {
	MAC       string       `json:"mac"`
	Addresses []netip.Addr `json:"addresses"`
	Via       netip.Addr   `json:"via"` // the other VTEP's tunnel address
}

// ForwardingFacts is what a VTEP was told. The entries themselves, thousands in a
// large lab, stay on the host: they are compared by their digest.
type ForwardingFacts struct {
	Flood   int    `json:"flood"`   // tunnel ends in the flood list
	Remotes int    `json:"remotes"` // MAC addresses behind other VTEPs
	Digest  string `json:"digest"`  // DigestForwarding of the entries; empty: there are none
}

// Kinds of entries in the kernel's tables.
const (
	EntryFlood     = "flood"     // VTEP's FDB: a tunnel end that BUM frames go to
	EntryRemote    = "remote"    // VTEP's FDB: the tunnel end behind which a MAC is
	EntryPort      = "port"      // bridge's FDB: a MAC behind the VTEP
	EntryNeighbour = "neighbour" // bridge's neighbours: the MAC of an address
)

// ForwardingEntry is one row of the kernel's tables. It is comparable, so that
// two tables can be.
type ForwardingEntry struct {
	Kind string
	MAC  string     // but of EntryFlood
	Addr netip.Addr // tunnel end, or of EntryNeighbour the endpoint's address
}

// Entries lists the rows that w needs in the kernel's tables.
func (w Forwarding) Entries() []ForwardingEntry {
	entries := make([]ForwardingEntry, 0, len(w.Flood)+4*len(w.Remotes))
	for _, end := range w.Flood {
		entries = append(entries, ForwardingEntry{Kind: EntryFlood, Addr: end})
	}
	for _, r := range w.Remotes {
		entries = append(entries, ForwardingEntry{EntryRemote, r.MAC, r.Via}, ForwardingEntry{Kind: EntryPort, MAC: r.MAC})
		for _, a := range r.Addresses {
			entries = append(entries, ForwardingEntry{EntryNeighbour, r.MAC, a})
		}
	}
	return entries
}

// SummarizeForwarding counts entries and digests them, in whatever order they
// come.
func SummarizeForwarding(entries []ForwardingEntry) ForwardingFacts {
	var f ForwardingFacts
	if len(entries) == 0 {
		return f
	}
	entries = slices.Clone(entries)
	SortFunc(entries, func(a, b ForwardingEntry) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.MAC, b.MAC), a.Addr.Compare(b.Addr))
	})
	sum := sha256.New()
	for _, e := range entries {
		switch e.Kind {
		case EntryFlood:
			f.Flood++
		case EntryRemote:
			f.Remotes++
		}
		fmt.Fprintln(sum, e.Kind, e.MAC, e.Addr)
	}
	f.Digest = hex.EncodeToString(sum.Sum(nil)[:16])
	return f
}

// Diff lists what differs in what the VTEP was told.
func (w Forwarding) Diff(seen ForwardingFacts) []Change {
	want := SummarizeForwarding(w.Entries())
	if want.Digest == seen.Digest {
		return nil
	}
	var d differences
	d.integer("flood list", seen.Flood, want.Flood)
	d.integer("remote endpoints", seen.Remotes, want.Remotes)
	if len(d) == 0 {
		d.text("entries", "others", strconv.Itoa(len(w.Entries()))+" as planned")
	}
	return d
}
