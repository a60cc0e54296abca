package plan_test

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const seed = `
lab: lu
hosts:
  host1: {address: 10.0.0.1}
  host2: {address: 10.0.0.2}
networks:
  lu-br0:
    vxlan: vxlan0
    vteps: {host1: 192.168.100.1, host2: 192.168.100.2}
containers:
  cn1: {host: host1, address: 192.168.100.11, netns: container0}
  cn2: {host: host2, address: 192.168.100.12, netns: container0}
`

func parse(t *testing.T, text string) *inventory.Lab {
	t.Helper()
	lab, err := inventory.Parse("lab.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return lab
}

const seedWithVMs = seed + `
images:
  cirros: {file: cirros.img, login: {user: cirros, password: gocubsgo}}
vms:
  vm1: {host: host1, address: 192.168.100.21, image: cirros, domain: testlu-vm}
  vm2: {host: host2, address: 192.168.100.22, image: cirros, domain: testlu-vm, provision: console}
`

// inputs is what the controller adds for seedWithVMs.
func inputs() plan.Inputs {
	return plan.Inputs{
		Images: map[string]hostapi.Image{"cirros": {SHA256: strings.Repeat("ab", 32)}},
		Sizes:  map[string]int64{"cirros": 13 << 20},
		Seeds:  map[string][]byte{"vm1": []byte("seed")},
	}
}

// withLibvirt gives hosts a libvirt on which nothing stands.
func withLibvirt(facts map[string]hostapi.Facts) map[string]hostapi.Facts {
	for host, f := range facts {
		f.Virt = &hostapi.VirtFacts{Version: "9.0.0"}
		facts[host] = f
	}
	return facts
}

// bare is a host with an underlay device and nothing else, reaching peer by it.
func bare(address, peer string) hostapi.Facts {
	return hostapi.Facts{
		Links:  []hostapi.Link{{Name: "eth0", Index: 2, MTU: 1500, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix(address + "/24")}}},
		Routes: []hostapi.Route{{Peer: netip.MustParseAddr(peer), Device: "eth0", Source: netip.MustParseAddr(address)}},
	}
}

func bareHosts() map[string]hostapi.Facts {
	return map[string]hostapi.Facts{"host1": bare("10.0.0.1", "10.0.0.2"), "host2": bare("10.0.0.2", "10.0.0.1")}
}

// built is what facts become when the steps of p have run.
func built(facts map[string]hostapi.Facts, p plan.Plan) map[string]hostapi.Facts {
	after := map[string]hostapi.Facts{}
	for host, f := range facts {
		links := map[string]*hostapi.Link{}
		var order []string
		put := func(l hostapi.Link) {
			if links[l.Name] == nil {
				order = append(order, l.Name)
			}
			l.Index = 10 + len(order)
			links[l.Name] = &l
		}
		for _, phase := range p.Phases {
			for _, s := range phase.Steps[host] {
				mark := &hostapi.Mark{Lab: "lu", User: "alice", Controller: "laptop"}
				switch {
				case s.VTEP != nil:
					v := s.VTEP
					var told hostapi.ForwardingFacts
					if s.Op == hostapi.Update && links[v.Name] != nil {
						told = links[v.Name].VXLAN.Forwarding
					}
					put(hostapi.Link{Name: v.Name, Kind: "vxlan", MAC: v.MAC, MTU: v.MTU, Up: true, Master: v.Bridge, Mark: mark, Quiet: true,
						PortLearning: v.Bridge != "" && !v.Static, Suppress: v.Bridge != "" && v.Static,
						VXLAN: &hostapi.VXLAN{VNI: v.VNI, Port: v.Port, Group: v.Group, Local: v.Local, Device: v.Device, Learning: !v.Static, Forwarding: told}})
				case s.Forwarding != nil:
					links[s.Forwarding.VTEP].VXLAN.Forwarding = hostapi.SummarizeForwarding(s.Forwarding.Entries())
				case s.FRR != nil && s.Op == hostapi.Remove:
					f.FRR = nil
				case s.FRR != nil:
					f.FRR = &hostapi.FRRFacts{Mark: mark, Digest: hostapi.DigestFRR(s.FRR.Text(), s.FRR.Port), Daemons: []hostapi.Process{{Name: "bgpd", PID: 12}, {Name: "zebra", PID: 11}}}
				case s.Bridge != nil:
					put(hostapi.Link{Name: s.Bridge.Name, Kind: "bridge", MAC: s.Bridge.MAC, MTU: s.Bridge.MTU, Up: true, Mark: mark, Quiet: true})
				case s.Namespace != nil:
					mark.For = s.Namespace.For
					f.Namespaces = append(f.Namespaces, hostapi.NamespaceFacts{Name: s.Namespace.Name, Mark: mark, Links: []hostapi.Link{{Name: "lo", Up: true}}})
				case s.Veth != nil:
					v := s.Veth
					put(hostapi.Link{Name: v.Name, Kind: "veth", MAC: v.MAC, MTU: v.MTU, Up: true, Master: v.Bridge, Mark: mark, Quiet: true, PeerIndex: 5})
					inner := hostapi.Link{Name: v.Inner, Index: 5, Kind: "veth", MAC: v.InnerMAC, MTU: v.MTU, Up: true, Addresses: v.Addresses}
					last := &f.Namespaces[len(f.Namespaces)-1]
					last.Links = append(last.Links, inner)
				}
			}
		}
		if f.FRR != nil { // it has told
			for _, l := range links {
				if l.VXLAN != nil && !l.VXLAN.Learning {
					l.VXLAN.Forwarding = hostapi.ForwardingFacts{Flood: len(facts) - 1, Digest: "learnt"}
				}
			}
		}
		for _, name := range order {
			f.Links = append(f.Links, *links[name])
		}
		if f.Virt != nil {
			virt := *f.Virt
			for _, phase := range p.Phases {
				for _, s := range phase.Steps[host] {
					mark := &hostapi.Mark{Lab: "lu", User: "alice", Controller: "laptop"}
					switch {
					case s.VirtNetwork != nil:
						virt.Networks = append(virt.Networks, hostapi.VirtNetworkFacts{Name: s.VirtNetwork.Name, Mark: mark, Forward: "bridge",
							Bridge: s.VirtNetwork.Bridge, Active: true, Autostart: true})
					case s.Domain != nil:
						mark.For = s.Domain.For
						virt.Domains = append(virt.Domains, hostapi.DomainFacts{Name: s.Domain.Name, Mark: mark, Spec: s.Domain.Spec(), State: "running",
							Memory: s.Domain.Memory, VCPUs: s.Domain.VCPUs, Interfaces: s.Domain.Interfaces, Whole: true})
					}
				}
			}
			f.Virt = &virt
		}
		after[host] = f
	}
	return after
}

func deploy(t *testing.T, lab *inventory.Lab, facts map[string]hostapi.Facts) plan.Plan {
	t.Helper()
	return deployWith(t, lab, facts, plan.Inputs{})
}

func deployWith(t *testing.T, lab *inventory.Lab, facts map[string]hostapi.Facts, in plan.Inputs) plan.Plan {
	t.Helper()
	p, problems := plan.Deploy(lab, facts, in)
	if len(problems) > 0 {
		t.Fatalf("Deploy gives problems: %v", problems)
	}
	return p
}

func link(f hostapi.Facts, name string) *hostapi.Link {
	for i := range f.Links {
		if f.Links[i].Name == name {
			return &f.Links[i]
		}
	}
	return nil
}

// flooding is the seed's lab with another mode.
func flooding(mode string) string {
	return strings.Replace(seed, "    vxlan: vxlan0\n", "    vxlan: vxlan0\n    flood: "+mode+"\n", 1)
}

// withThird gives a lab a third host.
func withThird(lab string) string {
	return strings.Replace(lab, "networks:", "  host3: {address: 10.0.0.3}\nnetworks:", 1)
}

func TestPlansAsPrinted(t *testing.T) {
	lab := parse(t, seed)
	standing := func(t *testing.T) map[string]hostapi.Facts {
		return built(bareHosts(), deploy(t, lab, bareHosts()))
	}
	for name, c := range map[string]func(t *testing.T) plan.Plan{
		"fresh":     func(t *testing.T) plan.Plan { return deploy(t, lab, bareHosts()) },
		"unchanged": func(t *testing.T) plan.Plan { return deploy(t, lab, standing(t)) },
		"join": func(t *testing.T) plan.Plan {
			facts := standing(t)
			facts["host2"] = bare("10.0.0.2", "10.0.0.1")
			return deploy(t, lab, facts)
		},
		"drift": func(t *testing.T) plan.Plan {
			facts := standing(t)
			link(facts["host1"], "vxlan0").VXLAN.VNI = 7
			link(facts["host2"], "vxlan0").MTU = 1400
			link(facts["host2"], "lu-br0").Up = false
			facts["host2"].Namespaces[0].Links[1].Addresses = nil
			return deploy(t, lab, facts)
		},
		"removed": func(t *testing.T) plan.Plan {
			less := parse(t, strings.Replace(seed, "  cn2: {host: host2, address: 192.168.100.12, netns: container0}\n", "", 1))
			return deploy(t, less, standing(t))
		},
		"unicast-fresh": func(t *testing.T) plan.Plan { return deploy(t, parse(t, flooding("unicast")), bareHosts()) },
		"unicast-unchanged": func(t *testing.T) plan.Plan {
			lab := parse(t, flooding("unicast"))
			return deploy(t, lab, built(bareHosts(), deploy(t, lab, bareHosts())))
		},
		"unicast-join": func(t *testing.T) plan.Plan {
			facts := built(bareHosts(), deploy(t, parse(t, flooding("unicast")), bareHosts()))
			facts["host3"] = bare("10.0.0.3", "10.0.0.1")
			return deploy(t, parse(t, withThird(flooding("unicast"))), facts)
		},
		"static-fresh": func(t *testing.T) plan.Plan { return deploy(t, parse(t, flooding("static")), bareHosts()) },
		"static-unchanged": func(t *testing.T) plan.Plan {
			lab := parse(t, flooding("static"))
			return deploy(t, lab, built(bareHosts(), deploy(t, lab, bareHosts())))
		},
		"static-new-container": func(t *testing.T) plan.Plan {
			facts := built(bareHosts(), deploy(t, parse(t, flooding("static")), bareHosts()))
			return deploy(t, parse(t, flooding("static")+"  cn3: {host: host1}\n"), facts)
		},
		"static-bridge-down": func(t *testing.T) plan.Plan {
			lab := parse(t, flooding("static"))
			facts := built(bareHosts(), deploy(t, lab, bareHosts()))
			link(facts["host1"], "lu-br0").Up = false
			return deploy(t, lab, facts)
		},
		"multicast-to-static": func(t *testing.T) plan.Plan { return deploy(t, parse(t, flooding("static")), standing(t)) },
		"static-to-unicast": func(t *testing.T) plan.Plan {
			return deploy(t, parse(t, flooding("unicast")), built(bareHosts(), deploy(t, parse(t, flooding("static")), bareHosts())))
		},
		"vms-fresh": func(t *testing.T) plan.Plan {
			return deployWith(t, parse(t, seedWithVMs), withLibvirt(bareHosts()), inputs())
		},
		"vms-unchanged": func(t *testing.T) plan.Plan {
			lab := parse(t, seedWithVMs)
			before := withLibvirt(bareHosts())
			return deployWith(t, lab, built(before, deployWith(t, lab, before, inputs())), inputs())
		},
		"vms-drift": func(t *testing.T) plan.Plan {
			lab := parse(t, seedWithVMs)
			before := withLibvirt(bareHosts())
			facts := built(before, deployWith(t, lab, before, inputs()))
			facts["host1"].Virt.Domains[0].State = "shutoff"
			facts["host1"].Virt.Networks[0].Active = false
			facts["host2"].Virt.Domains[0].Whole = false
			return deployWith(t, lab, facts, inputs())
		},
		"vms-redefined": func(t *testing.T) plan.Plan {
			lab := parse(t, seedWithVMs)
			before := withLibvirt(bareHosts())
			facts := built(before, deployWith(t, lab, before, inputs()))
			facts["host1"].Virt.Domains[0].Kept = hostapi.KeptNone
			facts["host2"].Virt.Domains[0].Kept = hostapi.KeptOther
			facts["host2"].Virt.Domains[0].Memory = 1 << 30
			return deployWith(t, lab, facts, inputs())
		},
		"vms-bridge-gone": func(t *testing.T) plan.Plan {
			lab := parse(t, seedWithVMs)
			before := withLibvirt(bareHosts())
			facts := built(before, deployWith(t, lab, before, inputs()))
			f := facts["host1"]
			f.Links = slices.DeleteFunc(f.Links, func(l hostapi.Link) bool { return l.Name == "lu-br0" })
			facts["host1"] = f
			return deployWith(t, lab, facts, inputs())
		},
		"vms-removed": func(t *testing.T) plan.Plan {
			before := withLibvirt(bareHosts())
			return deploy(t, lab, built(before, deployWith(t, parse(t, seedWithVMs), before, inputs())))
		},
		"vms-destroy": func(t *testing.T) plan.Plan {
			before := withLibvirt(bareHosts())
			return plan.Destroy("lu", built(before, deployWith(t, parse(t, seedWithVMs), before, inputs())))
		},
		"destroy": func(t *testing.T) plan.Plan { return plan.Destroy("lu", standing(t)) },
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

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestUnderlayIsSettled(t *testing.T) {
	lab := func(more string) string {
		return "lab: lu\nhosts:\n  host1: {address: 10.0.0.1" + more + "}\n  host2: {address: 10.0.0.2}\n"
	}
	second := hostapi.Link{Name: "eth1", Index: 3, MTU: 1400, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}}
	for name, c := range map[string]struct {
		more string
		edit func(*hostapi.Facts)
		want string // part of the problem; empty: none
		vtep hostapi.VTEP
	}{
		"by the route": {vtep: hostapi.VTEP{Device: "eth0", Local: netip.MustParseAddr("10.0.0.1"), MTU: 1450}},
		"named": {
			more: ", underlay: eth1", edit: func(f *hostapi.Facts) { f.Links = append(f.Links, second) },
			vtep: hostapi.VTEP{Device: "eth1", Local: netip.MustParseAddr("10.1.0.1"), MTU: 1350},
		},
		"ambiguous": {
			edit: func(f *hostapi.Facts) {
				f.Routes = append(f.Routes, hostapi.Route{Peer: netip.MustParseAddr("10.0.0.3"), Device: "eth1"})
			},
			want: "several devices: eth0, eth1",
		},
		"no route":              {edit: func(f *hostapi.Facts) { f.Routes[0].Device = "" }, want: "no route to any other host"},
		"the host itself":       {edit: func(f *hostapi.Facts) { f.Routes[0].Device = "lo" }, want: "is this host itself"},
		"named but absent":      {more: ", underlay: eth9", want: "eth9 does not exist"},
		"down":                  {edit: func(f *hostapi.Facts) { f.Links[0].Up = false }, want: "is down"},
		"tunnel address absent": {more: ", vtep: 10.0.0.99", want: "10.0.0.99 is not on underlay device eth0"},
	} {
		t.Run(name, func(t *testing.T) {
			facts := bareHosts()
			f := facts["host1"]
			if c.edit != nil {
				c.edit(&f)
			}
			facts["host1"] = f
			p, problems := plan.Deploy(parse(t, lab(c.more)), facts, plan.Inputs{})
			if c.want != "" {
				if len(problems) != 1 || problems[0].Host != "host1" || !strings.Contains(problems[0].Message, c.want) {
					t.Fatalf("problems are %v, want one of host1 with %q", problems, c.want)
				}
				return
			}
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			got := p.Phases[0].Steps["host1"][0].VTEP
			if got.Device != c.vtep.Device || got.Local != c.vtep.Local || got.MTU != c.vtep.MTU {
				t.Errorf("VTEP is %+v, want device, local and mtu of %+v", got, c.vtep)
			}
		})
	}
}

func TestMTUIsTheSmallestUnderlaysLessTheOverhead(t *testing.T) {
	six := func(a, peer string) hostapi.Facts {
		f := bare("10.0.0.1", "10.0.0.2")
		f.Links[0].Addresses = []netip.Prefix{netip.MustParsePrefix(a + "/64")}
		f.Routes[0] = hostapi.Route{Peer: netip.MustParseAddr(peer), Device: "eth0", Source: netip.MustParseAddr(a)}
		return f
	}
	small := bareHosts()
	small["host2"].Links[0].MTU = 1400
	for name, c := range map[string]struct {
		facts map[string]hostapi.Facts
		mtu   string
		want  int
		group string
		fails string
	}{
		"IPv4":          {facts: bareHosts(), mtu: "auto", want: 1450, group: "239.0.0.1"},
		"one smaller":   {facts: small, mtu: "auto", want: 1350, group: "239.0.0.1"},
		"given":         {facts: bareHosts(), mtu: "1400", want: 1400, group: "239.0.0.1"},
		"given too big": {facts: small, mtu: "1400", fails: "leaves room for 1350"},
		"IPv6": {
			facts: map[string]hostapi.Facts{"host1": six("fd00::1", "fd00::2"), "host2": six("fd00::2", "fd00::1")},
			mtu:   "auto", want: 1430, group: "ff05::1:1",
		},
		"families mixed": {
			facts: map[string]hostapi.Facts{"host1": bare("10.0.0.1", "10.0.0.2"), "host2": six("fd00::2", "fd00::1")},
			mtu:   "auto", fails: "another family",
		},
	} {
		t.Run(name, func(t *testing.T) {
			lab := parse(t, "lab: lu\nhosts: {host1: {address: h1}, host2: {address: h2}}\nnetworks: {n: {mtu: "+c.mtu+"}}\n")
			p, problems := plan.Deploy(lab, c.facts, plan.Inputs{})
			if c.fails != "" {
				if len(problems) == 0 || !strings.Contains(problems[0].Message, c.fails) {
					t.Fatalf("problems are %v, want %q", problems, c.fails)
				}
				return
			}
			want := []plan.Network{{Name: "n", Flood: "multicast", MTU: c.want, Group: c.group}}
			if diff := cmp.Diff(want, p.Networks); diff != "" {
				t.Errorf("networks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTemporaryAddressLeftOnTheOtherLinkGoesBeforeTheProof(t *testing.T) {
	lab := parse(t, seed)
	facts := built(bareHosts(), deploy(t, lab, bareHosts()))
	left := netip.MustParsePrefix("192.168.100.1/24")
	link(facts["host1"], "lu-br0").Addresses = []netip.Prefix{left}
	link(facts["host1"], "vxlan0").VXLAN.VNI = 7 // is made anew and proved while it stands alone
	var got []string
	for _, s := range deploy(t, lab, facts).Phases[0].Steps["host1"] {
		if s.Address != nil {
			got = append(got, string(s.Op)+" "+s.Address.Link)
		}
	}
	if want := []string{"remove lu-br0", "create vxlan0"}; !slices.Equal(got, want) {
		t.Errorf("addresses before the proof: %q, want %q", got, want)
	}
}

func TestTemporaryAddressLeftByADeadRunIsTakenAway(t *testing.T) {
	lab := parse(t, seed)
	facts := built(bareHosts(), deploy(t, lab, bareHosts()))
	left := netip.MustParsePrefix("192.168.100.1/24")
	byHand := netip.MustParsePrefix("192.168.100.200/24")
	link(facts["host1"], "lu-br0").Addresses = []netip.Prefix{left, byHand}
	p := deploy(t, lab, facts)
	var removed []netip.Prefix
	for _, phase := range p.Phases {
		for _, s := range phase.Steps["host1"] {
			if s.Address != nil && s.Op == hostapi.Remove {
				removed = append(removed, s.Address.Prefix)
			}
		}
	}
	if len(removed) != 1 || removed[0] != left {
		t.Errorf("the plan removes %v, want %v alone", removed, left)
	}
}

func TestHostThatCannotRunItsVMsKeepsTheRestOfTheLab(t *testing.T) {
	facts := withLibvirt(bareHosts())
	whole := deployWith(t, parse(t, seedWithVMs), facts, inputs())
	for name, c := range map[string]struct {
		virt   *hostapi.VirtFacts
		images map[string]hostapi.Image
		want   string
	}{
		"no libvirt": {
			&hostapi.VirtFacts{Unusable: &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "no libvirt answers", Hint: "vxorch prepare installs it"}},
			inputs().Images, "host2: plan: cannot run VMs: no libvirt answers",
		},
		"nothing known of libvirt": {nil, inputs().Images, "host2: plan: cannot run VMs"},
		"no image at its path": {
			&hostapi.VirtFacts{Version: "9.0.0"}, map[string]hostapi.Image{"cirros": {Path: "/images/cirros"}},
			"host2: plan: image cirros is not there: /images/cirros",
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := inputs()
			in.Images = c.images
			facts := withLibvirt(bareHosts())
			for _, i := range c.images {
				facts["host1"].Virt.Images = append(facts["host1"].Virt.Images, hostapi.ImageFacts{Image: i, Whole: i.Path != ""})
			}
			f := facts["host2"]
			f.Virt = c.virt
			facts["host2"] = f
			p := deployWith(t, parse(t, seedWithVMs), facts, in)
			blocks := p.Blocks()
			if len(blocks) != 1 || blocks[0].Error() != c.want || blocks[0].Hint == "" {
				t.Errorf("blocked by %v, want %q with a hint", blocks, c.want)
			}
			for i, phase := range p.Phases {
				if diff := cmp.Diff(whole.Phases[i].Probes, phase.Probes, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
					t.Errorf("probes of %s differ (-whole +this):\n%s", phase.Name, diff)
				}
				for host := range bareHosts() {
					want := len(whole.Phases[i].Steps[host])
					if phase.VMs && host == "host2" {
						want = 0
					}
					if got := len(phase.Steps[host]); got != want {
						t.Errorf("%s has %d steps of %s, want %d", host, got, phase.Name, want)
					}
				}
			}
			for _, u := range p.Uploads {
				if u.Host == "host2" {
					t.Errorf("%v is uploaded", u)
				}
			}
			var text strings.Builder
			if err := p.WriteText(&text); err != nil || !strings.Contains(text.String(), "    ! "+blocks[0].Message) {
				t.Errorf("%v, the text lacks %q:\n%s", err, blocks[0].Message, &text)
			}
		})
	}
}

func TestForeignVMOfAWantedNameIsRefused(t *testing.T) {
	foreign := func(f hostapi.Facts) hostapi.Facts {
		f.Virt = &hostapi.VirtFacts{
			Domains:  []hostapi.DomainFacts{{Name: "testlu-vm", State: "running"}},
			Networks: []hostapi.VirtNetworkFacts{{Name: "lu-br0", Mark: &hostapi.Mark{Lab: "other", User: "bob", Controller: "ci"}}},
		}
		return f
	}
	for name, c := range map[string]struct {
		facts func(hostapi.Facts) hostapi.Facts
		want  []string
	}{
		"another's domain and network there": {foreign, []string{
			"host2: plan: domain testlu-vm exists already and was not made by vxorch",
			`host2: plan: libvirt network lu-br0 exists already and belongs to lab "other" of bob@ci`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			facts := withLibvirt(bareHosts())
			facts["host2"] = c.facts(facts["host2"])
			_, problems := plan.Deploy(parse(t, seedWithVMs), facts, inputs())
			var got []string
			for _, p := range problems {
				if p.Hint == "" {
					t.Errorf("%v has no hint", p)
				}
				got = append(got, p.Error())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVMThatLosesItsDiskIsAmongTheRemovals(t *testing.T) {
	lab := parse(t, seedWithVMs)
	before := withLibvirt(bareHosts())
	facts := built(before, deployWith(t, lab, before, inputs()))
	facts["host1"].Virt.Domains[0].State = "shutoff" // is merely started
	facts["host2"].Virt.Domains[0].Whole = false     // is made anew
	want := []plan.Removal{{
		Host: "host2", Kind: hostapi.KindDomain, Name: "testlu-vm", Anew: true,
		Mark: hostapi.Mark{Lab: "lu", For: "vm2", User: "alice", Controller: "laptop"},
	}}
	p := deployWith(t, lab, facts, inputs())
	if diff := cmp.Diff(want, p.Removals); diff != "" {
		t.Errorf("removals (-want +got):\n%s", diff)
	}
	var text, forPrograms strings.Builder
	if err := errors.Join(p.WriteText(&text), p.WriteJSON(&forPrograms, nil, nil)); err != nil {
		t.Fatal(err)
	}
	const lost = "what is on its disk is lost"
	if got := text.String(); strings.Count(got, lost) != 1 || !strings.Contains(got, "± domain testlu-vm: disk whole") {
		t.Errorf("the text does not say once that %q:\n%s", lost, got)
	}
	if got := forPrograms.String(); strings.Count(got, `"loses_disk": true`) != 1 {
		t.Errorf("JSON does not say once that a disk is lost:\n%s", got)
	}
}
