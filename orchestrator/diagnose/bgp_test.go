package diagnose_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vxorch/inventory"
	"vxorch/orchestrator/diagnose"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

const evpnText = `
lab: lu
hosts: {a: {address: 192.0.2.1}, b: {address: 192.0.2.2}, r: {address: 192.0.2.3}}
networks: {br: {vni: 100, flood: evpn, subnet: 10.1.0.0/24}}
evpn: {reflectors: r}
containers: {c: {host: a}, d: {host: b}}
`

// What a control plane says, beside what the fault laboratory does to one.
func TestFindingsAboutBGP(t *testing.T) {
	lab, err := inventory.Parse("lab.yaml", []byte(evpnText))
	if err != nil {
		t.Fatal(err)
	}
	end := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }
	ground := plan.Ground{Networks: lab.Networks, Underlays: map[string]plan.Underlay{"a": {Local: end(1)}, "b": {Local: end(2)}, "r": {Local: end(3)}}}
	runs := &hostapi.FRRFacts{Daemons: []hostapi.Process{{Name: "bgpd", PID: 1}, {Name: "zebra", PID: 2}}}
	all := []netip.Addr{end(1), end(2), end(3)}
	says := func(state string, ends ...netip.Addr) *hostapi.BGPState {
		return &hostapi.BGPState{Peers: []hostapi.BGPPeer{{Address: end(3), State: state}}, VNIs: []hostapi.EVPNState{{VNI: 100, Ends: ends}}}
	}
	entries := []hostapi.FDBEntry{{Link: "vx100", MAC: "00:00:00:00:00:00", Via: end(1)}, {Link: "vx100", MAC: "00:00:00:00:00:00", Via: end(2)}}
	evidence := func(change func(*diagnose.Evidence)) diagnose.Evidence {
		up := func(local netip.Addr) hostapi.Facts {
			vtep := hostapi.Link{Name: "vx100", Up: true, Master: "br", VXLAN: &hostapi.VXLAN{VNI: 100, Port: 4789, Local: local}}
			return hostapi.Facts{Links: []hostapi.Link{{Name: "br", Up: true}, vtep}, FRR: runs}
		}
		e := diagnose.Evidence{
			Ground: ground, Facts: map[string]hostapi.Facts{"a": up(end(1)), "b": up(end(2)), "r": up(end(3))}, Before: map[string]hostapi.Inspection{},
			After: map[string]hostapi.Inspection{"a": {BGP: says("Established", all...), Entries: entries}, "b": {BGP: says("Established", all...), Entries: entries}},
		}
		change(&e)
		return e
	}
	probe := report.Probe{Kind: report.KindPing, Stage: report.StageVTEP, Network: "br", FromHost: "a", ToHost: "b", Result: report.Fail}
	for name, c := range map[string]struct {
		change func(*diagnose.Evidence)
		want   string // layer, host, part of the cause; empty: nothing
	}{
		"all is well":      {func(*diagnose.Evidence) {}, ""},
		"nothing was said": {func(e *diagnose.Evidence) { e.After = nil }, ""},
		"one daemon is there": {func(e *diagnose.Evidence) {
			f := e.Facts["b"]
			f.FRR = &hostapi.FRRFacts{Daemons: runs.Daemons[:1]}
			e.Facts["b"] = f
		}, "bgp b zebra do not run"},
		"no session": {func(e *diagnose.Evidence) { e.After["b"] = hostapi.Inspection{BGP: says("Active", end(2))} }, "bgp b no BGP session"},
		"the reflector knows another password": {func(e *diagnose.Evidence) {
			e.After["b"] = hostapi.Inspection{BGP: says("Connect", end(2))}
			e.Before["r"] = hostapi.Inspection{Counters: map[string]uint64{hostapi.CounterMD5Failure: 3}}
			e.After["r"] = hostapi.Inspection{Counters: map[string]uint64{hostapi.CounterMD5Failure: 4}}
		}, "bgp b password differs"},
		"signatures that failed before": {func(e *diagnose.Evidence) {
			e.After["b"] = hostapi.Inspection{BGP: says("Connect", end(2))}
			e.Before["r"] = hostapi.Inspection{Counters: map[string]uint64{hostapi.CounterMD5Failure: 3}}
			e.After["r"] = e.Before["r"]
		}, "bgp b no BGP session"},
		"another number": {func(e *diagnose.Evidence) {
			state := says("Idle", end(1))
			state.Peers[0].Reason = "OPEN Message Error/Bad Peer AS"
			e.After["a"] = hostapi.Inspection{BGP: state}
		}, "bgp a numbers differ"},
		"it tells nobody":   {func(e *diagnose.Evidence) { e.After["a"] = hostapi.Inspection{BGP: says("Established", end(2))} }, "bgp a tells nobody of VNI 100"},
		"it knows no route": {func(e *diagnose.Evidence) { e.After["a"] = hostapi.Inspection{BGP: says("Established")} }, "bgp a tells nobody of VNI 100"},
		"nothing was said of the VNI": {func(e *diagnose.Evidence) {
			e.After["a"] = hostapi.Inspection{BGP: &hostapi.BGPState{Peers: says("Established").Peers}, Entries: entries}
		}, ""},
		"it was not told":    {func(e *diagnose.Evidence) { e.After["a"] = hostapi.Inspection{BGP: says("Established", end(1))} }, "bgp a no route to the tunnel end of b"},
		"told and not known": {func(e *diagnose.Evidence) { e.After["b"] = hostapi.Inspection{BGP: says("Established", all...)} }, "fdb b the flood list of VTEP vx100 lacks a"},
	} {
		t.Run(name, func(t *testing.T) {
			found := diagnose.Findings(lab, []report.Probe{probe}, evidence(c.change))
			if c.want == "" {
				if len(found) > 0 {
					t.Errorf("found %+v, want nothing", found)
				}
				return
			}
			words := strings.SplitN(c.want, " ", 3)
			if len(found) != 1 || found[0].Layer != words[0] || found[0].Host != words[1] || !strings.Contains(found[0].Cause, words[2]) || found[0].Mend == "" {
				t.Errorf("found %+v, want %q and what mends it", found, c.want)
			}
		})
	}
	if hosts := diagnose.Hosts(lab, []report.Probe{probe}); !slices.Equal(hosts, []string{"a", "b", "r"}) {
		t.Errorf("hosts %q, want the reflector, too", hosts)
	}
	if q := diagnose.BGPQuery(lab, "a", ground); q == nil || !slices.Equal(q.Peers, []netip.Addr{end(3)}) || !slices.Equal(q.VNIs, []int{100}) {
		t.Errorf("a is asked %+v", q)
	}
}
