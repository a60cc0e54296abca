package hosttest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"vxorch/remote/hostapi"
)

// frr is one lab's control plane on a machine. What it would say to the others it
// does not say: two VTEPs of a lab that learn nothing by themselves know each other
// while it runs on both machines, and those are not apart.
type frr struct {
	want    hostapi.FRR
	mark    *hostapi.Mark
	running bool
}

// KillFRR has a lab's control plane die on the machine, if it runs there.
func (m *Machine) KillFRR(lab string) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	if f := m.frrs[lab]; f != nil {
		f.running = false
	}
}

// PlantFRR has the machine run an FRR that is none of vxorch's.
func (m *Machine) PlantFRR() {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.zebra = true
}

// PlantBGP has the machine run an FRR that is none of vxorch's, whose bgpd has host;
// nil: it ends, and forgets what labs have told it.
func (m *Machine) PlantBGP(host *hostapi.HostBGP) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.zebra, m.bgpd = host != nil, host
	for _, f := range m.frrs {
		f.running = f.running && !f.want.Existing
	}
}

// BGPText is the configuration of the machine's own bgpd, as the fake has it.
func (m *Machine) BGPText() string {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	text := fmt.Sprintf("%+v\n", m.bgpd)
	for _, lab := range slices.Sorted(maps.Keys(m.frrs)) {
		if f := m.frrs[lab]; f.running && f.want.Existing {
			text += f.want.Text()
		}
	}
	return text
}

// frrFacts is what is seen of FRR for a lab; nil: it was not asked for, and the lab
// has none.
func (m *Machine) frrFacts(lab string, query *hostapi.FRRQuery, thorough bool) *hostapi.FRRFacts {
	f := m.frrs[lab]
	if f == nil && query == nil && !thorough {
		return nil
	}
	out := &hostapi.FRRFacts{}
	if m.noFRR {
		out.Lacking = []string{hostapi.Zebra, hostapi.BGPD}
	}
	if m.zebra {
		out.Others = []hostapi.Process{{Name: hostapi.Zebra, PID: 7}}
	}
	if m.bgpd != nil {
		out.Others = []hostapi.Process{{Name: hostapi.BGPD, PID: 8}, {Name: hostapi.Zebra, PID: 7}}
		host := *m.bgpd
		out.Host = &host
	}
	if f == nil {
		return out
	}
	out.Mark, out.Digest = seen(f.mark, lab), hostapi.DigestFRR(f.want.Text(), f.want.Port)
	out.Existing = f.want.Existing
	switch {
	case f.want.Existing:
		out.Daemons = out.Others
		if !f.running {
			out.Digest = ""
		}
	case f.running:
		out.Daemons = []hostapi.Process{{Name: hostapi.BGPD, PID: 12}, {Name: hostapi.Zebra, PID: 11}}
	}
	return out
}

func (w work) frr(want hostapi.FRR) (changed bool, err error) {
	lab := w.batch.Lab
	switch {
	case !want.Local.Is4() || want.Port < 0 || want.Port > 1<<16-1:
		return false, invalid("a control plane at %s, port %d", want.Local, want.Port)
	case strings.ContainsFunc(want.Password, func(r rune) bool { return r <= ' ' || r > '~' }):
		return false, invalid("a password of other than printable characters")
	case want.Existing && w.bgpd == nil:
		return false, &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "no bgpd runs"}
	case w.noFRR && !want.Existing:
		return false, &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "FRR is not installed", Hint: "`vxorch prepare` installs it"}
	case len(want.Diff(*w.frrFacts(lab, nil, true))) == 0 && !want.Anew:
		return false, nil
	}
	if want.Existing {
		if cause, _ := want.Clash(lab, *w.bgpd); cause != "" {
			return false, &hostapi.Error{Kind: hostapi.KindForeign, Message: cause}
		}
	}
	f := &frr{want: want, mark: &hostapi.Mark{Lab: lab, Intended: true}}
	w.frrs[lab] = f
	if err := w.made(); err != nil {
		return true, err
	}
	if w.frrs[lab] != f {
		return true, vanished(hostapi.KindFRR)
	}
	f.mark, f.running = w.mark("evpn"), true
	return true, nil
}

func (w work) removeFRR() (changed bool, err error) {
	_, changed = w.frrs[w.batch.Lab]
	delete(w.frrs, w.batch.Lab)
	return changed, nil
}

// routes tells which tunnel ends a VTEP of the lab's knows of. On a fake machine
// nothing is on its way: what is not there does not come.
func (w work) routes(r hostapi.Routes) (note string, err error) {
	l := w.links[r.VTEP]
	switch {
	case l == nil || l.VXLAN == nil:
		return "", invalid("no VTEP %q", r.VTEP)
	case !ours(l.Mark, w.batch.Lab):
		return "", foreign("link", r.VTEP)
	case r.Bridge == "" || l.Master != r.Bridge:
		return "", invalid("%s is not a port of bridge %q", r.VTEP, r.Bridge)
	}
	known := w.learnt(l)
	for _, end := range r.Ends {
		if !slices.Contains(known, end) {
			return fmt.Sprintf("%s does not know: %s", r.VTEP, end), nil
		}
	}
	for _, remote := range r.Remotes {
		if !slices.Contains(known, remote.Via) {
			return fmt.Sprintf("%s does not know: %s", r.VTEP, remote.For), nil
		}
	}
	return fmt.Sprintf("%s knows tunnel ends: %d, endpoints: %d", r.VTEP, len(r.Ends), len(r.Remotes)), nil
}

// learnt are the tunnel ends that a VTEP knows of by BGP.
func (m *Machine) learnt(v *link) (ends []netip.Addr) {
	if !m.speaks(v) {
		return nil
	}
	for _, other := range m.neighbours() {
		for _, l := range other.links {
			if l.VXLAN != nil && l.VXLAN.VNI == v.VXLAN.VNI && other.speaks(l) {
				ends = append(ends, l.VXLAN.Local)
			}
		}
	}
	return ends
}

// speaks tells whether a VTEP's entries are left to its lab's control plane, and
// that runs.
func (m *Machine) speaks(v *link) bool {
	if v.VXLAN == nil || v.VXLAN.Learning || v.Mark == nil || len(v.forwarding.Entries()) > 0 {
		return false
	}
	f := m.frrs[v.Mark.Lab]
	return f != nil && f.running
}

// bgp is what a lab's control plane on m says: sessions are up with machines on which
// it runs, too.
func (m *Machine) bgp(q hostapi.BGPQuery) *hostapi.BGPState {
	if f := m.frrs[q.Lab]; f == nil || !f.running {
		return nil
	}
	out := &hostapi.BGPState{}
	for _, peer := range q.Peers {
		row := hostapi.BGPPeer{Address: peer, State: "Connect"}
		for _, other := range m.neighbours() {
			if f := other.frrs[q.Lab]; f != nil && f.running && other.local == peer {
				row.State = hostapi.Established
			}
		}
		out.Peers = append(out.Peers, row)
	}
	for _, vni := range q.VNIs {
		row := hostapi.EVPNState{VNI: vni}
		for _, l := range m.links {
			if l.VXLAN != nil && l.VXLAN.VNI == vni && m.speaks(l) {
				row.Ends = append(m.learnt(l), l.VXLAN.Local)
			}
		}
		out.VNIs = append(out.VNIs, row)
	}
	return out
}
