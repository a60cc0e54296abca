package orchestrator_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// recorder notes what steps its host is given.
type recorder struct {
	hostapi.Host
	note func([]hostapi.Step)
}

func (r recorder) Apply(ctx context.Context, b hostapi.Batch) (hostapi.BatchResult, error) {
	r.note(b.Steps)
	return r.Host.Apply(ctx, b)
}

// record has the bench's controller note the steps that each host is given.
func (b *bench) record() (given func() map[string][]hostapi.Step) {
	var mu sync.Mutex
	steps := map[string][]hostapi.Step{}
	dial := b.control.Dial
	b.control.Dial = func(ctx context.Context, h inventory.Host) (hostapi.Host, error) {
		host, err := dial(ctx, h)
		return recorder{host, func(more []hostapi.Step) {
			mu.Lock()
			defer mu.Unlock()
			steps[h.Name] = append(steps[h.Name], more...)
		}}, err
	}
	return func() map[string][]hostapi.Step {
		mu.Lock()
		defer mu.Unlock()
		got := steps
		steps = map[string][]hostapi.Step{}
		return got
	}
}

// varied is a lab with something of every kind.
const varied = `
networks:
  n: {}
  m: {subnet: 10.9.0.0/24, flood: static}
  o: {subnet: 10.8.0.0/24, flood: unicast}
containers:
  cn: {hosts: all, network: n}
  two: {host: a, interfaces: [{network: n}, {network: m}, {network: o}]}
  st: {hosts: [b, c], network: m}
  un: {hosts: [b, c], network: o}
images: {i: {path: /i.qcow2, login: {user: u, password: p}}}
vms:
  vm: {hosts: [a, b], network: n, image: i}
`

// misfortunes are what can happen to a machine of that lab. Each gets the source
// of chance for its particulars.
var misfortunes = map[string]func(*rand.Rand, *hosttest.Machine){
	"a link is changed": func(chance *rand.Rand, m *hosttest.Machine) {
		onLink(chance, m, func(l *hostapi.Link) {
			switch chance.IntN(6) {
			case 0:
				l.Up = false
			case 1:
				l.MTU = 1300
			case 2:
				l.MAC = "02:00:00:00:00:07"
			case 3:
				l.Master = ""
			case 4:
				l.Quiet = false
			case 5:
				l.Mark = &hostapi.Mark{Lab: "try", Intended: true}
			}
		})
	},
	"a link is deleted": func(chance *rand.Rand, m *hosttest.Machine) {
		if name := pick(chance, links(m)); name != "" {
			m.RemoveLink("", name)
		}
	},
	"a VTEP is another": func(chance *rand.Rand, m *hosttest.Machine) {
		if name := pick(chance, links(m, "vx")); name != "" {
			m.Edit("", name, func(l *hostapi.Link) {
				switch chance.IntN(6) {
				case 0:
					l.VXLAN.VNI = 7
				case 1:
					l.VXLAN.Port = 4790
				case 2:
					l.VXLAN.Group = netip.MustParseAddr("239.9.9.9")
				case 3:
					l.VXLAN.Local = netip.Addr{}
				case 4:
					l.VXLAN.Device = ""
				case 5:
					l.VXLAN.Learning = false
				}
			})
		}
	},
	"a bridge speaks STP": func(chance *rand.Rand, m *hosttest.Machine) {
		if name := pick(chance, links(m, "n", "m", "o")); len(name) == 1 {
			m.Edit("", name, func(l *hostapi.Link) { l.STP = true })
		}
	},
	"its proof's address is left": func(_ *rand.Rand, m *hosttest.Machine) {
		if slices.Contains(links(m, "n"), "n") {
			m.Edit("", "n", func(l *hostapi.Link) {
				l.Addresses = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("192.168.100.%d/24", m.Local().As4()[3]-10))}
			})
		}
	},
	"something in a namespace is changed": func(chance *rand.Rand, m *hosttest.Machine) {
		netns := pick(chance, namespaces(m))
		if netns == "" || !slices.Contains(m.Objects(), "namespace "+netns+" link eth0") {
			return
		}
		m.Edit(netns, "eth0", func(l *hostapi.Link) {
			switch chance.IntN(5) {
			case 0:
				l.Up = false
			case 1:
				l.MTU = 1300
			case 2:
				l.MAC = "02:00:00:00:00:08"
			case 3:
				l.Addresses = nil
			case 4:
				l.Addresses = append(l.Addresses, netip.MustParsePrefix("10.1.2.3/8"))
			}
		})
	},
	"a namespace is emptied": func(chance *rand.Rand, m *hosttest.Machine) {
		if netns := pick(chance, namespaces(m)); netns != "" && slices.Contains(m.Objects(), "namespace "+netns+" link eth0") {
			m.RemoveLink(netns, "eth0")
		}
	},
	"a namespace's loopback is down": func(chance *rand.Rand, m *hosttest.Machine) {
		if netns := pick(chance, namespaces(m)); netns != "" {
			m.Edit(netns, "lo", func(l *hostapi.Link) { l.Up = false })
		}
	},
	"a namespace is deleted": func(chance *rand.Rand, m *hosttest.Machine) {
		if netns := pick(chance, namespaces(m)); netns != "" {
			m.RemoveNamespace(netns)
		}
	},
	"a VM is changed": func(chance *rand.Rand, m *hosttest.Machine) {
		if name := pick(chance, named(m, "domain ", "")); name != "" {
			m.EditDomain(name, func(d *hostapi.DomainFacts) {
				switch chance.IntN(6) {
				case 0:
					d.State = "shutoff"
				case 1:
					d.State = "paused"
				case 2:
					d.Memory *= 2
				case 3:
					d.Whole = false
				case 4:
					d.Kept = hostapi.KeptNone
				case 5:
					d.Kept = hostapi.KeptOther
				}
			})
		}
	},
	"a libvirt network is changed": func(chance *rand.Rand, m *hosttest.Machine) {
		if name := pick(chance, named(m, "libvirt network ", "")); name != "" {
			m.EditVirtNetwork(name, func(n *hostapi.VirtNetworkFacts) {
				switch chance.IntN(3) {
				case 0:
					n.Active = false
				case 1:
					n.Autostart = false
				case 2:
					n.Bridge = "another"
				}
			})
		}
	},
	"it reboots": func(_ *rand.Rand, m *hosttest.Machine) { m.Reboot() },
	"a mark is lost": func(chance *rand.Rand, m *hosttest.Machine) {
		if chance.IntN(4) == 0 { // else hardly a deploy would do anything
			onLink(chance, m, func(l *hostapi.Link) { l.Mark = nil })
		}
	},
}

// named lists the names of a machine's objects of a kind that begin with prefix.
func named(m *hosttest.Machine, kind, prefix string) []string {
	var names []string
	for _, o := range m.Objects() {
		if name, ok := strings.CutPrefix(o, kind); ok && strings.HasPrefix(name, prefix) && !strings.Contains(name, " ") {
			names = append(names, name)
		}
	}
	return names
}

func namespaces(m *hosttest.Machine) []string { return named(m, "namespace ", "") }

// links lists the links of the lab with one of the prefixes, with none: all but
// the VMs' taps, which are libvirt's.
func links(m *hosttest.Machine, prefixes ...string) []string {
	if len(prefixes) == 0 {
		prefixes = []string{""}
	}
	var all []string
	for _, p := range prefixes {
		all = append(all, named(m, "link ", p)...)
	}
	return slices.DeleteFunc(all, func(name string) bool {
		return name == "lo" || name == "eth0" || strings.HasPrefix(name, "vm")
	})
}

func pick(chance *rand.Rand, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[chance.IntN(len(names))]
}

func onLink(chance *rand.Rand, m *hosttest.Machine, edit func(*hostapi.Link)) {
	if name := pick(chance, links(m)); name != "" {
		m.Edit("", name, edit)
	}
}

var plain = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// TestFromAnyState lets misfortunes happen to a lab's hosts and holds, whatever
// they were: status, plan and deploy say and do the same; the deploy ends in the
// state of a fresh one; a second one changes nothing.
func TestFromAnyState(t *testing.T) {
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range misfortunes {
			if !yield(name) {
				return
			}
		}
	})
	const rounds = 60
	refused, mended := 0, 0
	for seed := range uint64(rounds) {
		chance := rand.New(rand.NewPCG(seed, 0))
		b := newBench(t, "a", "b", "c")
		b.withImage()
		lab := b.lab("try", varied, "a", "b", "c")
		if o := b.deploy(lab); o.Result.Result != report.Pass {
			t.Fatalf("fresh deploy: %v", o.Errs)
		}
		fresh := b.objects()
		var story []string
		for range 1 + chance.IntN(5) {
			host, what := pick(chance, []string{"a", "b", "c"}), pick(chance, names)
			misfortunes[what](chance, b.machines[host])
			story = append(story, host+": "+what)
		}
		drifted := b.objects()
		given := b.record()
		status := b.control.Status(t.Context(), lab)
		planned := b.control.Plan(t.Context(), lab)
		if steps := given(); len(steps) > 0 {
			t.Fatalf("after %q: status or plan gave steps: %v", story, steps)
		}
		deployed := b.deploy(lab)
		if len(planned.Errs) > 0 {
			refused++
			b.refusedAlike(story, status, planned, deployed, given())
			if diff := cmp.Diff(drifted, b.objects()); diff != "" {
				t.Errorf("after %q: a refused deploy changed (-before +after):\n%s", story, diff)
			}
			continue
		}
		b.didAsPlanned(story, status, planned, deployed, given())
		if deployed.Result.Changed > 0 {
			mended++
		}
		if diff := cmp.Diff(fresh, b.objects()); diff != "" {
			t.Errorf("after %q: the deploy ended elsewhere than a fresh one (-fresh +now):\n%s", story, diff)
		}
		if again := b.deploy(lab); again.Result.Result != report.Pass || again.Result.Changed != 0 {
			t.Errorf("after %q: a second deploy: %s, %d changed", story, again.Result.Result, again.Result.Changed)
		}
		if after := b.control.Status(t.Context(), lab); after.Result.Result != report.Pass {
			t.Errorf("after %q and the deploy: status %+v", story, odd(after))
		}
		if t.Failed() {
			return
		}
	}
	if refused < rounds/30 || mended < rounds/2 {
		t.Errorf("%d refused and %d mended of %d: the test tests too little", refused, mended, rounds)
	}
}

// refusedAlike holds that all three verbs refuse for the same reasons.
func (b *bench) refusedAlike(story []string, status, planned, deployed orchestrator.Outcome, given map[string][]hostapi.Step) {
	b.t.Helper()
	if len(given) > 0 {
		b.t.Errorf("after %q: the deploy was refused, but gave steps: %v", story, given)
	}
	var reasons []string
	for _, o := range status.Result.Objects {
		if o.State == report.Foreign {
			reasons = append(reasons, o.Host+": plan: "+o.Note)
		}
	}
	for what, errs := range map[string][]error{"plan": planned.Errs, "deploy": deployed.Errs} {
		var texts []string
		for _, err := range errs {
			texts = append(texts, err.Error())
		}
		slices.Sort(texts)
		slices.Sort(reasons)
		if diff := cmp.Diff(reasons, texts); diff != "" {
			b.t.Errorf("after %q: reasons of status and %s (-status +%s):\n%s", story, what, what, diff)
		}
	}
}

// didAsPlanned holds that the hosts were given the plan's steps and nothing else,
// and that status named what they change.
func (b *bench) didAsPlanned(story []string, status, planned, deployed orchestrator.Outcome, given map[string][]hostapi.Step) {
	b.t.Helper()
	want := map[string][]hostapi.Step{}
	lasting := map[string]bool{}
	for _, phase := range planned.Plan.Phases {
		for host, steps := range phase.Steps {
			if len(steps) > 0 {
				want[host] = append(want[host], steps...)
			}
			for _, s := range steps {
				// What is told anew, should the kernel have forgotten it, does not differ.
				again := s.Forwarding != nil && s.Op == hostapi.Update && len(s.Changes) == 0
				if kind, name := s.Object(); plan.Lasting(s) && !again {
					lasting[host+" "+kind+" "+name] = true
				}
			}
		}
	}
	if diff := cmp.Diff(want, given, plain); diff != "" {
		b.t.Errorf("after %q: steps (-planned +run):\n%s", story, diff)
	}
	if diff := cmp.Diff(printed(b.t, planned.Plan), printed(b.t, deployed.Plan)); diff != "" {
		b.t.Errorf("after %q: the plan's text (-plan +deploy):\n%s", story, diff)
	}
	// A step may find that one before it has mended its object already.
	if len(deployed.Errs) > 0 || deployed.Result.Result != report.Pass || deployed.Result.Changed > planned.Plan.Changes() {
		b.t.Errorf("after %q: deploy %s, %d changed of %d planned, errors %v", story, deployed.Result.Result, deployed.Result.Changed, planned.Plan.Changes(), deployed.Errs)
	}
	named := map[string]bool{}
	for _, o := range odd(status) {
		if o.Kind != hostapi.KindAddress {
			named[o.Host+" "+o.Kind+" "+o.Name] = true
		}
	}
	if diff := cmp.Diff(lasting, named); diff != "" {
		b.t.Errorf("after %q: objects (-to change by the plan +not as wanted by status):\n%s", story, diff)
	}
	wanted := report.Pass
	if len(odd(status)) > 0 {
		wanted = report.Fail
	}
	if len(status.Errs) > 0 || status.Result.Result != wanted {
		b.t.Errorf("after %q: status %s, errors %v; want %s", story, status.Result.Result, status.Errs, wanted)
	}
}

// odd lists the objects that are not as wanted.
func odd(status orchestrator.Outcome) []report.Object {
	return slices.DeleteFunc(slices.Clone(status.Result.Objects), func(o report.Object) bool { return o.State == report.OK })
}

func printed(t *testing.T, p plan.Plan) string {
	t.Helper()
	var text strings.Builder
	if err := p.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestStatusSaysThatAHostWasRebooted(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	b.deploy(lab)
	b.machines["b"].Reboot()
	o := b.control.Status(t.Context(), lab)
	if len(o.Errs) > 0 || o.Result.Result != report.Fail || len(odd(o)) != objectsPerHost {
		t.Errorf("status: %s, errors %v, %d odd objects; want fail without errors, all of b's", o.Result.Result, o.Errs, len(odd(o)))
	}
	for _, h := range o.Result.Hosts {
		if h.Rebooted != (h.Name == "b") {
			t.Errorf("%s rebooted: %t", h.Name, h.Rebooted)
		}
	}
	b.deploy(lab)
	for _, h := range b.control.Status(t.Context(), lab).Result.Hosts {
		if h.Rebooted {
			t.Errorf("after another deploy %s is still said to be rebooted", h.Name)
		}
	}
}

func TestStatusTellsOfTheOthersWhenAHostFails(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	b.deploy(lab)
	b.dead["b"] = &hostapi.Error{Kind: hostapi.KindUnreachable, Message: "connection refused"}
	o := b.control.Status(t.Context(), lab)
	if len(o.Errs) != 1 || len(o.Result.Objects) != objectsPerHost || len(odd(o)) > 0 {
		t.Errorf("errors %v, objects %+v; want b's error and a's objects as wanted", o.Errs, o.Result.Objects)
	}
}
