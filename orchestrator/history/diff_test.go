package history

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/orchestrator/report"
)

func TestCompare(t *testing.T) {
	base := func() *report.Result {
		probe := func(from, to string) report.Probe {
			return report.Probe{
				Kind: report.KindPing, Stage: report.StageContainer, Network: "n", From: from, To: to, Address: to, Sent: 1, Received: 1,
				RTT: report.RTT{Min: 1, Avg: 1, Max: 1}, Result: report.Pass,
			}
		}
		throughput := probe("a", "b")
		throughput.Kind, throughput.Stage, throughput.Port, throughput.RTT, throughput.Throughput = report.KindThroughput, report.StageCheck, 30000, report.RTT{Avg: 1001}, 900
		return &report.Result{
			Lab: "lu", Verb: "deploy", Result: report.Pass, Seconds: 4, Run: 1,
			Hosts: []report.Host{
				{Name: "h1", Address: "192.0.2.1", Result: report.OK, Stages: []report.Stage{{Name: "connect", Result: report.OK, Seconds: 0.1}, {Name: "guest", Result: report.OK, Seconds: 3}}},
				{Name: "h2", Address: "192.0.2.2", Result: report.OK},
			},
			Probes: []report.Probe{probe("a", "b"), probe("b", "a"), throughput},
			Topology: report.Topology{
				Networks:  []report.Network{{Name: "n", VNI: 7, Port: 4789, Flood: "multicast", Subnet: "10.0.0.0/24", MTU: 1450}},
				Endpoints: []report.Endpoint{{Name: "a", Kind: "container", Host: "h1", Network: "n", Address: "10.0.0.1"}},
			},
		}
	}
	for name, c := range map[string]struct {
		change func(r *report.Result)
		want   []string
	}{
		"nothing": {func(*report.Result) {}, nil},
		"what is not worth a word": {func(r *report.Result) {
			r.Seconds, r.Hosts[0].Stages[0].Seconds, r.Probes[0].RTT.Avg = 5.9, 0.3, 1.4
		}, nil},
		"a lost ping": {func(r *report.Result) {
			p := &r.Probes[0]
			p.Result, p.Sent, p.Received, p.Error = report.Fail, 3, 0, "no route"
		}, []string{"broke probe ping a -> b in n: pass, 1 of 1 / fail, 0 of 3 (no route)"}},
		"a host, whose pings are not tried": {func(r *report.Result) {
			r.Hosts[1].Result, r.Hosts[1].Error = report.Unreachable, "refused"
			r.Probes[0].Result, r.Probes[1].Result = report.Skipped, report.Skipped
		}, []string{"broke host h2: ok / unreachable (refused)"}},
		"times": {func(r *report.Result) {
			r.Seconds, r.Hosts[0].Stages[1].Seconds, r.Probes[1].RTT.Avg = 9, 8, 2.5
		}, []string{
			"slower run as a whole: 4.00 s / 9.00 s", "slower stage guest on h1: 3.00 s / 8.00 s",
			"slower probe ping b -> a in n: 1.00 ms / 2.50 ms",
		}},
		"throughput": {func(r *report.Result) { r.Probes[2].Throughput = 400 },
			[]string{"slower probe throughput a -> b b check of port 30000 in n: 900 Mbit/s / 400 Mbit/s"}},
		"throughput by less than half": {func(r *report.Result) { r.Probes[2].Throughput = 700 }, nil},
		"a stage of another verb":      {func(r *report.Result) { r.Verb, r.Hosts[0].Stages[1].Seconds = "verify", 8 }, nil},
		"what is new and gone": {func(r *report.Result) {
			r.Hosts[1].Name = "h3"
			r.Topology.Endpoints[0].Name = "c"
			r.Topology.Networks[0].MTU = 1400
			r.Probes = r.Probes[:1]
			r.Findings = []report.Finding{{Severity: "error", Layer: "mtu", Cause: "too big", Mend: "smaller"}}
		}, []string{
			"new host h3:  / 192.0.2.2", "new endpoint container c in n:  / 10.0.0.1 on h1", "new finding mtu on all hosts: too big:  / error (smaller)",
			"gone host h2: 192.0.2.2 / ", "gone endpoint container a in n: 10.0.0.1 on h1 / ",
			"changed network n: multicast, MTU 1450 / multicast, MTU 1400",
		}},
		"an endpoint that moved": {func(r *report.Result) { r.Topology.Endpoints[0].Host = "h2" },
			[]string{"changed endpoint container a in n: 10.0.0.1 on h1 / 10.0.0.1 on h2"}},
	} {
		t.Run(name, func(t *testing.T) {
			after := base()
			c.change(after)
			if diff := cmp.Diff(c.want, differences(Compare(base(), after))); diff != "" {
				t.Errorf("forth (-want +got):\n%s", diff)
			}
			// Back again everything is the other way round.
			back := Compare(after, base())
			if len(back.Differences) != len(c.want) {
				t.Errorf("back again: %q", differences(back))
			}
			for _, d := range back.Differences {
				if d.Change == report.Broke || d.Change == report.Slower {
					t.Errorf("back again %s: %v", d.Change, d)
				}
			}
		})
	}
}

func differences(d report.Diff) []string {
	var all []string
	for _, x := range d.Differences {
		line := fmt.Sprintf("%s %s %s: %s / %s", x.Change, x.What, x.Name, x.Before, x.After)
		if x.Why != "" {
			line += " (" + x.Why + ")"
		}
		all = append(all, line)
	}
	return all
}
