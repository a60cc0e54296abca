package diagnose_test

import (
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
	late := healthy("running")
	late.Again = map[int]hostapi.ProbeResult{0: {Sent: 1, Received: 1}}
	for name, c := range map[string]struct {
		probe    report.Probe
		evidence diagnose.Evidence
		want     string // layer, host, part of the proof; empty: nothing
	}{
		"a guest that is not up":   {ping, healthy("shutoff"), "endpoint b domain guest is shutoff"},
		"a guest that libvirt had": {ping, diagnose.Evidence{Facts: map[string]hostapi.Facts{"b": {Virt: &hostapi.VirtFacts{}}}}, "endpoint b no domain guest"},
		"nothing to be seen":       {ping, healthy("running"), ""},
		"nothing at all":           {ping, diagnose.Evidence{}, ""},
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
