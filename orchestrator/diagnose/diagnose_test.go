package diagnose_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vxorch/inventory"
	"vxorch/orchestrator/diagnose"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

const labText = `
lab: lu
hosts: {a: {address: 192.0.2.1}, b: {address: 192.0.2.2}}
networks: {br: {subnet: 10.1.0.0/24}}
containers: {c: {host: a, address: 10.1.0.11}}
images: {i: {path: /i.qcow2, login: {user: u, password: p}}}
vms: {v: {host: b, image: i, domain: guest, address: 10.1.0.21}}
`

// What the fault laboratory, which has containers only, does not show.
func TestFindings(t *testing.T) {
	lab, err := inventory.Parse("lab.yaml", []byte(labText))
	if err != nil {
		t.Fatal(err)
	}
	c := lab.Containers[0]
	inner := hostapi.Link{Name: "eth0", Up: true, MAC: c.Interfaces[0].MAC, Addresses: lab.Networks[0].Prefixes(c.Interfaces[0])}
	vtep := hostapi.Link{Name: lab.Networks[0].VXLAN, Up: true, Master: "br", VXLAN: &hostapi.VXLAN{VNI: lab.Networks[0].VNI, Port: 4789}}
	bridge := hostapi.Link{Name: "br", Up: true}
	healthy := func(state string) diagnose.Evidence {
		return diagnose.Evidence{Facts: map[string]hostapi.Facts{
			"a": {
				Links:      []hostapi.Link{{Name: c.Interfaces[0].Link, Up: true, Master: "br"}, bridge, vtep},
				Namespaces: []hostapi.NamespaceFacts{{Name: c.Netns, Links: []hostapi.Link{inner}}},
			},
			"b": {Links: []hostapi.Link{bridge, vtep}, Virt: &hostapi.VirtFacts{Domains: []hostapi.DomainFacts{{Name: "guest", State: state}}}},
		}}
	}
	ping := report.Probe{
		Kind: report.KindPing, Stage: report.StageMesh, Network: "br", From: "c", FromHost: "a", To: "v", ToHost: "b", Address: "10.1.0.21", Result: report.Fail,
	}
	tcp := ping
	tcp.Kind, tcp.Error = report.KindTCP, "TCP: i/o timeout"
	// Frames come in for the guest; its tap says nothing, or something.
	counting := func(fromGuest uint64) diagnose.Evidence {
		e := healthy("running")
		tap := lab.VMs[0].Interfaces[0].Link
		count := func(vtep, tap uint64, name string) map[string]hostapi.Inspection {
			return map[string]hostapi.Inspection{"b": {Links: []hostapi.LinkState{{Name: lab.Networks[0].VXLAN, Received: vtep}, {Name: name, Received: tap}}}}
		}
		e.Before, e.After = count(4, 6, tap), count(5, 6+fromGuest, tap)
		return e
	}
	late := healthy("running")
	late.Again = map[int]hostapi.ProbeResult{0: {Sent: 1, Received: 1}}
	for name, c := range map[string]struct {
		probe    report.Probe
		evidence diagnose.Evidence
		want     string // layer, host, part of the proof; empty: nothing
	}{
		"a guest that is not up":   {ping, healthy("shutoff"), "guest b domain guest is shutoff"},
		"a guest that libvirt had": {ping, diagnose.Evidence{Facts: map[string]hostapi.Facts{"b": {Virt: &hostapi.VirtFacts{}}}}, "guest b no domain guest"},
		"nothing to be seen":       {ping, healthy("running"), ""},
		"nothing at all":           {ping, diagnose.Evidence{}, ""},
		"a guest without a word":   {ping, counting(0), "guest b stayed at 6"},
		"a guest that speaks":      {ping, counting(1), ""},
		"an answer the next time":  {ping, late, "late a sent again"},
		"TCP alone":                {tcp, healthy("running"), "offload a TCP: i/o timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			found := diagnose.Findings(lab, []report.Probe{c.probe}, c.evidence)
			if c.want == "" {
				if len(found) > 0 {
					t.Errorf("found %+v, want nothing", found)
				}
				return
			}
			words := strings.SplitN(c.want, " ", 3)
			if len(found) != 1 || found[0].Layer != words[0] || found[0].Host != words[1] || !strings.Contains(found[0].Proof, words[2]) || found[0].Mend == "" {
				t.Errorf("found %+v, want %q and what mends it", found, c.want)
			}
		})
	}
}

const apartText = `
lab: lu
hosts: {a: {address: 192.0.2.1}, b: {address: 192.0.2.2}}
networks: {blue: {vni: 1, subnet: 10.1.0.0/24}, red: {vni: 2, subnet: 10.2.0.0/24}}
containers: {c: {host: a, network: blue}, r: {host: b, network: red, address: 10.2.0.11}}
`

// Where two networks meet; nothing may be blamed that is as it should be.
func TestLeaksAreFound(t *testing.T) {
	lab, err := inventory.Parse("lab.yaml", []byte(apartText))
	if err != nil {
		t.Fatal(err)
	}
	c, r := lab.Containers[0].Interfaces[0], lab.Containers[1].Interfaces[0]
	type seen = map[string]*hostapi.Link // of host a
	for name, w := range map[string]struct {
		change  func(on seen)
		entries []hostapi.FDBEntry // of host a
		want    string             // layer, host, part of the cause and of the proof
	}{
		"a VTEP with the other's VNI":   {func(on seen) { on["vx1"].VXLAN.VNI = 2 }, nil, "vtep a|VTEP vx1 has a wrong VNI|it has 2"},
		"a port in the other's bridge":  {func(on seen) { on["vx1"].Master = "red" }, nil, "bridge a|vx1 is not a port of bridge blue|red"},
		"a VTEP of somebody's":          {func(on seen) { on["hand"].Master = "blue" }, nil, "bridge a|hand brings network red into bridge blue|VNI 2"},
		"a cable between the bridges":   {func(seen) {}, []hostapi.FDBEntry{{Link: "leak0", MAC: r.MAC}}, "bridge a|bridges blue and red are joined by leak0|r, which is in red"},
		"the cable's other end":         {func(seen) {}, []hostapi.FDBEntry{{Link: "leak1", MAC: c.MAC}}, "bridge a|bridges blue and red are joined by leak1|c, which is in blue"},
		"learned where it should be":    {func(seen) {}, []hostapi.FDBEntry{{Link: "vx2", MAC: r.MAC}, {Link: c.Link, MAC: c.MAC}}, "isolation a|networks blue and red are one segment|r of red answers"},
		"a VTEP that is in no bridge":   {func(on seen) { on["hand"].Master = "" }, nil, "isolation a|networks blue and red are one segment|10.2.0.11"},
		"from a tunnel end of somebody": {func(seen) {}, []hostapi.FDBEntry{{Link: "vx1", MAC: r.MAC, Via: netip.MustParseAddr("192.0.2.9")}}, "isolation a|one segment|from tunnel end 192.0.2.9"},
	} {
		t.Run(name, func(t *testing.T) {
			stand := func() []hostapi.Link {
				return []hostapi.Link{
					{Name: "blue", Up: true}, {Name: "red", Up: true}, {Name: "hand", Up: true, VXLAN: &hostapi.VXLAN{VNI: 2, Port: 4789}},
					{Name: "vx1", Up: true, Master: "blue", VXLAN: &hostapi.VXLAN{VNI: 1, Port: 4789}}, {Name: "vx2", Up: true, Master: "red", VXLAN: &hostapi.VXLAN{VNI: 2, Port: 4789}},
				}
			}
			links, on := stand(), seen{}
			for i := range links {
				on[links[i].Name] = &links[i]
			}
			w.change(on)
			leaked := report.Probe{
				Kind: report.KindIsolation, Stage: report.StageIsolation, Network: "blue", From: "c", FromHost: "a", To: "r", ToHost: "b", ToNetwork: "red",
				Address: "10.2.0.11", Sent: 2, Received: 1, Result: report.Fail,
			}
			found := diagnose.Findings(lab, []report.Probe{leaked, leaked}, diagnose.Evidence{
				Facts: map[string]hostapi.Facts{"a": {Links: links}, "b": {Links: stand()}},
				After: map[string]hostapi.Inspection{"a": {Entries: w.entries}},
			})
			words := strings.Split(w.want, "|")
			if len(found) != 1 || found[0].Layer+" "+found[0].Host != words[0] || !strings.Contains(found[0].Cause, words[1]) ||
				!strings.Contains(found[0].Proof, words[2]) || found[0].Mend == "" || len(found[0].Probes) != 2 {
				t.Errorf("found %+v, want %q of both and what mends it", found, w.want)
			}
		})
	}
}

// A leak may be any host's fault.
func TestAllHostsAreLookedIntoForALeak(t *testing.T) {
	lab, err := inventory.Parse("lab.yaml", []byte("lab: lu\nhosts: {a: {address: 192.0.2.1}, b: {address: 192.0.2.2}, c: {address: 192.0.2.3}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := report.Probe{Kind: report.KindIsolation, Result: report.Pass, FromHost: "a", ToHost: "a"}
	if hosts := diagnose.Hosts(lab, []report.Probe{p}); len(hosts) > 0 {
		t.Errorf("hosts %q for nothing", hosts)
	}
	p.Result, p.Received = report.Fail, 1
	if hosts := diagnose.Hosts(lab, []report.Probe{p}); len(hosts) != 3 {
		t.Errorf("hosts %q, want all three", hosts)
	}
}

// In the name of a VM its bridge asks: by that MAC a leak is found.
func TestABridgeAsksInTheNameOfAVM(t *testing.T) {
	lab, err := inventory.Parse("lab.yaml", []byte(apartText+"images: {i: {path: /i}}\nvms: {v: {host: a, network: blue}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := report.Probe{
		Kind: report.KindIsolation, Network: "blue", From: "v", FromHost: "a", To: "r", ToHost: "b", ToNetwork: "red", Received: 1, Result: report.Fail,
	}
	mac := inventory.DeriveMAC("lu", "bridge", "blue", "a")
	if req := diagnose.Request(lab, "b", []report.Probe{p}, nil); !slices.Contains(req.MACs, mac) || !slices.Contains(req.MACs, lab.Containers[1].Interfaces[0].MAC) {
		t.Errorf("MACs %q, want %s and that of r among them", req.MACs, mac)
	}
	found := diagnose.Findings(lab, []report.Probe{p}, diagnose.Evidence{
		Facts: map[string]hostapi.Facts{"b": {}}, After: map[string]hostapi.Inspection{"b": {Entries: []hostapi.FDBEntry{{Link: "leak1", MAC: mac}}}},
	})
	if len(found) != 1 || found[0].Host != "b" || !strings.Contains(found[0].Cause, "joined by leak1") {
		t.Errorf("found %+v, want leak1 of b", found)
	}
}
