package hosttest

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/hostapi"
)

func (b *bench) observeEmpty() {
	name, netns := b.name("no"), b.name("nons")
	f := b.observe(hostapi.ObserveRequest{Links: []string{name}, Namespaces: []string{netns}, Peers: []netip.Addr{b.Local}})
	if b.link(f, name) != nil || b.netns(f, netns) != nil {
		b.Errorf("absent things are reported: %+v", f)
	}
	for _, l := range f.Links {
		if l.Mark != nil && l.Mark.Lab == b.lab {
			b.Errorf("link of a lab that was never made: %+v", l)
		}
	}
	if len(f.Leftovers) > 0 {
		b.Errorf("leftovers %q", f.Leftovers)
	}
	if len(f.Routes) != 1 || f.Routes[0].Peer != b.Local || f.Routes[0].Device == "" {
		b.Errorf("routes %+v, want one to %v", f.Routes, b.Local)
	}
	for what, value := range map[string]string{
		"hostname": f.Hostname, "kernel": f.Kernel, "machine": f.Machine, "boot id": f.BootID,
	} {
		if value == "" {
			b.Errorf("no %s", what)
		}
	}
	u := b.link(b.observe(hostapi.ObserveRequest{Links: []string{b.Underlay}}), b.Underlay)
	if u == nil {
		b.Fatalf("the underlay %q is not reported", b.Underlay)
	}
	has := slices.ContainsFunc(u.Addresses, func(p netip.Prefix) bool { return p.Addr() == b.Local })
	if !u.Up || u.MTU < 1500 || u.Mark != nil || u.Index == 0 || !has {
		b.Errorf("underlay %+v, want it up, without a mark and with address %v", u, b.Local)
	}
}

func (b *bench) create() {
	res := b.apply(hostapi.Create, b.whole()...)
	for i, r := range res.Steps {
		if !r.Changed {
			b.Errorf("step %d made something and says that it did not", i)
		}
	}
	b.standsAsWanted(b.whole())

	f := b.observe(hostapi.ObserveRequest{})
	for _, s := range b.whole() {
		kind, name := s.Object()
		var got *hostapi.Mark
		if s.Namespace != nil {
			if n := b.netns(f, name); n != nil {
				got = n.Mark
			}
		} else if l := b.link(f, name); l != nil {
			got = l.Mark
		}
		want := &hostapi.Mark{Lab: b.lab, For: "for-" + kind, User: user, Controller: controller}
		if d := cmp.Diff(want, got); d != "" {
			b.Errorf("mark of %s %s, -want +got:\n%s", kind, name, d)
		}
	}
}

func (b *bench) applyAgain() {
	b.apply(hostapi.Create, b.whole()...)
	before := b.observe(hostapi.ObserveRequest{})
	for i, r := range b.apply(hostapi.Create, b.whole()...).Steps {
		if r.Changed {
			kind, name := b.whole()[i].Object()
			b.Errorf("%s %s is as wanted and was changed", kind, name)
		}
	}
	b.same("facts", before, b.observe(hostapi.ObserveRequest{}))
}

func (b *bench) change() {
	alone := b.vtep()
	alone.Bridge = ""
	b.apply(hostapi.Create, b.step(alone), b.step(b.bridge()), b.step(b.namespace()), b.step(b.veth()))
	before := b.observe(hostapi.ObserveRequest{})

	vtep, bridge, veth := b.vtep(), b.bridge(), b.veth()
	vtep.MTU, bridge.MTU, veth.MTU = 1350, 1350, 1350
	bridge.MAC, veth.MAC, veth.InnerMAC = b.mac(0x21), b.mac(0x22), b.mac(0x23)
	veth.Addresses = []netip.Prefix{netip.MustParsePrefix("10.77.0.99/24"), netip.MustParsePrefix("10.78.0.1/16")}
	wanted := []hostapi.Step{b.step(vtep), b.step(bridge), b.step(b.namespace()), b.step(veth)}
	var changed []bool
	for _, r := range b.apply(hostapi.Update, wanted...).Steps {
		changed = append(changed, r.Changed)
	}
	b.same("changed", []bool{true, true, false, true}, changed)
	b.standsAsWanted(wanted)

	after := b.observe(hostapi.ObserveRequest{})
	for _, name := range []string{vtep.Name, bridge.Name, veth.Name} {
		if was, is := b.link(before, name), b.link(after, name); was == nil || is == nil || was.Index != is.Index {
			b.Errorf("%s was made anew: %+v, then %+v", name, was, is)
		}
	}
}

func (b *bench) rebuild() {
	b.apply(hostapi.Create, b.whole()...)
	vtep := b.vtep()
	vtep.VNI++
	if res := b.apply(hostapi.Rebuild, b.step(vtep)); !res.Steps[0].Changed {
		b.Error("the VNI differs and nothing was changed")
	}
	b.standsAsWanted([]hostapi.Step{b.step(b.bridge()), b.step(vtep), b.step(b.namespace()), b.step(b.veth())})
}

func (b *bench) remove() {
	steps := b.whole()
	b.apply(hostapi.Create, steps...)
	slices.Reverse(steps)
	for i, r := range b.apply(hostapi.Remove, steps...).Steps {
		if !r.Changed {
			kind, name := steps[i].Object()
			b.Errorf("%s %s was there and is said not to have been", kind, name)
		}
	}
	b.nothingStands()
	for i, r := range b.apply(hostapi.Remove, steps...).Steps {
		if r.Changed {
			kind, name := steps[i].Object()
			b.Errorf("%s %s is gone and was removed again", kind, name)
		}
	}
	b.nothingStands()
}

func (b *bench) removeUnder() {
	b.apply(hostapi.Create, b.whole()...)
	b.apply(hostapi.Remove, b.step(b.namespace()))
	b.await("the veth to go with its namespace", func() bool {
		return b.link(b.observe(hostapi.ObserveRequest{}), b.veth().Name) == nil
	})
	b.apply(hostapi.Remove, b.step(b.bridge()))
	l := b.link(b.observe(hostapi.ObserveRequest{}), b.vtep().Name)
	if l == nil || l.Master != "" {
		b.Errorf("VTEP after its bridge was removed: %+v, want it alone", l)
	}
}

func (b *bench) partial() {
	noNetns, noBridge := b.veth(), b.veth()
	noNetns.Netns, noBridge.Bridge = b.name("nons"), b.name("nobr")
	noDevice := b.vtep()
	noDevice.Device = b.name("nodev")
	never := hostapi.Namespace{Name: b.name("never")}
	for name, failing := range map[string]hostapi.Step{
		"veth into a missing namespace": b.step(noNetns),
		"veth onto a missing bridge":    b.step(noBridge),
		"VTEP on a missing device":      b.step(noDevice),
	} {
		b.lockLab(b.Host)
		res, err := b.try(b.Host, hostapi.Create, b.step(b.bridge()), b.step(b.namespace()), failing, b.step(never))
		if err == nil {
			b.Errorf("%s: no error", name)
		}
		if len(res.Steps) != 3 || !res.Steps[0].Changed || !res.Steps[1].Changed || res.Steps[2].Error == nil {
			b.Fatalf("%s: result %+v, want two steps done, the third failed and no more", name, res)
		}
		b.standsAsWanted([]hostapi.Step{b.step(b.bridge()), b.step(b.namespace())})
		f := b.observe(hostapi.ObserveRequest{Namespaces: []string{never.Name}})
		if b.netns(f, never.Name) != nil {
			b.Errorf("%s: the step after it was run", name)
		}
		b.apply(hostapi.Remove, failing, b.step(b.namespace()), b.step(b.bridge()))
		b.nothingStands()
	}
}

func (b *bench) busy() {
	first := b.vtep()
	first.Bridge = ""
	b.apply(hostapi.Create, b.step(first))
	second := first
	second.Name, second.MAC = b.name("vx2"), b.mac(0x31)
	if _, err := b.try(b.Host, hostapi.Create, b.step(second)); !errors.Is(err, hostapi.ErrBusy) {
		b.Errorf("VTEP of a taken VNI and port: %v, want ErrBusy", err)
	}
	second.Port++
	b.apply(hostapi.Create, b.step(second))
	b.standsAsWanted([]hostapi.Step{b.step(first), b.step(second)})
}

func (b *bench) nonsense() {
	b.lockLab(b.Host)
	noVNI, noPort, long := b.vtep(), b.vtep(), b.bridge()
	noVNI.VNI, noPort.Port, long.Name = 1<<24, 0, "a-name-of-16-chr"
	two := b.step(b.bridge())
	ns := b.namespace()
	two.Namespace = &ns
	for name, s := range map[string]hostapi.Step{
		"no object": {}, "two objects": two,
		"VNI of 25 bits": b.step(noVNI), "port 0": b.step(noPort), "name too long": b.step(long),
	} {
		if _, err := b.try(b.Host, hostapi.Create, s); err == nil {
			b.Errorf("%s: no error", name)
		}
	}
	b.nothingStands()
}

func (b *bench) foreign() {
	vtep, bridge, veth, ns := b.vtep(), b.bridge(), b.veth(), b.namespace()
	b.apply(hostapi.Create, b.step(bridge), b.step(ns))
	name, netns := b.name("alien"), b.name("aliens")
	b.Plant(b.T, name)
	b.PlantNet(b.T, netns)
	ask := hostapi.ObserveRequest{Links: []string{name}, Namespaces: []string{netns}}
	before := b.observe(ask)
	if l := b.link(before, name); l == nil || l.Mark != nil {
		b.Fatalf("planted link: %+v, want it without a mark", l)
	}
	if n := b.netns(before, netns); n == nil || n.Mark != nil {
		b.Fatalf("planted namespace: %+v, want it without a mark", n)
	}
	vtep.Name, bridge.Name, veth.Name, ns.Name = name, name, name, netns
	address := hostapi.Address{Link: name, Prefix: netip.MustParsePrefix("10.77.0.1/24"), Lifetime: time.Minute}
	for _, s := range []hostapi.Step{b.step(vtep), b.step(bridge), b.step(veth), b.step(ns), b.step(address)} {
		for _, op := range []hostapi.Op{hostapi.Create, hostapi.Update, hostapi.Rebuild, hostapi.Remove} {
			kind, _ := s.Object()
			res, err := b.try(b.Host, op, s)
			if !errors.Is(err, hostapi.ErrForeign) {
				b.Errorf("%s %s: %v, want ErrForeign", op, kind, err)
			}
			if len(res.Steps) != 1 || res.Steps[0].Changed || res.Steps[0].Error == nil || res.Steps[0].Error.Kind != hostapi.KindForeign {
				b.Errorf("%s %s: result %+v, want a step that was refused", op, kind, res)
			}
		}
	}
	b.same("facts", before, b.observe(ask))
}
