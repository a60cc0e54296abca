package hostapi

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The Diff methods compare what is wanted with what was seen. The plan and the
// helper both decide by them, so that what is planned is what is done.

// What tells an object that a run left half made when it died: the property that
// is false of a link that is only intended, and the state of a namespace.
const (
	Marked   = "marked"
	HalfMade = "half made"
)

// Diff lists what differs on l, a link of w's name that is ours. If rebuild is
// true, the kernel cannot change it in place.
func (w VTEP) Diff(l Link) (changes []Change, rebuild bool) {
	if l.Kind != "vxlan" || l.VXLAN == nil {
		return []Change{{"kind", l.Kind, "vxlan"}}, true
	}
	var fixed, live differences
	fixed.integer("vni", l.VXLAN.VNI, w.VNI)
	fixed.integer("port", l.VXLAN.Port, w.Port)
	fixed.address("group", l.VXLAN.Group, w.Group)
	fixed.address("local", l.VXLAN.Local, w.Local)
	fixed.text("device", l.VXLAN.Device, w.Device)
	fixed.boolean("learning", l.VXLAN.Learning, !w.Static)
	live.outer(l, w.MAC, w.MTU, w.Bridge)
	if w.Bridge != "" && l.Master == w.Bridge {
		live.boolean("port learning", l.PortLearning, !w.Static)
		live.boolean("neigh_suppress", l.Suppress, w.Static)
	}
	return append(fixed, live...), len(fixed) > 0
}

// Diff lists what differs on l, a link of w's name that is ours.
func (w Bridge) Diff(l Link) (changes []Change, rebuild bool) {
	if l.Kind != "bridge" {
		return []Change{{"kind", l.Kind, "bridge"}}, true
	}
	var live differences
	live.boolean("stp", l.STP, false)
	live.outer(l, w.MAC, w.MTU, "")
	return live, false
}

// Diff lists what differs on outer, a link of w's name that is ours, and on the
// link named w.Inner in the namespace w.Netns; nil if there is none.
func (w Veth) Diff(outer Link, inner *Link) (changes []Change, rebuild bool) {
	switch {
	case outer.Kind != "veth":
		return []Change{{"kind", outer.Kind, "veth"}}, true
	case inner == nil:
		return []Change{{w.Inner, "absent", "in " + w.Netns}}, true
	case outer.PeerIndex != inner.Index || inner.Kind != "veth":
		return []Change{{w.Inner, "not the other end", "in " + w.Netns}}, true
	}
	var live differences
	live.outer(outer, w.MAC, w.MTU, w.Bridge)
	live.text(w.Inner+" mac", inner.MAC, w.InnerMAC)
	live.integer(w.Inner+" mtu", inner.MTU, w.MTU)
	live.boolean(w.Inner+" up", inner.Up, true)
	live.text(w.Inner+" addresses", prefixes(inner.Addresses), prefixes(w.Addresses))
	return live, false
}

// Diff lists what differs in a namespace of w's name that is ours. One that is
// only intended is the empty mount point of a run that died.
func (w Namespace) Diff(n NamespaceFacts) (changes []Change, rebuild bool) {
	if n.Mark != nil && n.Mark.Intended {
		return []Change{{"namespace", HalfMade, "whole"}}, true
	}
	var live differences
	for _, l := range n.Links {
		if l.Name == "lo" {
			live.boolean("lo up", l.Up, true)
		}
	}
	return live, false
}

type differences []Change

func (d *differences) text(property, from, to string) {
	if from != to {
		*d = append(*d, Change{property, orNone(from), orNone(to)})
	}
}

func (d *differences) integer(property string, from, to int) {
	d.text(property, strconv.Itoa(from), strconv.Itoa(to))
}

func (d *differences) boolean(property string, from, to bool) {
	d.text(property, strconv.FormatBool(from), strconv.FormatBool(to))
}

func (d *differences) address(property string, from, to netip.Addr) {
	if from != to {
		*d = append(*d, Change{property, addressText(from), addressText(to)})
	}
}

// outer compares what every link of ours in the host's own namespace has.
func (d *differences) outer(l Link, mac string, mtu int, master string) {
	d.boolean(Marked, l.Mark != nil && !l.Mark.Intended, true)
	d.text("mac", l.MAC, mac)
	d.integer("mtu", l.MTU, mtu)
	d.boolean("quiet", l.Quiet, true)
	d.boolean("up", l.Up, true)
	d.text("bridge", l.Master, master)
}

func prefixes(ps []netip.Prefix) string {
	var texts []string
	for _, p := range ps {
		texts = append(texts, p.String())
	}
	slices.Sort(texts)
	return strings.Join(texts, " ")
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return "none"
	}
	return a.String()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
