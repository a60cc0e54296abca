package hostapi

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// HostBGP is what of a bgpd that a host runs by itself matters to a lab that joins
// it, without the lab's part.
type HostBGP struct {
	ASN        int            `json:"asn,omitempty"`        // of its default instance; 0: it has none; -1: not to be read
	Advertises bool           `json:"advertises,omitempty"` // advertise-all-vni, the lab's included
	Neighbors  []netip.Addr   `json:"neighbors,omitempty"`
	Ranges     []netip.Prefix `json:"ranges,omitempty"` // from where it takes sessions
	VNIs       []int          `json:"vnis,omitempty"`   // of the host's VTEPs that are not the lab's
}

// BGPText is a bgpd's configuration, as it shows it, taken apart.
type BGPText struct {
	HostBGP
	Part    string         // the lab's lines
	Peers   []netip.Addr   // neighbours of the lab's
	Sources []netip.Prefix // from where it takes sessions for the lab
	Groups  []string       // of the lab's
	Map     bool           // the lab's route map is there
	List    bool           // and its extcommunity list
	Bare    bool           // the default instance has nothing but the lab's lines and its router ID
}

// BGPReflectors, BGPClients and BGPFilter are what a lab calls its peer groups, and its
// route map and list, in a host's bgpd. What bears these names is the lab's: a
// configuration that runs has no room for marks.
func BGPReflectors(lab string) string { return "vxorch-" + lab + "-reflectors" }

// BGPClients is the group of those that a reflector takes sessions of.
func BGPClients(lab string) string { return "vxorch-" + lab + "-clients" }

// BGPFilter is the map, and the list that it goes by.
func BGPFilter(lab string) string { return "vxorch-" + lab }

// advertiseAll is the one line of a lab's part that bears no name.
const advertiseAll = "advertise-all-vni"

// ReadBGP takes a configuration apart, of bgpd's own words or of a lab's for it.
func ReadBGP(text, lab string) BGPText {
	t := BGPText{Bare: true}
	groups, filter := []string{BGPReflectors(lab), BGPClients(lab)}, BGPFilter(lab)
	var block, part []string // block: of the top-level line that this one is below of
	type neighbour struct {
		address netip.Addr
		line    string
	}
	var others []neighbour
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		w := strings.Fields(line)
		if len(w) == 0 || strings.HasPrefix(w[0], "!") {
			continue
		}
		top := !strings.HasPrefix(line, " ")
		if top {
			block = w
		}
		is := func(i int, words ...string) bool { return i < len(w) && slices.Contains(words, w[i]) }
		instance := len(block) > 2 && block[0] == "router" && block[1] == "bgp" && !slices.Contains(block, "vrf") && !slices.Contains(block, "view")
		mine := false
		switch {
		case instance && top && is(0, "router"):
			if asn, err := strconv.Atoi(w[2]); err == nil {
				t.ASN = asn
			} else {
				t.ASN = -1 // another notation
			}
			continue
		case instance && (is(0, "address-family", "exit-address-family", "exit") || is(0, "bgp") && is(1, "router-id")):
			continue
		case instance && is(0, advertiseAll):
			t.Advertises, mine = true, true
		case instance && is(0, "bgp") && is(1, "listen") && is(2, "range") && len(w) > 3:
			prefix, err := netip.ParsePrefix(w[3])
			switch mine = is(5, groups...); {
			case err != nil:
			case mine:
				t.Sources = append(t.Sources, prefix)
			default:
				t.Ranges = append(t.Ranges, prefix)
			}
		case instance && (is(0, "neighbor") || is(0, "no") && is(1, "neighbor")):
			name := w[min(slices.Index(w, "neighbor")+1, len(w)-1)]
			address, err := netip.ParseAddr(name)
			switch {
			case slices.Contains(groups, name):
				mine = true
				if is(2, "peer-group") {
					t.Groups = append(t.Groups, name)
				}
			case err == nil && is(2, "peer-group") && is(3, groups...):
				mine = true
				t.Peers = append(t.Peers, address)
			case err == nil:
				others = append(others, neighbour{address, line}) // the lab's own among them
				continue
			}
		case len(block) > 1 && block[0] == "route-map" && block[1] == filter:
			t.Map, mine = true, true
			if w[0] == "exit" {
				continue
			}
		case is(0, "bgp") && is(1, "extcommunity-list") && is(3, filter):
			t.List, mine = true, true
		}
		if mine {
			part = append(part, line)
		} else if instance {
			t.Bare = false
		}
	}
	for _, n := range others {
		switch {
		case slices.Contains(t.Peers, n.address):
			part = append(part, n.line)
		default:
			t.Bare = false
			if !slices.Contains(t.Neighbors, n.address) {
				t.Neighbors = append(t.Neighbors, n.address)
			}
		}
	}
	t.Part = strings.Join(part, "\n")
	return t
}

// Owns tells whether anything in the configuration bears the lab's name.
func (t BGPText) Owns() bool { return len(t.Groups) > 0 || t.Map || t.List }

// Undo lists the commands that take the lab's part out of the configuration again.
// alone tells what of it that bears no name came with the lab and is nobody else's.
func (t BGPText) Undo(lab string, alone BGPShared) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	advertises := alone.Advertises && t.Advertises
	if t.ASN != 0 && (len(t.Groups) > 0 || advertises) {
		add("router bgp %d", t.ASN)
		for _, prefix := range t.Sources {
			add("no bgp listen range %s peer-group %s", prefix, BGPClients(lab))
		}
		for _, peer := range t.Peers {
			add("no neighbor %s peer-group %s", peer, BGPReflectors(lab))
		}
		for _, group := range t.Groups {
			add("no neighbor %s peer-group", group)
		}
		if advertises {
			add("address-family l2vpn evpn")
			add("no %s", advertiseAll)
			add("exit-address-family")
		}
		add("exit")
	}
	if t.ASN != 0 && alone.Router && t.Bare {
		add("no router bgp %d", t.ASN)
	}
	if t.Map {
		add("no route-map %s", BGPFilter(lab))
	}
	if t.List {
		add("no bgp extcommunity-list standard %s", BGPFilter(lab))
	}
	return all
}

// BGPShared is what of a lab's part others may use, too.
type BGPShared struct{ Router, Advertises bool }

// Clash tells why the lab's part must not be added to a host's bgpd; empty: it may.
func (w FRR) Clash(lab string, host HostBGP) (cause, hint string) {
	want := ReadBGP(w.Config, lab)
	switch host.ASN {
	case 0, want.ASN:
	case -1:
		return "its own bgpd writes its AS number with a dot", "have it written plain (as-notation), or leave evpn.frr out"
	default:
		return fmt.Sprintf("its own bgpd is of AS %d, and the lab's hosts are of AS %d", host.ASN, want.ASN), "set evpn.asn to its number, or leave evpn.frr out"
	}
	for _, peer := range want.Peers {
		if slices.Contains(host.Neighbors, peer) {
			return fmt.Sprintf("its own bgpd has a neighbour %s, which is a reflector's tunnel end", peer), "name other evpn.reflectors, or set hosts.NAME.vtep to addresses without sessions"
		}
	}
	for _, mine := range want.Sources {
		for _, other := range host.Ranges {
			if mine.Overlaps(other) {
				return fmt.Sprintf("its own bgpd takes sessions from %s, and the lab's come from %s", other, mine), "set evpn.clients, or name other evpn.reflectors"
			}
		}
	}
	if len(host.VNIs) > 0 && !host.Advertises {
		return fmt.Sprintf("it has VTEPs that are not the lab's (VNI %s), of which its own bgpd would tell its neighbours from now on", strings.Trim(fmt.Sprint(host.VNIs), "[]")),
			"set advertise-all-vni in its bgpd if that is wanted, or leave evpn.frr out"
	}
	return "", ""
}
