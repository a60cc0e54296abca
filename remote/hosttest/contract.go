package hosttest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/hostapi"
)

// Env is a machine for Contract. Nothing of a lab may stand on it.
type Env struct {
	Host     hostapi.Host                      // Contract closes it
	Reopen   func(t *testing.T) hostapi.Host   // a second session on the same machine; Contract closes it
	Underlay string                            // device on the machine, of mtu 1500 or more, up
	Local    netip.Addr                        // its address
	Plant    func(t *testing.T, name string)   // makes a link without a mark, of any kind
	PlantNet func(t *testing.T, netns string)  // makes a named namespace without a mark
	Stall    func(t *testing.T, object string) // has the next step on that object wait until its context has ended, then go on; nil: the host cannot

	// For ContractFRR only: has the machine run an FRR of its own, and gives what shows
	// the configuration of its bgpd, which has an instance of that number; 0: none.
	BGP func(t *testing.T, asn int) (shown func() string)

	// For ContractVirt only.
	Image []byte // qcow2, at most a few MiB; a guest that does nothing will do
	Virsh Virsh
}

// Virsh is what others do to a machine's libvirt.
type Virsh struct {
	Plant    func(t *testing.T, name string) // defines a network and a domain without marks
	Stop     func(t *testing.T, name string) // ends a domain at once
	Undefine func(t *testing.T, name string) // of a domain, which goes on if it runs
	Redefine func(t *testing.T, name string) // has a domain defined with other memory; if it runs it goes on with what it has
	Disown   func(t *testing.T, name string) // takes the mark out of the definition that is kept of a domain
}

// Contract checks that a Host does what hostapi says. open gives a machine of
// its own to each test and takes it away by t.Cleanup; names differ between the
// tests of one process and between processes, should machines share anything.
// The host's answers count, not its words.
func Contract(t *testing.T, open func(t *testing.T) Env) {
	for i, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"observe of an empty machine", (*bench).observeEmpty},
		{"what is created is seen as wanted and marked", (*bench).create},
		{"applying again changes nothing", (*bench).applyAgain},
		{"changes are made in place", (*bench).change},
		{"what cannot be changed is rebuilt", (*bench).rebuild},
		{"removal in reverse leaves nothing", (*bench).remove},
		{"removing a namespace or a bridge spares the rest", (*bench).removeUnder},
		{"a flood list is kept as told", (*bench).floodList},
		{"remote endpoints are kept as told", (*bench).remotes},
		{"the first failure ends a batch", (*bench).partial},
		{"a taken VNI is busy", (*bench).busy},
		{"nonsense is refused", (*bench).nonsense},
		{"foreign objects are left alone", (*bench).foreign},
		{"the lock keeps others out until Close", (*bench).lock},
		{"apply needs the lock", (*bench).notLocked},
		{"two labs side by side", (*bench).twoLabs},
		{"probe between containers of a bridge", (*bench).probe},
		{"probe over IPv6", (*bench).probeIPv6},
		{"probe of an address that nobody has", (*bench).probeNobody},
		{"probe that cannot be sent", (*bench).probeUnsent},
		{"temporary address", (*bench).temporaryAddress},
		{"a cancelled context begins no step", (*bench).canceledBefore},
		{"a cancel stops between steps", (*bench).canceledWithin},
		{"routes that overlap a subnet", (*bench).overlaps},
		{"a check reads and changes nothing", (*bench).checkFacts},
		{"a try's datagrams are heard", (*bench).datagrams},
		{"a ping is seen at the links that it passes", (*bench).capture},
		{"an inspection tells of ports and entries", (*bench).inspect},
		{"a closed host answers no more", (*bench).closed},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(newBench(t, open(t), i))
		})
	}
}

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

func (b *bench) lock() {
	b.lockLab(b.Host)
	b.lockLab(b.Host) // its own lock is no obstacle
	second := b.reopen()
	if _, err := second.Observe(b.ctx(), b.locking()); !errors.Is(err, hostapi.ErrLocked) {
		b.Errorf("second session asks for the lock: %v, want ErrLocked", err)
	} else if holder := hostapi.AsError(err).Holder; holder == nil || holder.User != user || holder.Controller != controller || holder.Run != b.lab || holder.Since.IsZero() {
		b.Errorf("second session is told that %+v holds the lock, want it as it was taken", holder)
	}
	if _, err := second.Observe(b.ctx(), hostapi.ObserveRequest{Lab: b.lab}); err != nil {
		b.Errorf("second session only reads: %v", err)
	}
	if _, err := b.try(second, hostapi.Create, b.step(b.bridge())); !errors.Is(err, hostapi.ErrNotLocked) {
		b.Errorf("second session applies: %v, want ErrNotLocked", err)
	}
	if err := b.Host.Close(); err != nil {
		b.Errorf("Close: %v", err)
	}
	if _, err := second.Observe(b.ctx(), b.locking()); err != nil {
		b.Errorf("second session asks for the lock that was given back: %v", err)
	}
	if _, err := b.try(second, hostapi.Create, b.step(b.bridge())); err != nil {
		b.Errorf("second session applies with the lock: %v", err)
	}
	if _, err := b.try(second, hostapi.Remove, b.step(b.bridge())); err != nil {
		b.Errorf("second session removes: %v", err)
	}
}

func (b *bench) notLocked() {
	res, err := b.try(b.Host, hostapi.Create, b.step(b.bridge()))
	if !errors.Is(err, hostapi.ErrNotLocked) || len(res.Steps) != 0 {
		b.Errorf("apply without the lock: %+v, %v; want ErrNotLocked and no step begun", res, err)
	}
	b.nothingStands()
}

func (b *bench) twoLabs() {
	b.apply(hostapi.Create, b.whole()...)
	other := b.other()
	bridge, ns := other.bridge(), other.namespace()
	other.apply(hostapi.Create, other.step(bridge), other.step(ns))

	ask := hostapi.ObserveRequest{Links: []string{bridge.Name, b.bridge().Name}, Namespaces: []string{ns.Name, b.namespace().Name}}
	for _, viewer := range []*bench{b, other} {
		f := viewer.observe(ask)
		for name, lab := range map[string]string{bridge.Name: other.lab, b.bridge().Name: b.lab} {
			if l := viewer.link(f, name); l == nil || l.Mark == nil || l.Mark.Lab != lab {
				b.Errorf("lab %s sees link %s as %+v, want it of lab %s", viewer.lab, name, l, lab)
			}
		}
		for name, lab := range map[string]string{ns.Name: other.lab, b.namespace().Name: b.lab} {
			n := viewer.netns(f, name)
			if n == nil || n.Mark == nil || n.Mark.Lab != lab {
				b.Errorf("lab %s sees namespace %s as %+v, want it of lab %s", viewer.lab, name, n, lab)
			} else if (lab == viewer.lab) != (len(n.Links) > 0) {
				b.Errorf("lab %s sees links %+v in namespace %s of lab %s", viewer.lab, n.Links, name, lab)
			}
		}
	}
	for _, s := range []hostapi.Step{b.step(bridge), b.step(ns)} {
		for _, op := range []hostapi.Op{hostapi.Create, hostapi.Remove} {
			if _, err := b.try(b.Host, op, s); !errors.Is(err, hostapi.ErrForeign) {
				b.Errorf("%s of the other lab's object: %v, want ErrForeign", op, err)
			}
		}
	}
	other.standsAsWanted([]hostapi.Step{other.step(bridge), other.step(ns)})
}

func (b *bench) probe() {
	first, second := b.pair("10.77.0.11/24", "10.77.0.12/24")
	probes := []hostapi.Probe{
		{Netns: first.Netns, Target: second.Addresses[0].Addr()},
		{Netns: second.Netns, Target: first.Addresses[0].Addr(), Bytes: 1000, Tries: 3},
	}
	for i, r := range b.probes(probes...) {
		if r.Error != nil || r.Received < 1 || r.Received > r.Sent || r.Sent > 3 || r.RTT <= 0 {
			b.Errorf("probe %d: %+v, want a reply", i, r)
		}
	}
	whole := b.probes(hostapi.Probe{Netns: first.Netns, Target: second.Addresses[0].Addr(), Whole: true})[0]
	if whole.Error != nil || whole.Received != 1 || whole.Bytes != 1400-28 {
		b.Errorf("probe that fills a packet: %+v, want a reply of 1372 bytes", whole)
	}
	exchange := hostapi.Probe{Netns: first.Netns, Target: second.Addresses[0].Addr(), TCP: &hostapi.TCPExchange{Port: 24791, Bytes: 1 << 16}}
	serving := exchange
	serving.Netns, serving.TCP = second.Netns, &hostapi.TCPExchange{Port: 24791, Bytes: 1 << 16, Serve: true}
	for i, r := range b.probes(exchange, serving) {
		if r.Error != nil || r.Received != 1 || r.Bytes != 1<<16 || r.RTT <= 0 {
			b.Errorf("side %d of a TCP exchange: %+v, want it done", i, r)
		}
	}
	serving.TCP.Clients = 2
	for i, r := range b.probes(exchange, serving, exchange) {
		if want := []int{1, 2, 1}[i]; r.Error != nil || r.Received != want {
			b.Errorf("side %d of two TCP exchanges with one: %+v, want %d done", i, r, want)
		}
	}
	lasting := exchange
	lasting.TCP = &hostapi.TCPExchange{Port: 24792, Bytes: 1 << 16, For: 400 * time.Millisecond}
	serving.TCP = &hostapi.TCPExchange{Port: 24792, Bytes: 1 << 16, For: 400 * time.Millisecond, Serve: true}
	for i, r := range b.probes(lasting, serving) {
		if r.Error != nil || r.Received != 1 || i == 0 && (r.BitRate <= 0 || r.Bytes <= 0) {
			b.Errorf("side %d of an exchange that lasts: %+v, want it done and measured", i, r)
		}
	}
	solicit := func(link, mac string, target netip.Addr) hostapi.Probe {
		return hostapi.Probe{Netns: first.Netns, Target: target, Solicit: &hostapi.Solicitation{Link: link, MAC: mac}}
	}
	at := second.Addresses[0].Addr()
	for i, r := range b.probes(
		solicit(first.Inner, second.InnerMAC, at), solicit(first.Inner, first.InnerMAC, at),
		solicit(first.Inner, second.InnerMAC, netip.MustParseAddr("198.51.100.1")), probes[0],
	) {
		if want := i == 0 || i == 3; r.Error != nil || r.Sent < 1 || (r.Received > 0) != want {
			b.Errorf("solicitation %d: %+v, want an answer: %v", i, r, want)
		}
	}
	if r := b.probes(solicit("none0", second.InnerMAC, at))[0]; r.Error == nil || r.Sent != 0 || r.Received != 0 {
		b.Errorf("solicitation from a link that there is not: %+v, want an error", r)
	}
	exchange.Target = netip.MustParseAddr("198.51.100.1")
	away := hostapi.Probe{Netns: first.Netns, Target: exchange.Target}
	for i, r := range b.probes(exchange, away) {
		if r.Error == nil || r.Error.Kind != hostapi.KindUnreachable || r.Sent != 0 || r.Received != 0 {
			b.Errorf("probe %d to where no route leads: %+v, want it unreachable", i, r)
		}
	}
	// Many at once keep their order: those to nobody are at known places.
	var many []hostapi.Probe
	for i := range 20 {
		p := probes[i%2]
		if i%5 == 3 {
			p.Target, p.Tries = netip.MustParseAddr("10.77.0.200"), 1
		}
		many = append(many, p)
	}
	for i, r := range b.probes(many...) {
		if want := i%5 != 3; r.Error != nil || (r.Received > 0) != want {
			b.Errorf("probe %d of %d: %+v, want a reply: %v", i, len(many), r, want)
		}
	}
	if got, err := b.Host.Probe(b.ctx(), nil); err != nil || len(got) != 0 {
		b.Errorf("no probes: %v, %v", got, err)
	}
}

func (b *bench) probeIPv6() {
	first, second := b.pair("10.77.0.11/24 fd00:77::11/64", "fd00:77::12/64")
	b.standsAsWanted([]hostapi.Step{b.step(first), b.step(second)})
	target := second.Addresses[0].Addr()
	if r := b.probes(hostapi.Probe{Netns: first.Netns, Target: target})[0]; r.Error != nil || r.Received < 1 {
		b.Errorf("probe of %v: %+v, want a reply", target, r)
	}
	solicited := hostapi.Probe{Netns: first.Netns, Target: target, Solicit: &hostapi.Solicitation{Link: first.Inner, MAC: second.InnerMAC}}
	if r := b.probes(solicited)[0]; r.Error != nil || r.Received != 1 {
		b.Errorf("solicitation of %v: %+v, want an answer", target, r)
	}
}

func (b *bench) probeNobody() {
	first, _ := b.pair("10.77.0.11/24", "10.77.0.12/24")
	start := time.Now()
	r := b.probes(hostapi.Probe{Netns: first.Netns, Target: netip.MustParseAddr("10.77.0.200"), Tries: 2})[0]
	if r.Error != nil || r.Received != 0 || r.Sent < 1 || r.Sent > 2 || r.RTT != 0 {
		b.Errorf("probe of an address that nobody has: %+v, want it sent and no reply", r)
	}
	if took := time.Since(start); took > patience {
		b.Errorf("two tries took %v", took)
	}
}

func (b *bench) probeUnsent() {
	first, _ := b.pair("10.77.0.11/24", "10.77.0.12/24")
	results := b.probes(
		hostapi.Probe{Netns: b.name("nons"), Target: netip.MustParseAddr("10.77.0.12")},
		hostapi.Probe{Netns: first.Netns, Target: netip.MustParseAddr("10.77.0.12")},
		hostapi.Probe{Netns: first.Netns, Target: netip.MustParseAddr("10.99.0.1")}, // no route to it
	)
	for i, sent := range []bool{false, true, false} {
		if got := results[i].Error == nil; got != sent {
			b.Errorf("probe %d: %+v, want it sent: %v", i, results[i], sent)
		}
	}
}

func (b *bench) temporaryAddress() {
	vtep := b.vtep()
	vtep.Bridge = ""
	b.apply(hostapi.Create, b.step(vtep))
	a := hostapi.Address{Link: vtep.Name, Prefix: netip.MustParsePrefix("10.77.0.1/24"), Lifetime: time.Minute}
	there := func() bool {
		l := b.link(b.observe(hostapi.ObserveRequest{}), vtep.Name)
		return l != nil && slices.Contains(l.Addresses, a.Prefix)
	}
	if res := b.apply(hostapi.Create, b.step(a)); !res.Steps[0].Changed || !there() {
		b.Errorf("address to create: changed %v, there %v", res.Steps[0].Changed, there())
	}
	if r := b.probes(hostapi.Probe{Target: a.Prefix.Addr()})[0]; r.Error != nil || r.Received < 1 {
		b.Errorf("probe of the own address: %+v, want a reply", r)
	}
	b.standsAsWanted([]hostapi.Step{b.step(vtep)}) // the address is no difference
	for _, changed := range []bool{true, false} {
		if res := b.apply(hostapi.Remove, b.step(a)); res.Steps[0].Changed != changed || there() {
			b.Errorf("address to remove: changed %v, there %v; want changed %v", res.Steps[0].Changed, there(), changed)
		}
	}
	a.Lifetime = time.Second
	b.apply(hostapi.Create, b.step(a))
	b.await("the address to expire", func() bool { return !there() })

	forever := a
	forever.Lifetime = 0
	if _, err := b.try(b.Host, hostapi.Create, b.step(forever)); err == nil || there() {
		b.Errorf("address without a lifetime: %v, there %v; want it refused", err, there())
	}
}

func (b *bench) canceledBefore() {
	b.lockLab(b.Host)
	ctx, cancel := context.WithCancel(b.ctx())
	cancel()
	res, err := b.Host.Apply(ctx, b.batch(hostapi.Create, b.step(b.bridge())))
	if !errors.Is(err, hostapi.ErrCanceled) || len(res.Steps) != 0 {
		b.Errorf("apply with an ended context: %+v, %v; want ErrCanceled and no step begun", res, err)
	}
	b.nothingStands()
}

// canceledWithin holds for whatever moment the cancel comes at; where the host
// can be stalled, it comes within the second step.
func (b *bench) canceledWithin() {
	b.lockLab(b.Host)
	var steps []hostapi.Step
	for i := range 30 {
		br := b.bridge()
		br.Name, br.MAC = b.name(fmt.Sprintf("b%d", i)), b.mac(byte(i))
		steps = append(steps, b.step(br))
	}
	ctx, cancel := context.WithCancel(b.ctx())
	defer cancel()
	if b.Stall != nil {
		_, name := steps[1].Object()
		b.Stall(b.T, name)
	}
	time.AfterFunc(20*time.Millisecond, cancel)
	batch := b.batch(hostapi.Create, steps...)
	res, err := b.Host.Apply(ctx, batch)
	b.made = append(b.made, steps[:len(res.Steps)]...)
	done := len(res.Steps)
	if b.Stall != nil && done != 2 {
		b.Errorf("%d steps were begun, want the one before the cancel and the one it came in", done)
	}
	if done < len(steps) && !errors.Is(err, hostapi.ErrCanceled) || done == len(steps) && err != nil {
		b.Errorf("%d of %d steps begun: %v", done, len(steps), err)
	}
	f := b.observe(hostapi.ObserveRequest{})
	for i, s := range steps {
		_, name := s.Object()
		want := i < done && res.Steps[i].Error == nil
		if stands := b.link(f, name) != nil; stands != want {
			b.Errorf("bridge %d of %d begun: stands %v, want %v", i, done, stands, want)
		}
	}
}

func (b *bench) closed() {
	b.lockLab(b.Host)
	if err := b.Host.Close(); err != nil {
		b.Errorf("Close: %v", err)
	}
	_, observe := b.Host.Observe(b.ctx(), hostapi.ObserveRequest{Lab: b.lab})
	_, apply := b.try(b.Host, hostapi.Create, b.step(b.bridge()))
	_, probe := b.Host.Probe(b.ctx(), []hostapi.Probe{{Target: b.Local}})
	for what, err := range map[string]error{"Observe": observe, "Apply": apply, "Probe": probe} {
		if !errors.Is(err, hostapi.ErrLost) {
			b.Errorf("%s after Close: %v, want ErrLost", what, err)
		}
	}
}
