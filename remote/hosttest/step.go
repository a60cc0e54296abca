package hosttest

import (
	"fmt"
	"net"
	"slices"
	"time"

	"vxorch/remote/hostapi"
)

// Bytes that VXLAN puts around a frame: outer IP header, UDP 8, VXLAN 8 and the
// inner Ethernet header 14 (RFC 7348 §5).
const (
	overheadIPv4 = 50
	overheadIPv6 = 70
)

// work is one step of a batch on a machine, whose fabric is locked.
type work struct {
	*Machine
	batch hostapi.Batch
	made  func() error // between making and marking
}

func (w work) run(s hostapi.Step) (changed bool, err error) {
	set := 0
	for _, is := range []bool{
		s.VTEP != nil, s.Bridge != nil, s.Namespace != nil, s.Veth != nil, s.Address != nil,
		s.Forwarding != nil, s.FRR != nil, s.VirtNetwork != nil, s.Domain != nil, s.Guest != nil,
	} {
		if is {
			set++
		}
	}
	if set != 1 {
		return false, invalid("a step has one object, not %d", set)
	}
	switch {
	case s.Forwarding != nil && s.Op == hostapi.Remove:
		return w.forwarding(hostapi.Forwarding{VTEP: s.Forwarding.VTEP, Bridge: s.Forwarding.Bridge})
	case s.FRR != nil && s.Op == hostapi.Remove:
		return w.removeFRR()
	case s.Op == hostapi.Remove:
		return w.remove(s)
	case s.Guest != nil:
		return w.guest(*s.Guest)
	}
	switch s.Op {
	case hostapi.Create, hostapi.Update, hostapi.Rebuild:
	default:
		return false, invalid("no such operation: %q", s.Op)
	}
	switch {
	case s.VTEP != nil:
		return w.vtep(*s.VTEP)
	case s.Bridge != nil:
		return w.bridge(*s.Bridge)
	case s.Namespace != nil:
		return w.namespace(*s.Namespace)
	case s.Veth != nil:
		return w.veth(*s.Veth)
	case s.Forwarding != nil:
		return w.forwarding(*s.Forwarding)
	case s.FRR != nil:
		return w.frr(*s.FRR)
	case s.VirtNetwork != nil:
		return w.virtNetwork(*s.VirtNetwork)
	case s.Domain != nil:
		return w.domain(*s.Domain)
	}
	return w.address(*s.Address)
}

func (w work) remove(s hostapi.Step) (changed bool, err error) {
	_, name := s.Object()
	if s.Namespace != nil {
		n := w.namespaces[name]
		if n == nil {
			return false, nil
		}
		if !ours(n.mark, w.batch.Lab) {
			return false, foreign("namespace", name)
		}
		w.removeNamespace(n)
		return true, nil
	}
	switch {
	case s.VirtNetwork != nil:
		return w.removeVirtNetwork(name)
	case s.Domain != nil:
		return w.removeDomain(name)
	case s.Guest != nil:
		return false, invalid("a guest goes with its domain")
	}
	l := w.links[name]
	switch {
	case l == nil:
		return false, nil
	case !ours(l.Mark, w.batch.Lab):
		return false, foreign("link", name)
	case s.Address == nil:
		w.Machine.remove(l)
		return true, nil
	}
	had := slices.Contains(l.prefixes(), s.Address.Prefix)
	l.addresses = slices.DeleteFunc(l.addresses, func(a address) bool { return a.prefix == s.Address.Prefix })
	return had, nil
}

// ensure brings the link of that name to what diff compares with: as it is, in
// place by amend, or by create and amend.
func (w work) ensure(name, purpose string, diff func(*link) ([]hostapi.Change, bool), create func() (*link, error), amend func(*link) error) (changed bool, err error) {
	mark := w.mark(purpose)
	l := w.links[name]
	if l != nil && !ours(l.Mark, w.batch.Lab) {
		return false, foreign("link", name)
	}
	if l != nil {
		changes, rebuild := diff(l)
		if len(changes) == 0 {
			return false, nil
		}
		if rebuild {
			w.Machine.remove(l)
			changed, l = true, nil
		}
	}
	if l == nil {
		l, err = create()
		if err != nil {
			return changed, err
		}
		l.Name = name
		l.Mark = &hostapi.Mark{Lab: mark.Lab, For: mark.For, User: mark.User, Controller: mark.Controller, Intended: true}
		w.add(nil, l)
		if err := w.made(); err != nil {
			return true, err
		}
		if w.links[name] != l {
			return true, vanished(name)
		}
	}
	l.Mark = mark
	l.Up, l.Quiet = true, true
	return true, amend(l)
}

func (w work) vtep(v hostapi.VTEP) (changed bool, err error) {
	switch {
	case v.VNI < 1 || v.VNI > 1<<24-1:
		return false, invalid("VNI %d is not in 1…16777215", v.VNI)
	case v.Port < 1 || v.Port > 1<<16-1:
		return false, invalid("UDP port %d is not in 1…65535", v.Port)
	}
	if err := check(v.Name, v.MAC); err != nil {
		return false, err
	}
	fits := func() error {
		device := w.links[v.Device]
		if device == nil {
			return invalid("no device %q", v.Device)
		}
		overhead := overheadIPv4
		if v.Group.Is6() || v.Local.Is6() {
			overhead = overheadIPv6
		}
		if v.MTU > device.MTU-overhead {
			return invalid("mtu %d does not fit into the %d of %s", v.MTU, device.MTU, v.Device)
		}
		return nil
	}
	return w.ensure(v.Name, v.For,
		func(l *link) ([]hostapi.Change, bool) { return v.Diff(l.facts(w.batch.Lab)) },
		func() (*link, error) {
			if err := fits(); err != nil {
				return nil, err
			}
			for _, other := range w.links {
				if x := other.VXLAN; x != nil && x.VNI == v.VNI && x.Port == v.Port {
					return nil, taken(v, other)
				}
			}
			return &link{Link: hostapi.Link{Kind: "vxlan", VXLAN: &hostapi.VXLAN{
				VNI: v.VNI, Port: v.Port, Group: v.Group, Local: v.Local, Device: v.Device, Learning: !v.Static,
			}}}, nil
		},
		func(l *link) error {
			if err := fits(); err != nil {
				return err
			}
			l.MAC, l.MTU = v.MAC, v.MTU
			if err := w.join(l, v.Bridge); err != nil {
				return err
			}
			l.PortLearning, l.Suppress = v.Bridge != "" && !v.Static, v.Bridge != "" && v.Static
			return nil
		})
}

// taken is the kernel's File exists, with the owner's name.
func taken(v hostapi.VTEP, owner *link) error {
	whose := "which is not vxorch's"
	if m := owner.Mark; m != nil && !m.Intended {
		whose = fmt.Sprintf("of lab %q", m.Lab)
	}
	return &hostapi.Error{
		Kind:    hostapi.KindBusy,
		Message: fmt.Sprintf("VNI %d on UDP port %d: file exists: link %q has it, %s", v.VNI, v.Port, owner.Name, whose),
		Hint:    "take another vni or port",
	}
}

func (w work) bridge(b hostapi.Bridge) (changed bool, err error) {
	if err := check(b.Name, b.MAC); err != nil {
		return false, err
	}
	return w.ensure(b.Name, b.For,
		func(l *link) ([]hostapi.Change, bool) { return b.Diff(l.facts(w.batch.Lab)) },
		func() (*link, error) { return &link{Link: hostapi.Link{Kind: "bridge"}}, nil },
		func(l *link) error {
			l.MAC, l.MTU, l.STP = b.MAC, b.MTU, false
			return w.join(l, "")
		})
}

func (w work) veth(v hostapi.Veth) (changed bool, err error) {
	for name, mac := range map[string]string{v.Name: v.MAC, v.Inner: v.InnerMAC} {
		if err := check(name, mac); err != nil {
			return false, err
		}
	}
	n := w.namespaces[v.Netns]
	if n == nil {
		return false, invalid("no network namespace %q", v.Netns)
	}
	if !ours(n.mark, w.batch.Lab) {
		return false, foreign("namespace", v.Netns)
	}
	return w.ensure(v.Name, v.For,
		func(l *link) ([]hostapi.Change, bool) {
			inner := n.links[v.Inner]
			if inner == nil {
				return v.Diff(l.facts(w.batch.Lab), nil)
			}
			facts := inner.facts(w.batch.Lab)
			return v.Diff(l.facts(w.batch.Lab), &facts)
		},
		func() (*link, error) {
			if n.links[v.Inner] != nil {
				return nil, foreign("link in namespace "+v.Netns, v.Inner)
			}
			outer := &link{Link: hostapi.Link{Kind: "veth"}}
			outer.peer = &link{Link: hostapi.Link{Name: v.Inner, Kind: "veth"}, peer: outer}
			w.add(n, outer.peer)
			if err := w.join(outer, v.Bridge); err != nil {
				w.Machine.remove(outer.peer)
				return nil, err
			}
			return outer, nil
		},
		func(outer *link) error {
			outer.MAC, outer.MTU = v.MAC, v.MTU
			inner := outer.peer
			inner.MAC, inner.MTU, inner.Up = v.InnerMAC, v.MTU, true
			inner.setAddresses(v.Addresses)
			return w.join(outer, v.Bridge)
		})
}

func (w work) namespace(want hostapi.Namespace) (changed bool, err error) {
	if want.Name == "" {
		return false, invalid("a namespace has a name")
	}
	mark := w.mark(want.For)
	n := w.namespaces[want.Name]
	if n != nil {
		if !ours(n.mark, w.batch.Lab) {
			return false, foreign("namespace", want.Name)
		}
		changes, rebuild := want.Diff(n.facts(w.batch.Lab))
		if len(changes) == 0 {
			return false, nil
		}
		if rebuild {
			w.removeNamespace(n)
			n = nil
		}
	}
	if n == nil {
		n = w.addNamespace(want.Name)
		intended := *mark
		intended.Intended = true
		n.mark = &intended
		if err := w.made(); err != nil {
			return true, err
		}
		if w.namespaces[want.Name] != n {
			return true, vanished(want.Name)
		}
	}
	n.mark = mark
	n.links["lo"].Up = true
	return true, nil
}

func (w work) forwarding(f hostapi.Forwarding) (changed bool, err error) {
	l := w.links[f.VTEP]
	switch {
	case l == nil:
		return false, invalid("no link %q", f.VTEP)
	case !ours(l.Mark, w.batch.Lab):
		return false, foreign("link", f.VTEP)
	case l.VXLAN == nil:
		return false, invalid("%s is a %s, not a VTEP", f.VTEP, l.Kind)
	case len(f.Remotes) > 0 && (f.Bridge == "" || l.Master != f.Bridge):
		return false, invalid("%s is not a port of bridge %q", f.VTEP, f.Bridge)
	}
	for _, r := range f.Remotes {
		if err := check(f.VTEP, r.MAC); err != nil {
			return false, err
		}
	}
	if len(f.Diff(hostapi.SummarizeForwarding(l.forwarding.Entries()))) == 0 {
		return false, nil
	}
	l.forwarding = f
	return true, nil
}

func (w work) address(a hostapi.Address) (changed bool, err error) {
	l := w.links[a.Link]
	switch {
	case !a.Prefix.IsValid():
		return false, invalid("no address")
	case a.Lifetime < time.Second:
		return false, invalid("a lifetime of %v, less than a second", a.Lifetime)
	case l == nil:
		return false, invalid("no link %q", a.Link)
	case !ours(l.Mark, w.batch.Lab):
		return false, foreign("link", a.Link)
	case l.Kind != "vxlan" && l.Kind != "bridge":
		return false, invalid("%s is a %s, neither VTEP nor bridge", a.Link, l.Kind)
	}
	had := slices.Contains(l.prefixes(), a.Prefix)
	l.addresses = slices.DeleteFunc(l.addresses, func(old address) bool { return old.prefix == a.Prefix })
	l.addresses = append(l.addresses, address{a.Prefix, time.Now().Add(a.Lifetime)})
	return !had, nil
}

// join makes l a port of the bridge of that name; empty: of none.
func (w work) join(l *link, bridge string) error {
	if bridge != "" {
		b := w.links[bridge]
		if b == nil {
			return invalid("no bridge %q", bridge)
		}
		if b.Kind != "bridge" {
			return invalid("%q is a %s, not a bridge", bridge, b.Kind)
		}
	}
	l.Master = bridge
	return nil
}

func (w work) mark(purpose string) *hostapi.Mark {
	return &hostapi.Mark{Lab: w.batch.Lab, For: purpose, User: w.batch.User, Controller: w.batch.Controller}
}

// check refuses names and hardware addresses that the kernel would.
func check(name, mac string) error {
	if len(name) < 1 || len(name) > 15 {
		return invalid("link name %q has not 1 to 15 characters", name)
	}
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 || hw[0]&1 != 0 || [6]byte(hw) == [6]byte{} {
		return invalid("%q is no hardware address for a link", mac)
	}
	return nil
}

func foreign(kind, name string) error {
	return &hostapi.Error{
		Kind:    hostapi.KindForeign,
		Message: fmt.Sprintf("%s %q exists and is not this lab's", kind, name),
		Hint:    "name it otherwise in the inventory, or remove it yourself if nobody needs it",
	}
}

func vanished(name string) error {
	return &hostapi.Error{Kind: hostapi.KindInternal, Message: name + " vanished while it was made"}
}
