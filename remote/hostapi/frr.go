package hostapi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// FRR is the lab's control plane on a host: a zebra and a bgpd of FRRouting that
// nobody else uses, or a part of those that the host has. They fill the tables of the
// lab's VTEPs with what the other hosts' tell them (BGP EVPN, RFC 8365).
type FRR struct {
	Local  netip.Addr `json:"local"`  // tunnel end, from which bgpd speaks
	Port   int        `json:"port"`   // TCP; 0: it takes no sessions
	Config string     `json:"config"` // bgpd's; PasswordHere stands for the password
	// Password is a secret: printable ASCII without spaces; empty: there is none.
	Password string `json:"password,omitempty"`
	// Existing: it is a part of the FRR that the host runs by itself, and Config what
	// that one's bgpd is told; else the lab has daemons of its own.
	Existing bool `json:"existing,omitempty"`
	// Anew: it begins anew also where it runs as wanted.
	Anew bool `json:"anew,omitempty"`
}

// PasswordHere stands in a configuration where the password is to be.
const PasswordHere = "{password}"

// FRRName is what the lab's FRR is called on every host.
const FRRName = "frr"

// The daemons of FRR, in the order in which they start.
const (
	Zebra = "zebra"
	BGPD  = "bgpd"
)

// Text is the configuration as bgpd reads it, a secret.
func (w FRR) Text() string { return strings.ReplaceAll(w.Config, PasswordHere, w.Password) }

// DigestFRR tells configurations apart, as bgpd reads them. Of lines with the
// password there is too little in it to try guesses by.
func DigestFRR(text string, port int) string {
	open, secret := sha256.New(), sha256.New()
	fmt.Fprintln(open, port)
	for line := range strings.Lines(text) {
		if strings.Contains(line, " password ") {
			secret.Write([]byte(line))
		} else {
			open.Write([]byte(line))
		}
	}
	return hex.EncodeToString(open.Sum(nil)[:16]) + hex.EncodeToString(secret.Sum(nil)[:2])
}

// FRRQuery asks for the lab's FRR and for what is in its way.
type FRRQuery struct {
	Port int `json:"port"` // TCP; who listens there is reported; 0: nobody is looked for
}

// FRRFacts is what was seen of FRR on a host.
type FRRFacts struct {
	Lacking []string  `json:"lacking,omitempty"` // programs that are not installed
	Mark    *Mark     `json:"mark,omitempty"`    // of the lab's own; nil: there is none
	Digest  string    `json:"digest,omitempty"`  // DigestFRR of its configuration
	Daemons []Process `json:"daemons,omitempty"` // of the lab's own that run, by name
	// Existing: the lab's is a part of the host's own, whose daemons are Daemons.
	Existing bool `json:"existing,omitempty"`
	// Others are daemons in the host's own namespace that are none of vxorch's.
	Others []Process `json:"others,omitempty"`
	// Host is what the host's own bgpd has besides; nil: there is none that answers.
	Host      *HostBGP     `json:"host,omitempty"`
	Listeners []PortHolder `json:"listeners,omitempty"` // on the port asked for, whoever it is
}

// Process is one that runs.
type Process struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
}

// Runs tells whether a daemon of the lab's own runs.
func (f *FRRFacts) Runs(name string) bool {
	for _, p := range f.Daemons {
		if p.Name == name {
			return true
		}
	}
	return false
}

// Diff lists what differs of the lab's FRR.
func (w FRR) Diff(f FRRFacts) []Change {
	var d differences
	d.boolean(Marked, f.Mark != nil && !f.Mark.Intended, true)
	d.boolean("part of the host's own", f.Existing, w.Existing)
	if f.Digest != DigestFRR(w.Text(), w.Port) {
		d.text("configuration", "another", "as planned") // in words, since it holds the password
	}
	d.boolean(Zebra+" runs", f.Runs(Zebra), true)
	d.boolean(BGPD+" runs", f.Runs(BGPD), true)
	return d
}

// Routes is what a VTEP is to have learnt from the others by BGP. It is waited
// for: what has not come within Patience, counted from the batch's first wait, is in
// the result's note.
type Routes struct {
	VTEP   string `json:"vtep"`
	Bridge string `json:"bridge"`
	// Own are endpoints of this host whose MACs the bridge is to know, as if each
	// had just sent a frame. One whose link is not there is left out.
	Own []Station `json:"own,omitempty"`
	// Ends are the other hosts' tunnel ends that are to be in the flood list.
	Ends     []netip.Addr  `json:"ends,omitempty"`
	Remotes  []Learned     `json:"remotes,omitempty"`
	Patience time.Duration `json:"patience"`
}

// Station is an endpoint behind a bridge's port.
type Station struct {
	MAC  string `json:"mac"`
	Link string `json:"link"`
}

// Learned is an endpoint behind another VTEP.
type Learned struct {
	For string     `json:"for"` // workload
	MAC string     `json:"mac"`
	Via netip.Addr `json:"via"` // tunnel end
}

// BGPQuery asks the lab's control plane what it knows.
type BGPQuery struct {
	Lab   string       `json:"lab"`
	Peers []netip.Addr `json:"peers,omitempty"` // tunnel ends of sessions that matter
	VNIs  []int        `json:"vnis,omitempty"`
}

// BGPState is what it said; nil: it did not answer. What it does not know is left
// out, and a VNI that it does not serve has no ends.
type BGPState struct {
	Peers []BGPPeer   `json:"peers,omitempty"`
	VNIs  []EVPNState `json:"vnis,omitempty"`
}

// BGPPeer is a session.
type BGPPeer struct {
	Address netip.Addr `json:"address"`
	State   string     `json:"state"`            // Established, or as far as it is (RFC 4271 §8.2.2)
	Reason  string     `json:"reason,omitempty"` // of the last notification, in bgpd's words
}

// EVPNState is which tunnel ends of a VNI are known, the host's own among them.
type EVPNState struct {
	VNI  int          `json:"vni"`
	Ends []netip.Addr `json:"ends,omitempty"`
}

// Established is the state of a session that is up.
const Established = "Established"
