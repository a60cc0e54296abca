package preflight_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/preflight"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

const text = `
lab: lu
hosts: {a: {address: 10.0.0.1}, b: {address: 10.0.0.2}, c: {address: 10.0.0.3}}
networks: {lu-br0: {}}
containers: {cn: {hosts: all}}
`

const vms = `
images: {i: {path: /i.qcow2, login: {user: u, password: p}}}
vms: {vm: {host: b, image: i, memory: 1GiB}}
`

func parse(t *testing.T, text string) *inventory.Lab {
	t.Helper()
	lab, err := inventory.Parse("lab.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return lab
}

// healthy is three hosts between which everything passes.
func healthy(lab *inventory.Lab) preflight.Evidence {
	facts := map[string]hostapi.Facts{}
	for i, h := range lab.Hosts {
		address := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
		f := hostapi.Facts{Links: []hostapi.Link{{Name: "eth0", Index: 2, MTU: 1500, Up: true, Addresses: []netip.Prefix{netip.PrefixFrom(address, 24)}}}}
		for k := range lab.Hosts {
			if k != i {
				f.Routes = append(f.Routes, hostapi.Route{Peer: netip.AddrFrom4([4]byte{10, 0, 0, byte(k + 1)}), Device: "eth0", Source: address})
			}
		}
		facts[h.Name] = f
	}
	e := preflight.Evidence{
		Ground: plan.Survey(lab, facts, plan.Inputs{}), Seen: map[string]preflight.Seen{},
		Came: preflight.Came{Unsent: map[uint32]*hostapi.Error{}, Heard: map[string]map[uint32]bool{}},
	}
	var hosts []string
	for host, f := range facts {
		hosts = append(hosts, host)
		e.Seen[host] = preflight.Seen{Facts: f, Check: &hostapi.CheckFacts{MachineID: "id of " + host, Neighbours: 1024, Files: 4096, Memory: 8 << 30}}
	}
	e.Try = preflight.NewTry(e.Ground, hosts, 1)
	for _, host := range hosts {
		e.Came.Heard[host] = map[uint32]bool{}
		for _, id := range e.Try.Incoming(host) {
			e.Came.Heard[host][id] = true
		}
	}
	return e
}

// lines are findings as a table has them.
func lines(findings []report.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%s %s %s: %s (%s)", f.Severity, f.Layer, f.Host, f.Cause, f.Proof))
	}
	return out
}

func TestHealthyHostsGiveNoFindings(t *testing.T) {
	lab := parse(t, text+vms)
	if got := lines(preflight.Judge(lab, healthy(lab))); len(got) > 0 {
		t.Errorf("findings %q, want none", got)
	}
}

// on changes what was read of a host.
func on(host string, change func(s *preflight.Seen)) func(*preflight.Evidence) {
	return func(e *preflight.Evidence) {
		s := e.Seen[host]
		check := *s.Check
		s.Check = &check
		change(&s)
		e.Seen[host] = s
	}
}

func TestWhatWasReadOfAHost(t *testing.T) {
	read := func(change func(c *hostapi.CheckFacts)) func(*preflight.Evidence) {
		return on("b", func(s *preflight.Seen) { change(s.Check) })
	}
	forward := hostapi.Filter{Family: "ip", Table: "filter", Chain: "FORWARD", Sysctl: "net.bridge.bridge-nf-call-iptables"}
	for name, c := range map[string]struct {
		change func(*preflight.Evidence)
		want   []string
		mend   string
	}{
		"a kind of link that the kernel lacks": {read(func(c *hostapi.CheckFacts) {
			c.Lacks = []hostapi.Lack{{Kind: "vxlan", Error: &hostapi.Error{Message: "the kernel says: operation not supported", Hint: "modprobe vxlan"}}}
		}), []string{"error kernel b: its kernel cannot make a vxlan (the kernel says: operation not supported)"}, "modprobe vxlan"},
		"a lack without a reason": {read(func(c *hostapi.CheckFacts) { c.Lacks = []hostapi.Lack{{Kind: "vxlan"}} }),
			[]string{"error kernel b: its kernel cannot make a vxlan ()"}, ""},
		"a firewall on bridged frames": {read(func(c *hostapi.CheckFacts) { c.Filters = []hostapi.Filter{forward} }),
			[]string{"error firewall b: its firewall drops frames that pass through bridge lu-br0 (net.bridge.bridge-nf-call-iptables = 1, policy drop of chain ip filter FORWARD)"},
			"iptables -I FORWARD -i lu-br0 -o lu-br0 -j ACCEPT"},
		"one of legacy iptables": {read(func(c *hostapi.CheckFacts) {
			f := forward
			f.Legacy = true
			c.Filters = []hostapi.Filter{f}
		}), []string{"error firewall b: its firewall drops frames that pass through bridge lu-br0 (net.bridge.bridge-nf-call-iptables = 1, policy drop of chain ip filter FORWARD of legacy iptables)"},
			"iptables-legacy -I FORWARD -i lu-br0 -o lu-br0 -j ACCEPT"},
		"a firewall that knows the bridge": {read(func(c *hostapi.CheckFacts) {
			f := forward
			f.Named = []string{"lu-br0"}
			c.Filters = []hostapi.Filter{f}
		}), nil, ""},
		"a firewall on IPv6, which the lab has not": {read(func(c *hostapi.CheckFacts) {
			c.Filters = []hostapi.Filter{{Family: "ip6", Table: "filter", Chain: "FORWARD", Sysctl: "net.bridge.bridge-nf-call-ip6tables"}}
		}), nil, ""},
		"a chain of the bridges' own": {read(func(c *hostapi.CheckFacts) {
			c.Filters = []hostapi.Filter{{Family: "bridge", Table: "f", Chain: "fwd"}}
		}), []string{"error firewall b: its firewall drops frames that pass through bridge lu-br0 (policy drop of chain bridge f fwd)"},
			"nft insert rule bridge f fwd accept, or only for the ports of lu-br0"},
		"networkd": {read(func(c *hostapi.CheckFacts) { c.Networkd = "/etc/systemd/network/all.network" }),
			[]string{"warning networkd b: systemd-networkd would configure the lab's links (/etc/systemd/network/all.network matches them)"}, "[Match]"},
		"vmxnet3": {read(func(c *hostapi.CheckFacts) { c.Driver = "vmxnet3" }),
			[]string{"warning offload b: with this network card TCP through a tunnel may stall where pings pass (driver vmxnet3 on eth0 computes wrong checksums of tunnelled packets)"}, "ethtool -K"},
		"few neighbours": {read(func(c *hostapi.CheckFacts) { c.Neighbours = 2 }),
			[]string{"warning limits b: its kernel keeps fewer neighbours than the lab has hosts (net.ipv4.neigh.default.gc_thresh3 = 2, 3 hosts)"}, "gc_thresh3=12"},
		"few files": {read(func(c *hostapi.CheckFacts) { c.Files = 64 }),
			[]string{"warning limits b: the helper may have too few files open for the lab's workloads (RLIMIT_NOFILE is 64, 144 may be needed)"}, "nofile"},
		"no KVM": {read(func(c *hostapi.CheckFacts) { c.Emulated = true }),
			[]string{"warning libvirt b: its VMs are emulated and slow (no vCPU runs on /dev/kvm)"}, "virtualisation"},
		"little memory": {read(func(c *hostapi.CheckFacts) { c.Memory = 1 << 30 }),
			[]string{"warning memory b: its free memory does not do for the VMs (1024 MiB are available, they want 1152 MiB)"}, "less memory"},
		"little memory, and the VM runs": {on("b", func(s *preflight.Seen) {
			s.Check.Memory = 1 << 20
			s.Facts.Virt = &hostapi.VirtFacts{Domains: []hostapi.DomainFacts{{Name: "lu-vm", State: "running"}}}
		}), nil, ""},
		"a full disk": {func(e *preflight.Evidence) {
			on("b", func(s *preflight.Seen) { s.Facts.Virt = &hostapi.VirtFacts{Free: 1 << 20} })(e)
			e.Uploads = []plan.Upload{{Host: "b", Size: 30 << 20, Have: 10 << 20}}
		}, []string{"error disk b: its disk has no room for the images (1 MiB are free, they are 20 MiB)"}, "vxorch clean"},
		"a wrong clock": {on("b", func(s *preflight.Seen) { s.Clock = -time.Hour }),
			[]string{"warning clock b: its clock is wrong, or the controller's is (it is 1h0m0s behind)"}, "set-ntp"},
		"one machine id": {read(func(c *hostapi.CheckFacts) { c.MachineID = "id of a" }),
			[]string{"warning identity a: hosts share one machine id, so that systemd and DHCP take them for one machine (id of a on a, b)"}, "systemd-machine-id-setup"},
		"a wider route": {on("b", func(s *preflight.Seen) {
			s.Facts.Overlaps = []hostapi.HostRoute{{Subnet: netip.MustParsePrefix("192.168.100.0/24"), Prefix: netip.MustParsePrefix("192.168.0.0/16"),
				Device: "eth0", Gateway: netip.MustParseAddr("10.0.0.9")}}
		}), []string{"warning route b: the VTEPs' proof takes addresses from a wider route for as long as it lasts (subnet 192.168.100.0/24 lies in the route to 192.168.0.0/16 via 10.0.0.9 on eth0)"}, "a subnet that no host uses"},
		"strict rp_filter and another way back": {on("b", func(s *preflight.Seen) {
			s.Check.ReversePath = 1
			s.Facts.Routes = []hostapi.Route{{Peer: netip.MustParseAddr("10.0.0.1"), Device: "eth1"}}
		}), []string{"warning route b: it drops what comes from another host by the underlay, since its own way there is another (rp_filter is strict on eth0, and the route to 10.0.0.1 is on eth1)"}, "rp_filter=2"},
		"a problem of the plan": {func(e *preflight.Evidence) {
			e.Problems = []*plan.Problem{{Host: "c", Message: "bridge lu-br0 exists already", Hint: "choose another name"}}
		}, []string{"error plan c: deploy would refuse it and change nothing anywhere (bridge lu-br0 exists already)"}, "choose another name"},
		"what keeps a host from running VMs": {func(e *preflight.Evidence) {
			e.Blocks = []*plan.Problem{{Host: "b", Message: "cannot run VMs: no libvirt answers", Hint: "vxorch prepare"}}
		}, []string{"error libvirt b: deploy would leave its VMs out (cannot run VMs: no libvirt answers)"}, "vxorch prepare"},
		"a smaller underlay": {func(e *preflight.Evidence) {
			u := e.Ground.Underlays["b"]
			u.MTU = 1400
			e.Ground.Underlays["b"] = u
		}, []string{"warning mtu b: its underlay has a smaller mtu than others', so that every network gets at most 1350 (mtu 1400 on eth0, up to 1500 elsewhere)"}, "ip link set eth0 mtu 1500"},
		"a host that could not listen": {read(func(c *hostapi.CheckFacts) {
			c.Deaf = &hostapi.Error{Message: "open a packet socket: operation not permitted"}
		}), []string{"warning underlay b: the underlay could not be tried (open a packet socket: operation not permitted)"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			lab := parse(t, text+vms)
			e := healthy(lab)
			c.change(&e)
			got := preflight.Judge(lab, e)
			if diff := cmp.Diff(c.want, lines(got)); diff != "" {
				t.Fatalf("findings (-want +got):\n%s", diff)
			}
			if len(got) > 0 && !strings.Contains(got[0].Mend, c.mend) {
				t.Errorf("the way out is %q, want one with %q", got[0].Mend, c.mend)
			}
		})
	}
}

// fates changes what became of the attempts that is gives true for, on their way
// to each host: "lost", "stopped" or "unsent".
func fates(fate string, is func(a preflight.Attempt, to string) bool) func(*preflight.Evidence) {
	return func(e *preflight.Evidence) {
		for _, a := range e.Try.Attempts {
			for host, heard := range e.Came.Heard {
				if host == a.From || a.To != "" && a.To != host || !is(a, host) {
					continue
				}
				switch fate {
				case "lost":
					delete(heard, a.ID)
				case "stopped":
					heard[a.ID] = false
				default:
					delete(heard, a.ID)
					e.Came.Unsent[a.ID] = &hostapi.Error{Kind: hostapi.KindPermission, Message: "operation not permitted"}
				}
			}
		}
	}
}

func TestWhatBecameOfTheDatagrams(t *testing.T) {
	multicast := func(a preflight.Attempt) bool { return a.To == "" }
	const group = "multicast to 239.0.0.1, UDP port 4789, "
	for name, c := range map[string]struct {
		change func(*preflight.Evidence)
		want   []string
		mend   string
	}{
		"a host's firewall drops what comes in": {fates("stopped", func(_ preflight.Attempt, to string) bool { return to == "b" }),
			[]string{"error firewall b: it drops UDP to port 4789 on the way in: its own firewall does, or rp_filter (datagrams of a, c come in at eth0 and are not delivered)"},
			"udp dport 4789 accept"},
		"a host's firewall drops what goes out": {fates("unsent", func(a preflight.Attempt, _ string) bool { return a.From == "b" }),
			[]string{"error firewall b: its own firewall drops UDP to port 4789 on the way out (datagrams to a, c: operation not permitted)"}, "OUTPUT"},
		"nothing passes to or from a host": {fates("lost", func(a preflight.Attempt, to string) bool { return a.From == "c" || to == "c" }),
			[]string{"error underlay c: UDP to port 4789 does not pass between it and a, b (none of the datagrams came, with a VXLAN header or without)"}, "security groups"},
		"nothing passes to a host": {fates("lost", func(_ preflight.Attempt, to string) bool { return to == "c" }),
			[]string{"error underlay c: UDP to port 4789 does not pass to it from a, b (none of the datagrams came, with a VXLAN header or without)"}, ""},
		"nothing passes from a host": {fates("lost", func(a preflight.Attempt, _ string) bool { return a.From == "c" }),
			[]string{"error underlay c: UDP to port 4789 does not pass from it to a, b (none of the datagrams came, with a VXLAN header or without)"}, ""},
		"one way is closed": {fates("lost", func(a preflight.Attempt, to string) bool { return a.From == "a" && to == "b" }),
			[]string{"error underlay b: UDP to port 4789 does not pass to it from a (none of the datagrams came, with a VXLAN header or without)"}, ""},
		"what looks like VXLAN is eaten": {fates("lost", func(a preflight.Attempt, to string) bool { return to == "b" && !a.Plain }),
			[]string{"error underlay b: what looks like VXLAN does not pass to it from a, c (UDP to port 4789 passes without a VXLAN header and not with one)"}, "another port"},
		"full packets do not pass": {fates("lost", func(a preflight.Attempt, to string) bool { return (to == "b" || a.From == "b") && a.Size > 1400 }),
			[]string{"error mtu b: a full packet does not pass between it and a, c (packets of 1500 bytes that must not be fragmented are lost, of 1400 they come)"},
			"set networks.lu-br0.mtu to 1350, or raise the mtu on the way to 1500"},
		"a small way to one host, and a firewall on another": {func(e *preflight.Evidence) {
			fates("lost", func(a preflight.Attempt, to string) bool { return (to == "c" || a.From == "c") && a.Size > 1400 })(e)
			fates("stopped", func(_ preflight.Attempt, to string) bool { return to == "b" })(e)
		}, []string{
			"error firewall b: it drops UDP to port 4789 on the way in: its own firewall does, or rp_filter (datagrams of a, c come in at eth0 and are not delivered)",
			"error mtu c: a full packet does not pass between it and a, b (packets of 1500 bytes that must not be fragmented are lost, of 1400 they come)",
		}, ""},
		"no multicast": {fates("lost", func(a preflight.Attempt, _ string) bool { return multicast(a) }),
			[]string{"error multicast : the underlay carries no multicast (" + group + "was sent by each host and heard by none)"}, "IGMP querier"},
		"no multicast, in a cloud": {func(e *preflight.Evidence) {
			fates("lost", func(a preflight.Attempt, _ string) bool { return multicast(a) })(e)
			on("b", func(s *preflight.Seen) { s.Check.Vendor = "Amazon EC2 m5.large" })(e)
		}, []string{"error multicast : the underlay carries no multicast (" + group +
			"was sent by each host and heard by none; b runs on Amazon EC2, where only a Transit Gateway's multicast domain carries it)"}, ""},
		"one host hears no multicast": {fates("lost", func(a preflight.Attempt, to string) bool { return multicast(a) && to == "b" }),
			[]string{"error multicast b: " + group + "does not pass to it from a, c (unicast passes, and other hosts hear the group)"}, "IGMP snooping"},
		"one host's firewall drops multicast": {fates("stopped", func(a preflight.Attempt, to string) bool { return multicast(a) && to == "b" }),
			[]string{"error firewall b: its own firewall drops multicast to 239.0.0.1, UDP port 4789, on the way in (datagrams of a, c come in at eth0 and are not delivered)"}, "-d 239.0.0.1"},
		"a host that failed meanwhile": {func(e *preflight.Evidence) {
			fates("lost", func(a preflight.Attempt, to string) bool { return a.From == "b" || to == "b" })(e)
			on("b", func(s *preflight.Seen) { s.Gone = true })(e)
		}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			lab := parse(t, text)
			e := healthy(lab)
			c.change(&e)
			got := preflight.Judge(lab, e)
			if diff := cmp.Diff(c.want, lines(got)); diff != "" {
				t.Fatalf("findings (-want +got):\n%s", diff)
			}
			if len(got) > 0 && !strings.Contains(got[0].Mend, c.mend) {
				t.Errorf("the way out is %q, want one with %q", got[0].Mend, c.mend)
			}
		})
	}
}

// many is a lab of n hosts on one ground.
func many(n int) (plan.Ground, []string) {
	g := plan.Ground{
		Underlays: map[string]plan.Underlay{},
		Networks:  []inventory.Network{{Name: "n", Port: 4789, MTU: 1450, Flood: inventory.FloodMulticast, Group: netip.MustParseAddr("239.0.0.1")}},
	}
	var hosts []string
	for i := range n {
		name := fmt.Sprintf("h%03d", i)
		hosts = append(hosts, name)
		g.Underlays[name] = plan.Underlay{Device: "eth0", Local: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), MTU: 1500}
	}
	return g, hosts
}

func TestEveryPairIsTriedWhileTheyAreFew(t *testing.T) {
	g, hosts := many(30)
	full, small, groups := 0, 0, 0
	for _, a := range preflight.NewTry(g, hosts, 1).Attempts {
		switch {
		case a.To == "":
			groups++
		case a.Size == 1500:
			full++
		case a.Size == 0 && !a.Plain:
			small++
		}
	}
	if full != 30*29 || small != 30*29 || groups != 30 {
		t.Errorf("%d full, %d small, %d to the group; want one of each kind a pair, and one a host", full, small, groups)
	}
}

func TestOfManyHostsARingAndSomeOthersAreTried(t *testing.T) {
	g, hosts := many(100)
	ways := func(seed uint64) []string {
		var out []string
		for _, a := range preflight.NewTry(g, hosts, seed).Attempts {
			if a.To != "" && a.Size == 0 && !a.Plain {
				out = append(out, a.From+" "+a.To)
			}
		}
		return out
	}
	got := ways(1)
	for i, h := range hosts {
		next := hosts[(i+1)%len(hosts)]
		if !slices.Contains(got, h+" "+next) || !slices.Contains(got, next+" "+h) {
			t.Errorf("%s and %s, neighbours in the ring, are not tried both ways", h, next)
		}
	}
	if len(got) > 2*100*4 || len(got) < 2*100*3 {
		t.Errorf("%d ways of 100 hosts", len(got))
	}
	if diff := cmp.Diff(got, ways(1)); diff != "" {
		t.Errorf("the same seed gives other ways:\n%s", diff)
	}
	if cmp.Equal(got, ways(2)) {
		t.Error("another seed gives the same ways")
	}
}

// BenchmarkJudge judges 250 hosts between which a seventh of the ways is closed.
func BenchmarkJudge(b *testing.B) {
	g, hosts := many(250)
	e := preflight.Evidence{Ground: g, Seen: map[string]preflight.Seen{}, Try: preflight.NewTry(g, hosts, 1),
		Came: preflight.Came{Heard: map[string]map[uint32]bool{}}}
	lab := &inventory.Lab{Networks: g.Networks}
	for _, h := range hosts {
		e.Seen[h] = preflight.Seen{Check: &hostapi.CheckFacts{}}
		e.Came.Heard[h] = map[uint32]bool{}
		for _, id := range e.Try.Incoming(h) {
			e.Came.Heard[h][id] = id%7 > 0
		}
	}
	for b.Loop() {
		preflight.Judge(lab, e)
	}
}

func TestOneHostHasNobodyToTry(t *testing.T) {
	g, hosts := many(1)
	if try := preflight.NewTry(g, hosts, 1); len(try.Attempts) > 0 {
		t.Errorf("attempts %v, want none", try.Attempts)
	}
}
