package hostapi

import (
	"context"
	"net/netip"
	"time"
)

// Checker is a Host that can be looked at before anything is built on it, and
// whose underlay can be tried with datagrams. It needs no lock and changes
// nothing: what it opens ends with the session.
type Checker interface {
	// Check reads what bears on a lab. With req.Listen it also begins to listen for
	// a try's datagrams, in place of what it listened for before; when it returns,
	// none of them is missed.
	Check(ctx context.Context, req CheckRequest) (CheckFacts, error)
	// Send sends a try's datagrams, each once, and tells which it could not send.
	Send(ctx context.Context, req SendRequest) ([]Unsent, error)
	// Heard tells which of the datagrams asked for came since Check, in the order of
	// their numbers. It waits for those that have not been delivered for as long as
	// req.Patience, 5 s at most. Without Listen before it is ErrInvalid.
	Heard(ctx context.Context, req HeardRequest) ([]Heard, error)
}

// CheckRequest says what to read.
type CheckRequest struct {
	Lab     string   `json:"lab"`
	Device  string   `json:"device,omitempty"`  // underlay; empty: not known
	Links   []string `json:"links,omitempty"`   // that the lab is to have in the host's own namespace
	Bridges []string `json:"bridges,omitempty"` // those of them that frames pass through
	Virt    bool     `json:"virt,omitempty"`    // there are to be VMs
	Listen  *Listen  `json:"listen,omitempty"`
}

// Listen says which datagrams to listen for.
type Listen struct {
	Token  string       `json:"token"`            // of the try: 16 hexadecimal digits
	Device string       `json:"device"`           // underlay
	Local  netip.Addr   `json:"local"`            // its tunnel address
	Groups []netip.Addr `json:"groups,omitempty"` // multicast groups to join while listening
}

// CheckFacts is what was read. What a host does not tell is the zero value.
type CheckFacts struct {
	Lacks       []Lack    `json:"lacks,omitempty"`
	MachineID   string    `json:"machine_id,omitempty"` // /etc/machine-id
	Time        time.Time `json:"time"`
	Filters     []Filter  `json:"filters,omitempty"`
	Networkd    string    `json:"networkd,omitempty"`     // file by which systemd-networkd would take the lab's links over
	Driver      string    `json:"driver,omitempty"`       // of Device
	Vendor      string    `json:"vendor,omitempty"`       // who made the machine, or runs it: DMI
	ReversePath int       `json:"reverse_path,omitempty"` // rp_filter of Device: 1 is strict (RFC 3704 §2.2)
	Neighbours  int       `json:"neighbours,omitempty"`   // gc_thresh3: how many the kernel keeps
	Files       int64     `json:"files,omitempty"`        // that the helper may have open
	Memory      int64     `json:"memory,omitempty"`       // bytes that programs can still have
	Emulated    bool      `json:"emulated,omitempty"`     // of a host with VMs to be: no vCPU runs on KVM
	// Deaf is why the host does not listen although it was asked to.
	Deaf *Error `json:"deaf,omitempty"`
}

// Lack is a kind of object that the host's kernel cannot make. It was tried in a
// network namespace that nobody else saw.
type Lack struct {
	Kind  string `json:"kind"` // vxlan, bridge, veth, network namespace
	Error *Error `json:"error"`
}

// Filter is a chain that drops frames between the ports of a bridge unless one
// of its rules lets them through.
type Filter struct {
	Family string `json:"family"` // ip, ip6, inet, bridge
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Legacy bool   `json:"legacy,omitempty"` // it is one of iptables before nftables
	// Sysctl hands bridged frames to the chain; empty: it is the bridges' own.
	Sysctl string `json:"sysctl,omitempty"`
	// Named are those of the lab's bridges that rules of the table name.
	Named []string `json:"named,omitempty"`
}

// Datagram is a UDP packet that looks like a tunnel's.
type Datagram struct {
	ID   uint32     `json:"id"` // unique in the try
	To   netip.Addr `json:"to"` // another host's tunnel address, or a group
	Port int        `json:"port"`
	// Size is that of the whole IP packet, in bytes, which is sent with
	// don't-fragment; 0: as small as can be.
	Size int `json:"size,omitempty"`
	// Plain leaves the VXLAN header out, for what lets no VXLAN through.
	Plain bool `json:"plain,omitempty"`
}

// SendRequest is what one host sends.
type SendRequest struct {
	Token     string     `json:"token"`
	Device    string     `json:"device"`
	Local     netip.Addr `json:"local"`
	Datagrams []Datagram `json:"datagrams"`
}

// Unsent is a datagram that the host itself did not let out.
type Unsent struct {
	ID uint32 `json:"id"`
	// Error is ErrPermission if a firewall forbids it, ErrInvalid if it is too
	// large for the way that it should take.
	Error *Error `json:"error"`
}

// HeardRequest says what to wait for.
type HeardRequest struct {
	IDs      []uint32      `json:"ids"`
	Patience time.Duration `json:"patience"`
}

// Heard is a datagram that reached the host.
type Heard struct {
	ID uint32 `json:"id"`
	// Delivered: past the host's own firewall, to where a socket would have it.
	Delivered bool `json:"delivered"`
}
