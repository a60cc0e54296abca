package hosttest

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vxorch/remote/hostapi"
)

// ContractFRR is Contract for what a Host does with a lab's control plane. The
// machines that open gives have FRR, and no other that runs.
func ContractFRR(t *testing.T, open func(t *testing.T) Env) {
	for i, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"a lab without a control plane", (*bench).frrNone},
		{"a control plane runs, is seen as wanted and marked", (*bench).frrCreate},
		{"what changes of it is seen", (*bench).frrChange},
		{"removal leaves nothing of it", (*bench).frrRemove},
		{"nonsense about it is refused", (*bench).frrNonsense},
		{"a part of the host's own is seen as wanted and goes", (*bench).frrJoins},
		{"a part that clashes with the host's own is refused", (*bench).frrClashes},
		{"routes that do not come are told of", (*bench).routesMissing},
		{"routes of a foreign VTEP", (*bench).routesForeign},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(newBench(t, open(t), 0x60+i))
		})
	}
}

func (b *bench) frr() hostapi.FRR {
	return hostapi.FRR{Local: b.Local, Port: 21179, Password: "sesame", Config: "log syslog warnings\nrouter bgp 65000\n bgp router-id 192.0.2.1\n" +
		" no bgp default ipv4-unicast\n neighbor 192.0.2.9 remote-as 65000\n neighbor 192.0.2.9 password " + hostapi.PasswordHere + "\n address-family l2vpn evpn\n  advertise-all-vni\n"}
}

// seeFRR gives what is seen of the lab's control plane, which has to be asked about.
func (b *bench) seeFRR(req hostapi.ObserveRequest) hostapi.FRRFacts {
	b.Helper()
	f := b.observe(req).FRR
	if f == nil {
		b.Fatal("nothing is seen of FRR")
	}
	return *f
}

func (b *bench) frrNone() {
	if f := b.observe(hostapi.ObserveRequest{}).FRR; f != nil {
		b.Errorf("FRR was not asked for, and seen as %+v", f)
	}
	f := b.seeFRR(hostapi.ObserveRequest{FRR: &hostapi.FRRQuery{Port: b.frr().Port}})
	if f.Mark != nil || len(f.Daemons)+len(f.Lacking)+len(f.Others)+len(f.Listeners) > 0 {
		b.Errorf("FRR of a lab without is seen as %+v", f)
	}
}

func (b *bench) frrCreate() {
	want := b.frr()
	if res := b.apply(hostapi.Create, b.step(want)); !res.Steps[0].Changed {
		b.Error("it was started, and says that nothing changed")
	}
	f := b.seeFRR(hostapi.ObserveRequest{})
	for _, c := range want.Diff(f) {
		b.Errorf("%s is %s, want %s", c.Property, c.From, c.To)
	}
	if f.Mark == nil || f.Mark.Lab != b.lab || f.Mark.User != user || f.Mark.Controller != controller || f.Mark.Intended {
		b.Errorf("its mark is %+v", f.Mark)
	}
	if res := b.apply(hostapi.Update, b.step(want)); res.Steps[0].Changed {
		b.Error("it was changed a second time")
	}
	if left := b.observe(hostapi.ObserveRequest{Thorough: true}).Leftovers; len(left) > 0 {
		b.Errorf("leftovers %q", left)
	}
	peer := netip.MustParseAddr("192.0.2.9")
	seen, err := b.Host.(hostapi.Inspector).Inspect(b.ctx(), hostapi.InspectRequest{BGP: &hostapi.BGPQuery{Lab: b.lab, Peers: []netip.Addr{peer}, VNIs: []int{7}}})
	if err != nil || seen.BGP == nil || len(seen.BGP.VNIs) > 0 && len(seen.BGP.VNIs[0].Ends) > 0 || len(seen.BGP.Peers) != 1 || seen.BGP.Peers[0].Address != peer ||
		seen.BGP.Peers[0].State == "" || seen.BGP.Peers[0].State == hostapi.Established {
		b.Errorf("it says %+v, %v; want a session that is not up, and no VNI", seen.BGP, err)
	}
	b.apply(hostapi.Remove, b.step(want))
	seen, err = b.Host.(hostapi.Inspector).Inspect(b.ctx(), hostapi.InspectRequest{BGP: &hostapi.BGPQuery{Lab: b.lab, VNIs: []int{7}}})
	if err != nil || seen.BGP != nil {
		b.Errorf("one that is gone says %+v, %v; want nothing", seen.BGP, err)
	}
}

func (b *bench) frrChange() {
	want := b.frr()
	b.apply(hostapi.Create, b.step(want))
	others := map[string]func(*hostapi.FRR){
		"password":      func(w *hostapi.FRR) { w.Password = "open" },
		"port":          func(w *hostapi.FRR) { w.Port = 0 },
		"configuration": func(w *hostapi.FRR) { w.Config += "! more\n" },
	}
	for what, change := range others {
		change(&want)
		if changes := want.Diff(b.seeFRR(hostapi.ObserveRequest{})); len(changes) != 1 {
			b.Errorf("another %s: %v, want one change", what, changes)
		}
		if res := b.apply(hostapi.Update, b.step(want)); !res.Steps[0].Changed {
			b.Errorf("another %s: nothing was changed", what)
		}
		if changes := want.Diff(b.seeFRR(hostapi.ObserveRequest{})); len(changes) > 0 {
			b.Errorf("another %s: seen with %v", what, changes)
		}
	}
	b.apply(hostapi.Remove, b.step(want))
}

func (b *bench) frrRemove() {
	b.apply(hostapi.Create, b.step(b.frr()))
	if res := b.apply(hostapi.Remove, b.step(hostapi.FRR{})); !res.Steps[0].Changed {
		b.Error("it was removed, and says that nothing changed")
	}
	if f := b.seeFRR(hostapi.ObserveRequest{Thorough: true}); f.Mark != nil || len(f.Daemons) > 0 {
		b.Errorf("it is still there: %+v", f)
	}
	if res := b.apply(hostapi.Remove, b.step(hostapi.FRR{})); res.Steps[0].Changed {
		b.Error("it was removed a second time")
	}
	b.nothingStands()
}

func (b *bench) frrNonsense() {
	b.lockLab(b.Host)
	for name, change := range map[string]func(*hostapi.FRR){
		"no tunnel end":               func(w *hostapi.FRR) { w.Local = netip.Addr{} },
		"an IPv6 tunnel end":          func(w *hostapi.FRR) { w.Local = netip.MustParseAddr("fd00::1") },
		"a port that is none":         func(w *hostapi.FRR) { w.Port = 1 << 16 },
		"a second line as a password": func(w *hostapi.FRR) { w.Password = "open\n log file /x" },
	} {
		w := b.frr()
		change(&w)
		if _, err := b.try(b.Host, hostapi.Create, b.step(w)); !errors.Is(err, hostapi.ErrInvalid) {
			b.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

// joins is the lab's part for the FRR of the host's own.
func (b *bench) joins() hostapi.FRR {
	group, filter := hostapi.BGPReflectors(b.lab), hostapi.BGPFilter(b.lab)
	return hostapi.FRR{Local: b.Local, Password: "sesame", Existing: true, Config: strings.NewReplacer("GROUP", group, "FILTER", filter).Replace(
		"bgp extcommunity-list standard FILTER permit rt 65000:100\nroute-map FILTER permit 1\n match extcommunity FILTER\nexit\nrouter bgp 65000\n" +
			" neighbor GROUP peer-group\n neighbor GROUP remote-as 65000\n neighbor GROUP password " + hostapi.PasswordHere + "\n" +
			" address-family l2vpn evpn\n  neighbor GROUP activate\n  neighbor GROUP route-map FILTER in\n  advertise-all-vni\n exit-address-family\n" +
			" neighbor 192.0.2.9 peer-group GROUP\nexit\n")}
}

func (b *bench) frrJoins() {
	b.lockLab(b.Host)
	if _, err := b.try(b.Host, hostapi.Create, b.step(b.joins())); !errors.Is(err, hostapi.ErrUnsupported) {
		b.Errorf("where there is none: %v, want ErrUnsupported", err)
	}
	b.apply(hostapi.Remove, b.step(hostapi.FRR{}))
	shown := b.BGP(b.T, 0)
	before := shown()
	want := b.joins()
	if res := b.apply(hostapi.Create, b.step(want)); !res.Steps[0].Changed {
		b.Error("it was told, and says that nothing changed")
	}
	f := b.seeFRR(hostapi.ObserveRequest{})
	for _, c := range want.Diff(f) {
		b.Errorf("%s is %s, want %s", c.Property, c.From, c.To)
	}
	if f.Mark == nil || f.Mark.Lab != b.lab || f.Mark.User != user || f.Host == nil || len(f.Host.Neighbors) > 0 {
		b.Errorf("it is seen as %+v", f)
	}
	if !strings.Contains(shown(), hostapi.BGPReflectors(b.lab)) {
		b.Errorf("the host's own has nothing of it:\n%s", shown())
	}
	if res := b.apply(hostapi.Update, b.step(want)); res.Steps[0].Changed {
		b.Error("it was changed a second time")
	}
	want.Password = "open"
	if changes := want.Diff(b.seeFRR(hostapi.ObserveRequest{})); len(changes) != 1 {
		b.Errorf("another password: %v, want one change", changes)
	}
	if res := b.apply(hostapi.Update, b.step(want)); !res.Steps[0].Changed {
		b.Error("another password: nothing was changed")
	}
	if changes := want.Diff(b.seeFRR(hostapi.ObserveRequest{})); len(changes) > 0 {
		b.Errorf("another password: seen with %v", changes)
	}
	if res := b.apply(hostapi.Remove, b.step(hostapi.FRR{})); !res.Steps[0].Changed {
		b.Error("it was removed, and says that nothing changed")
	}
	if after := shown(); after != before {
		b.Errorf("the host's own has now\n%s\nbefore it had\n%s", after, before)
	}
	if f := b.seeFRR(hostapi.ObserveRequest{Thorough: true}); f.Mark != nil || len(f.Daemons) > 0 {
		b.Errorf("it is still there: %+v", f)
	}
	b.nothingStands()
}

func (b *bench) frrClashes() {
	b.lockLab(b.Host)
	shown := b.BGP(b.T, 64512)
	before := shown()
	if _, err := b.try(b.Host, hostapi.Create, b.step(b.joins())); !errors.Is(err, hostapi.ErrForeign) {
		b.Errorf("%v, want ErrForeign", err)
	}
	if after := shown(); after != before {
		b.Errorf("the host's own has now\n%s\nbefore it had\n%s", after, before)
	}
	b.apply(hostapi.Remove, b.step(hostapi.FRR{}))
}

// awaited is the lab's VTEP with routes that nobody sends.
func (b *bench) awaited() hostapi.Routes {
	end := netip.MustParseAddr("192.0.2.201")
	return hostapi.Routes{
		VTEP: b.vtep().Name, Bridge: b.bridge().Name, Own: []hostapi.Station{{MAC: b.veth().InnerMAC, Link: b.veth().Name}}, Ends: []netip.Addr{end},
		Remotes: []hostapi.Learned{{For: "far", MAC: b.mac(0x41), Via: end}}, Patience: 100 * time.Millisecond,
	}
}

func (b *bench) routesMissing() {
	vtep := b.vtep()
	vtep.Group, vtep.Static = netip.Addr{}, true
	b.apply(hostapi.Create, b.step(b.bridge()), b.step(vtep), b.step(b.namespace()), b.step(b.veth()))
	res := b.apply(hostapi.Await, b.step(b.awaited()))
	if r := res.Steps[0]; r.Changed || !strings.Contains(r.Note, "192.0.2.201") {
		b.Errorf("changed %t, note %q; want a note of what is missing", r.Changed, r.Note)
	}
	nothing := b.awaited()
	nothing.Ends, nothing.Remotes = nil, nil
	if r := b.apply(hostapi.Await, b.step(nothing)).Steps[0]; r.Note == "" || strings.Contains(r.Note, "does not") {
		b.Errorf("note %q, want that all has come", r.Note)
	}
}

func (b *bench) routesForeign() {
	b.lockLab(b.Host)
	r := b.awaited()
	r.VTEP = b.name("alien")
	b.Plant(b.T, r.VTEP)
	if _, err := b.try(b.Host, hostapi.Await, b.step(r)); err == nil {
		b.Error("no error")
	}
}
