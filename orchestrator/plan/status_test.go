package plan_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

func TestStatusAsPrinted(t *testing.T) {
	lab, withVMs := parse(t, seed), parse(t, seedWithVMs)
	standing := func(t *testing.T) map[string]hostapi.Facts {
		return built(bareHosts(), deploy(t, lab, bareHosts()))
	}
	standingVMs := func(t *testing.T) map[string]hostapi.Facts {
		before := withLibvirt(bareHosts())
		return built(before, deployWith(t, withVMs, before, inputs()))
	}
	for name, c := range map[string]struct {
		lab   *inventory.Lab
		facts func(t *testing.T) map[string]hostapi.Facts
	}{
		"fresh":     {lab, func(*testing.T) map[string]hostapi.Facts { return bareHosts() }},
		"unchanged": {lab, standing},
		"drift": {lab, func(t *testing.T) map[string]hostapi.Facts {
			facts := standing(t)
			link(facts["host1"], "vxlan0").VXLAN.VNI = 7
			link(facts["host2"], "vxlan0").MTU = 1400
			link(facts["host2"], "lu-br0").Up = false
			link(facts["host2"], "lu-br0").Addresses = []netip.Prefix{netip.MustParsePrefix("192.168.100.2/24")}
			facts["host2"].Namespaces[0].Links[1].Addresses = nil
			return facts
		}},
		"half-made": {lab, func(t *testing.T) map[string]hostapi.Facts {
			facts := standing(t)
			link(facts["host1"], "lu-br0").Mark = &hostapi.Mark{Lab: "lu", Intended: true}
			f := facts["host1"]
			f.Namespaces[0] = hostapi.NamespaceFacts{Name: "container0", Mark: &hostapi.Mark{Lab: "lu", Intended: true}}
			f.Links = slices.DeleteFunc(f.Links, func(l hostapi.Link) bool { return l.Kind == "veth" })
			f.Leftovers = []string{"/run/vxorch/lu/intents/veth=gone=02:00:00:00:00:01"}
			facts["host1"] = f
			return facts
		}},
		"foreign": {lab, func(t *testing.T) map[string]hostapi.Facts {
			facts := standing(t)
			link(facts["host1"], "lu-br0").Mark = nil
			f := facts["host2"]
			f.Namespaces = []hostapi.NamespaceFacts{{Name: "container0", Mark: &hostapi.Mark{Lab: "other", User: "bob", Controller: "ci"}}}
			f.Links = append(f.Links, hostapi.Link{Name: "theirs", Kind: "vxlan", VXLAN: &hostapi.VXLAN{VNI: 100, Port: 4789}})
			facts["host2"] = f
			return facts
		}},
		"stale": {parse(t, strings.Replace(seed, "  cn2: {host: host2, address: 192.168.100.12, netns: container0}\n", "", 1)), standing},
		"vms-drift": {withVMs, func(t *testing.T) map[string]hostapi.Facts {
			facts := standingVMs(t)
			facts["host1"].Virt.Domains[0].State = "shutoff"
			facts["host1"].Virt.Networks[0].Active = false
			facts["host2"].Virt.Domains[0].Whole = false
			return facts
		}},
		"vms-redefined": {withVMs, func(t *testing.T) map[string]hostapi.Facts {
			facts := standingVMs(t)
			facts["host1"].Virt.Domains[0].Kept = hostapi.KeptNone
			facts["host2"].Virt.Domains[0].Kept = hostapi.KeptOther
			facts["host2"].Virt.Domains[0].State = "shutoff"
			return facts
		}},
		"vms-stale": {lab, standingVMs},
		"vms-undefined": {withVMs, func(t *testing.T) map[string]hostapi.Facts {
			facts := standingVMs(t)
			facts["host1"].Virt.Domains[0] = hostapi.DomainFacts{Name: "testlu-vm", Mark: &hostapi.Mark{Lab: "lu", Intended: true}, State: hostapi.DomainUndefined}
			facts["host2"].Virt.Domains[0].Mark = nil
			return facts
		}},
	} {
		t.Run(name, func(t *testing.T) {
			objects, _, problems := plan.Status(c.lab, c.facts(t), inputs())
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			r := &report.Result{Lab: "lu", Verb: "status", Result: report.Pass, Started: time.Unix(0, 0), Objects: objects,
				Hosts: []report.Host{{Name: "host1", Result: report.OK}, {Name: "host2", Result: report.OK}}}
			var got strings.Builder
			if err := report.WriteStatusText(&got, r, report.TextOptions{}); err != nil {
				t.Fatal(err)
			}
			golden(t, "status-"+name+".txt", got.String())
		})
	}
}

func TestStatusSaysWhyItCannotTell(t *testing.T) {
	lab := parse(t, seedWithVMs)
	before := withLibvirt(bareHosts())
	facts := built(before, deployWith(t, lab, before, inputs()))
	f := facts["host2"]
	f.Virt = &hostapi.VirtFacts{Unusable: &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "no libvirt answers"}}
	facts["host2"] = f
	objects, _, problems := plan.Status(lab, facts, inputs())
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "host2: plan: cannot run VMs: no libvirt answers") {
		t.Errorf("problems are %v, want one of host2's libvirt", problems)
	}
	for _, o := range objects {
		if o.State != report.OK || o.Host == "host2" && (o.Kind == hostapi.KindDomain || o.Kind == hostapi.KindVirtNetwork) {
			t.Errorf("%+v, want none that is not as wanted and nothing about host2's VMs", o)
		}
	}
	link(facts["host1"], "eth0").Up = false
	if objects, _, problems = plan.Status(lab, facts, inputs()); len(objects) > 0 || len(problems) != 1 {
		t.Errorf("without an underlay: objects %v, problems %v; want one problem alone", objects, problems)
	}
}
