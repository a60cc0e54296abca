package orchestrator_test

import (
	"net/netip"
	"testing"

	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

const twoNetworks = `networks:
  blue: {vni: 1, subnet: 10.1.0.0/24}
  red: {vni: 2, subnet: 10.2.0.0/24}
containers:
  b: {hosts: all, network: blue}
  r: {hosts: all, network: red}
`

// isolation gives the results of what proves networks to be apart.
func isolation(r *report.Result) (passed, failed int) {
	for _, p := range r.Probes {
		switch {
		case p.Kind != report.KindIsolation:
		case p.Result == report.Pass:
			passed++
		default:
			failed++
		}
	}
	return passed, failed
}

func TestNetworksThatMeetAreFound(t *testing.T) {
	b, _ := fabricOf(t, "a", "b", "c")
	lab := b.lab("lu", twoNetworks, "a", "b", "c")
	if o := b.deploy(lab); len(o.Errs) > 0 || o.Result.Result != report.Pass || len(o.Result.Findings) > 0 {
		t.Fatalf("deploy: %s, %v, findings %+v", o.Result.Result, o.Errs, o.Result.Findings)
	} else if passed, failed := isolation(o.Result); passed != 9 || failed != 0 {
		t.Fatalf("isolation: %d passed, %d failed; want 9 and 0", passed, failed)
	}
	// Somebody brings red's segment into blue's bridge, where it has no VTEP of its own.
	b.machines["b"].RemoveLink("", lab.Network("red").VXLAN)
	b.machines["b"].PlantLink(hostapi.Link{Name: "hand", Kind: "vxlan", Master: "blue", Up: true, VXLAN: &hostapi.VXLAN{
		VNI: 2, Port: 4789, Group: netip.MustParseAddr("239.0.0.1"), Device: "eth0",
	}})
	o := b.control.Verify(t.Context(), lab)
	passed, failed := isolation(o.Result)
	if passed == 0 || failed == 0 || o.Result.Result != report.Fail || len(o.Errs) > 0 {
		t.Errorf("isolation: %d passed, %d failed, result %s, errors %v", passed, failed, o.Result.Result, o.Errs)
	}
	found := false
	for _, f := range o.Result.Findings {
		if f.Layer == "bridge" && f.Host == "b" {
			found = true
			for _, at := range f.Probes {
				if p := o.Result.Probes[at]; p.Result != report.Fail {
					t.Errorf("finding %+v has probe %+v", f, p)
				}
			}
		}
	}
	if !found {
		t.Errorf("found %s, want the bridge of b", layers(o))
	}
}
