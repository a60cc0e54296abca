package plan_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

// evpn is the seed's lab by EVPN, with more of it.
func evpn(more string) string { return flooding("evpn") + more }

func threeHosts() map[string]hostapi.Facts {
	facts := bareHosts()
	facts["host3"] = bare("10.0.0.3", "10.0.0.1")
	return facts
}

func TestEVPNPlansAsPrinted(t *testing.T) {
	for name, c := range map[string]func(t *testing.T) plan.Plan{
		"evpn-fresh": func(t *testing.T) plan.Plan { return deploy(t, parse(t, evpn("")), bareHosts()) },
		"evpn-unchanged": func(t *testing.T) plan.Plan {
			lab := parse(t, evpn(""))
			return deploy(t, lab, built(bareHosts(), deploy(t, lab, bareHosts())))
		},
		"evpn-join": func(t *testing.T) plan.Plan {
			facts := built(bareHosts(), deploy(t, parse(t, evpn("")), bareHosts()))
			facts["host3"] = bare("10.0.0.3", "10.0.0.1")
			return deploy(t, parse(t, withThird(evpn(""))), facts)
		},
		"evpn-daemon-died": func(t *testing.T) plan.Plan {
			lab := parse(t, evpn(""))
			facts := built(bareHosts(), deploy(t, lab, bareHosts()))
			facts["host1"].FRR.Daemons = nil
			link(facts["host1"], "vxlan0").VXLAN.Forwarding = hostapi.ForwardingFacts{Flood: 1, Remotes: 1, Digest: "left"}
			return deploy(t, lab, facts)
		},
		"evpn-entries-gone": func(t *testing.T) plan.Plan {
			lab := parse(t, evpn(""))
			facts := built(bareHosts(), deploy(t, lab, bareHosts()))
			link(facts["host2"], "vxlan0").VXLAN.Forwarding = hostapi.ForwardingFacts{}
			return deploy(t, lab, facts)
		},
		"evpn-vms": func(t *testing.T) plan.Plan {
			return deployWith(t, parse(t, strings.Replace(seedWithVMs, "    vxlan: vxlan0\n", "    vxlan: vxlan0\n    flood: evpn\n", 1)), withLibvirt(bareHosts()), inputs())
		},
		"static-to-evpn": func(t *testing.T) plan.Plan {
			return deploy(t, parse(t, evpn("")), built(bareHosts(), deploy(t, parse(t, flooding("static")), bareHosts())))
		},
		"evpn-to-unicast": func(t *testing.T) plan.Plan {
			return deploy(t, parse(t, flooding("unicast")), built(bareHosts(), deploy(t, parse(t, evpn("")), bareHosts())))
		},
		"evpn-destroy": func(t *testing.T) plan.Plan {
			return plan.Destroy("lu", built(bareHosts(), deploy(t, parse(t, evpn("")), bareHosts())))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			if err := c(t).WriteText(&got); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", got.String())
		})
	}
}

// frrOf is what a plan has for a host's FRR.
func frrOf(p plan.Plan, host string) *hostapi.FRR {
	for _, phase := range p.Phases {
		for _, s := range phase.Steps[host] {
			if s.FRR != nil {
				return s.FRR
			}
		}
	}
	return nil
}

func TestConfigurationsOfBGP(t *testing.T) {
	p := deployWith(t, parse(t, withThird(evpn("evpn: {reflectors: host1}\n"))), threeHosts(), plan.Inputs{Password: "sesame"})
	for host, name := range map[string]string{"host1": "bgpd-reflector.conf", "host3": "bgpd-client.conf"} {
		w := frrOf(p, host)
		golden(t, name, w.Config)
		if !strings.Contains(w.Text(), " password sesame\n") {
			t.Errorf("%s: no password in:\n%s", host, w.Text())
		}
	}
	p = deployWith(t, parse(t, withThird(evpn("evpn: {frr: existing}\n"))), joinable(), plan.Inputs{Password: "sesame"})
	if w := frrOf(p, "host1"); !w.Existing {
		t.Errorf("not for the host's own FRR: %+v", w)
	}
	golden(t, "bgpd-existing.conf", frrOf(p, "host1").Config)
}

// joinable are three hosts that run an FRR of their own.
func joinable() map[string]hostapi.Facts {
	facts := threeHosts()
	for host, f := range facts {
		f.FRR = &hostapi.FRRFacts{
			Others:    []hostapi.Process{{Name: "bgpd", PID: 8}, {Name: "zebra", PID: 7}},
			Host:      &hostapi.HostBGP{ASN: 65000},
			Listeners: []hostapi.PortHolder{{Port: 179, Address: netip.MustParseAddr("0.0.0.0"), Process: "bgpd", PID: 8}},
		}
		facts[host] = f
	}
	return facts
}

func TestJoiningAHostsOwnFRRIsRefused(t *testing.T) {
	address, prefix := netip.MustParseAddr, netip.MustParsePrefix
	for name, c := range map[string]struct {
		host   string
		change func(*hostapi.FRRFacts)
		want   string // empty: it is not
	}{
		"nothing is in its way":           {"host1", func(*hostapi.FRRFacts) {}, ""},
		"no FRR at all":                   {"host3", func(f *hostapi.FRRFacts) { *f = hostapi.FRRFacts{Lacking: []string{"zebra", "bgpd"}} }, "it runs no zebra of its own"},
		"no bgpd":                         {"host3", func(f *hostapi.FRRFacts) { f.Others, f.Host = f.Others[1:], nil }, "it runs no bgpd of its own"},
		"one that does not answer":        {"host3", func(f *hostapi.FRRFacts) { f.Host = nil }, "does not answer"},
		"another number":                  {"host3", func(f *hostapi.FRRFacts) { f.Host.ASN = 64512 }, "of AS 64512"},
		"a session with a reflector":      {"host3", func(f *hostapi.FRRFacts) { f.Host.Neighbors = []netip.Addr{address("10.0.0.2")} }, "which is a reflector's tunnel end"},
		"a session of a reflector":        {"host1", func(f *hostapi.FRRFacts) { f.Host.Neighbors = []netip.Addr{address("10.0.0.3")} }, "which is the tunnel end of host3"},
		"a session with somebody else":    {"host1", func(f *hostapi.FRRFacts) { f.Host.Neighbors = []netip.Addr{address("10.0.0.77")} }, ""},
		"sessions of a reflector's":       {"host1", func(f *hostapi.FRRFacts) { f.Host.Ranges = []netip.Prefix{prefix("10.0.0.0/8")} }, "takes sessions from 10.0.0.0/8"},
		"VTEPs that are not the lab's":    {"host3", func(f *hostapi.FRRFacts) { f.Host.VNIs = []int{7} }, "(VNI 7)"},
		"a reflector at another port":     {"host1", func(f *hostapi.FRRFacts) { f.Listeners = nil }, "does not listen on tcp port 179"},
		"a reflector at another address":  {"host1", func(f *hostapi.FRRFacts) { f.Listeners[0].Address = address("127.0.0.1") }, "does not listen on tcp port 179"},
		"one without an instance listens": {"host1", func(f *hostapi.FRRFacts) { f.Host.ASN, f.Listeners = 0, nil }, ""},
		"nor does the lab's own hinder it": {"host1", func(f *hostapi.FRRFacts) {
			f.Host.ASN, f.Listeners[0].PID, f.Daemons = 0, 9, []hostapi.Process{{Name: "bgpd", PID: 9}}
		}, ""},
		"unless another has the port":  {"host1", func(f *hostapi.FRRFacts) { f.Host.ASN, f.Listeners[0].PID = 0, 9 }, "is held by process bgpd (pid 9)"},
		"who is no reflector need not": {"host3", func(f *hostapi.FRRFacts) { f.Listeners = nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			facts := joinable()
			c.change(facts[c.host].FRR)
			_, problems := plan.Deploy(parse(t, withThird(evpn("evpn: {frr: existing}\n"))), facts, plan.Inputs{})
			switch {
			case c.want == "" && len(problems) > 0:
				t.Errorf("problems %v, want none", problems)
			case c.want != "" && (len(problems) != 1 || problems[0].Host != c.host || !strings.Contains(problems[0].Message, c.want) || problems[0].Hint == ""):
				t.Errorf("problems %v, want one of %s with %q", problems, c.host, c.want)
			}
		})
	}
}

func TestWhoJoinsChangesNoConfigurationElsewhere(t *testing.T) {
	before := deploy(t, parse(t, evpn("")), bareHosts())
	after := deploy(t, parse(t, withThird(evpn(""))), threeHosts())
	for _, host := range []string{"host1", "host2"} {
		if a, b := frrOf(before, host), frrOf(after, host); *a != *b {
			t.Errorf("%s: %s\nthen: %s", host, a.Config, b.Config)
		}
	}
}

func TestReflectorsTakeSessionsOfTheirSubnetAndOfWhoIsElsewhere(t *testing.T) {
	facts := threeHosts()
	facts["host3"] = bare("10.9.0.3", "10.0.0.1")
	ranges := func(lab string) (all []string) {
		for line := range strings.Lines(frrOf(deploy(t, parse(t, lab), facts), "host1").Config) {
			if prefix, ok := strings.CutPrefix(line, " bgp listen range "); ok {
				all = append(all, strings.Fields(prefix)[0])
			}
		}
		return all
	}
	elsewhere := strings.Replace(withThird(evpn("")), "address: 10.0.0.3", "address: 10.9.0.3", 1)
	if got := ranges(elsewhere); !slices.Equal(got, []string{"10.0.0.0/24", "10.9.0.3/32"}) {
		t.Errorf("sessions from %v", got)
	}
	if got := ranges(elsewhere + "evpn: {clients: 10.0.0.0/8}\n"); !slices.Equal(got, []string{"10.0.0.0/8"}) {
		t.Errorf("sessions from %v, want what the inventory says", got)
	}
}

func TestOtherPasswordOrNumberChangesTheConfiguration(t *testing.T) {
	lab := parse(t, evpn(""))
	facts := built(bareHosts(), deployWith(t, lab, bareHosts(), plan.Inputs{Password: "sesame"}))
	if n := deployWith(t, lab, facts, plan.Inputs{Password: "sesame"}).Changes(); n != 0 {
		t.Errorf("%d changes with the same password", n)
	}
	for name, p := range map[string]plan.Plan{
		"another password": deployWith(t, lab, facts, plan.Inputs{Password: "open"}),
		"another number":   deployWith(t, parse(t, evpn("evpn: {asn: 64512}\n")), facts, plan.Inputs{Password: "sesame"}),
		"another port":     deployWith(t, parse(t, evpn("evpn: {port: 1179}\n")), facts, plan.Inputs{Password: "sesame"}),
	} {
		if p.Changes() != 2 || frrOf(p, "host1") == nil || frrOf(p, "host2") == nil {
			t.Errorf("%s: %d changes, want the FRR of both hosts", name, p.Changes())
		}
	}
}

func TestEVPNIsRefused(t *testing.T) {
	process := hostapi.Process{Name: "zebra", PID: 7}
	listener := func(address string, pid int) []hostapi.PortHolder {
		return []hostapi.PortHolder{{Port: 179, Address: netip.MustParseAddr(address), Process: "bird", PID: pid}}
	}
	for name, c := range map[string]struct {
		host string
		seen hostapi.FRRFacts
		want string // empty: it is not
	}{
		"without the programs":               {"host1", hostapi.FRRFacts{Lacking: []string{"zebra", "bgpd"}}, "(missing: zebra, bgpd)"},
		"beside another zebra":               {"host2", hostapi.FRRFacts{Others: []hostapi.Process{process}}, "an FRR of its own (zebra, pid 7)"},
		"port taken at every address":        {"host1", hostapi.FRRFacts{Listeners: listener("0.0.0.0", 9)}, "tcp port 179, at which it is to listen as a reflector, is held by process bird (pid 9)"},
		"port taken at the tunnel end":       {"host1", hostapi.FRRFacts{Listeners: listener("10.0.0.1", 9)}, "tcp port 179"},
		"port taken at another address":      {"host1", hostapi.FRRFacts{Listeners: listener("127.0.0.1", 9)}, ""},
		"port taken on who does not listen":  {"host3", hostapi.FRRFacts{Listeners: listener("0.0.0.0", 9)}, ""},
		"port taken by the lab's own daemon": {"host1", hostapi.FRRFacts{Daemons: []hostapi.Process{{Name: "bgpd", PID: 9}}, Listeners: listener("10.0.0.1", 9)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			facts := threeHosts()
			f := facts[c.host]
			f.FRR = &c.seen
			facts[c.host] = f
			_, problems := plan.Deploy(parse(t, withThird(evpn(""))), facts, plan.Inputs{})
			switch {
			case c.want == "" && len(problems) > 0:
				t.Errorf("problems %v, want none", problems)
			case c.want != "" && (len(problems) != 1 || problems[0].Host != c.host || !strings.Contains(problems[0].Message, c.want) || problems[0].Hint == ""):
				t.Errorf("problems %v, want one of %s with %q", problems, c.host, c.want)
			}
		})
	}
}

func TestEVPNNeedsTunnelEndsThatAreKnownAndIPv4(t *testing.T) {
	part := map[string]hostapi.Facts{"host3": threeHosts()["host3"]}
	_, problems := plan.Deploy(parse(t, withThird(evpn(""))), part, plan.Inputs{})
	if len(problems) != 1 || problems[0].Host != "host1" || !strings.Contains(problems[0].Message, "no reflector's tunnel address is known (host1, host2)") {
		t.Errorf("problems %v, want that neither reflector is known", problems)
	}
	known := plan.Inputs{Known: bareHosts()}
	if p := deployWith(t, parse(t, withThird(evpn(""))), part, known); !strings.Contains(frrOf(p, "host3").Config, "neighbor 10.0.0.2 peer-group") {
		t.Errorf("host3 alone speaks with:\n%s", frrOf(p, "host3").Config)
	}
	six := map[string]hostapi.Facts{"host1": bare6("fd00::1", "fd00::2"), "host2": bare6("fd00::2", "fd00::1")}
	if _, problems := plan.Deploy(parse(t, evpn("")), six, plan.Inputs{}); len(problems) != 2 || !strings.Contains(problems[0].Message, "needs an IPv4 underlay") {
		t.Errorf("problems %v, want that IPv6 is refused on both", problems)
	}
}

func TestOneReflectorThatIsKnownWillDo(t *testing.T) {
	lab := parse(t, withThird(evpn("")))
	part := threeHosts()
	delete(part, "host2")
	first := deploy(t, lab, part)
	for host, want := range map[string]int{"host1": 0, "host3": 1} {
		if n := strings.Count(frrOf(first, host).Config, " peer-group reflectors\n"); n != want {
			t.Errorf("%s speaks with %d reflectors, want %d:\n%s", host, n, want, frrOf(first, host).Config)
		}
	}
	facts := built(part, first)
	facts["host2"] = threeHosts()["host2"]
	then := deploy(t, lab, facts)
	for _, host := range []string{"host1", "host3"} {
		if w := frrOf(then, host); w == nil || !strings.Contains(w.Config, "neighbor 10.0.0.2 peer-group") {
			t.Errorf("%s is not told of the reflector that is there now: %+v", host, w)
		}
	}
}

// knowing are three hosts or more with the lab, whose VTEPs know so many tunnel ends.
func knowing(t *testing.T, ends ...int) (lab *inventory.Lab, facts map[string]hostapi.Facts) {
	text := withThird(evpn(""))
	facts = threeHosts()
	for n := 4; n <= len(ends); n++ {
		address := fmt.Sprintf("10.0.0.%d", n)
		text = strings.Replace(text, "networks:", fmt.Sprintf("  host%d: {address: %s}\nnetworks:", n, address), 1)
		facts[fmt.Sprintf("host%d", n)] = bare(address, "10.0.0.1")
	}
	lab = parse(t, text)
	facts = built(facts, deploy(t, lab, facts))
	for i, n := range ends {
		link(facts[fmt.Sprintf("host%d", i+1)], "vxlan0").VXLAN.Forwarding.Flood = n
	}
	return lab, facts
}

func TestOnlyWhoLacksWhatOthersHaveBeginsAnew(t *testing.T) {
	for name, c := range map[string]struct {
		ends []int // of host1, which reflects, as host2 does, and so on
		want []string
	}{
		"all know all":                         {[]int{2, 2, 2}, nil},
		"one hears and tells nothing":          {[]int{1, 1, 0}, []string{"host3"}},
		"one hears nothing":                    {[]int{2, 2, 0}, []string{"host3"}},
		"two lack each other":                  {[]int{1, 1, 2}, []string{"host1", "host2"}},
		"a reflector hears nothing":            {[]int{0, 2, 2}, []string{"host1"}},
		"a reflector lacks one":                {[]int{1, 2, 2}, []string{"host1"}},
		"nobody knows anybody":                 {[]int{0, 0, 0}, []string{"host1", "host2", "host3"}},
		"of four, one hears and tells nothing": {[]int{2, 2, 2, 0}, []string{"host4"}},
		"of four, one tells nothing":           {[]int{2, 2, 2, 3}, []string{"host4"}},
		"of four, a reflector tells nothing":   {[]int{3, 2, 2, 2}, []string{"host1"}},
		"of four, two tell nothing":            {[]int{1, 1, 2, 2}, []string{"host1", "host2"}},
		"of four, all know all":                {[]int{3, 3, 3, 3}, nil},
		"of five, one tells nothing":           {[]int{3, 3, 4, 3, 3}, []string{"host3"}},
		"of five, two tell nothing":            {[]int{2, 2, 2, 3, 3}, []string{"host4", "host5"}},
		"of five, two lack each other":         {[]int{3, 3, 4, 4, 4}, []string{"host1", "host2"}},
		"of five, one lacks one":               {[]int{3, 4, 4, 4, 4}, []string{"host1"}},
		"of five, one tells nobody but one":    {[]int{3, 3, 3, 4, 4}, []string{"host1", "host2", "host3"}},
		"of four, one lacks one":               {[]int{3, 3, 2, 3}, []string{"host3"}},
		"of four, two hear nothing":            {[]int{3, 3, 0, 0}, []string{"host3", "host4"}},
	} {
		t.Run(name, func(t *testing.T) {
			lab, facts := knowing(t, c.ends...)
			p := deploy(t, lab, facts)
			var got []string
			for host := range facts {
				if w := frrOf(p, host); w != nil && w.Anew {
					got = append(got, host)
				}
			}
			if slices.Sort(got); !slices.Equal(got, c.want) {
				t.Errorf("%v begin anew, want %v", got, c.want)
			}
		})
	}
}

func bare6(address, peer string) hostapi.Facts {
	f := bare("10.0.0.1", peer)
	f.Links[0].Addresses = []netip.Prefix{netip.MustParsePrefix(address + "/64")}
	f.Routes[0].Source = netip.MustParseAddr(address)
	return f
}

// The wait begins when every host has done its part: one that waits for another
// would wait in vain where not all are worked on at once.
func TestRoutesAreAwaitedBehindABarrier(t *testing.T) {
	p := deploy(t, parse(t, evpn("")), bareHosts())
	for i, phase := range p.Phases {
		for host, steps := range phase.Steps {
			for _, s := range steps {
				if s.Routes != nil && (!phase.Barrier || i == 0 || len(p.Phases[i-1].Probes) > 0) {
					t.Errorf("phase %s of %s: routes are awaited without a barrier, or the proof came before", phase.Name, host)
				}
			}
		}
	}
	if p.Changes() == 0 || len(p.Phases) != 4 {
		t.Errorf("%d phases, want VTEPs, their routes, containers, theirs", len(p.Phases))
	}
}
