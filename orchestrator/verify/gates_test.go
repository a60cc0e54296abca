package verify_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/orchestrator/report"
	"vxorch/orchestrator/verify"
)

func TestGates(t *testing.T) {
	ping := func(from, to string, sent, received int, ms float64) report.Probe {
		p := report.Probe{
			Kind: report.KindPing, Stage: report.StageContainer, From: from, FromHost: "h1", To: to, ToHost: "h2",
			Sent: sent, Received: received, RTT: report.RTT{Min: ms, Avg: ms, Max: ms}, Result: report.Pass,
		}
		if received == 0 {
			p.Result = report.Fail
		}
		return p
	}
	host := report.Host{Name: "h1", Stages: []report.Stage{{Name: "connect", Seconds: 0.5}, {Name: "guest", Seconds: 4}}}
	big := ping("a", "b", 3, 1, 90)
	big.Kind = report.KindMTU
	skipped := ping("a", "d", 0, 0, 0)
	skipped.Result = report.Skipped
	vtep := ping("h1", "h2", 1, 1, 7.5)
	vtep.Stage = report.StageVTEP
	duration, rtt := 5*time.Second, 2*time.Millisecond
	none, some, half := 0.0, 10.0, 50.0

	for name, c := range map[string]struct {
		limits verify.Limits
		run    report.Result
		want   []string
	}{
		"none": {verify.Limits{}, report.Result{Seconds: 100}, nil},
		"kept": {
			verify.Limits{Duration: &duration, Loss: &none, RTT: &rtt},
			report.Result{Seconds: 5, Hosts: []report.Host{host}, Probes: []report.Probe{ping("a", "b", 1, 1, 2), ping("b", "a", 1, 1, 0.5), big, skipped}},
			[]string{
				"gate max-duration 5s kept: the run took 5.00 s, longest guest on h1: 4.00 s",
				"gate max-loss 0% kept: 0 of 2 requests lost, 0.0%",
				"gate max-rtt 2ms kept: longest a (h1) -> b (h2): 2.000 ms",
			},
		},
		"crossed": {
			verify.Limits{Duration: &duration, Loss: &some, RTT: &rtt},
			report.Result{Seconds: 5.01, Probes: []report.Probe{vtep, ping("a", "b", 1, 1, 2.001), ping("b", "a", 3, 1, 1), ping("c", "a", 3, 0, 0)}},
			[]string{
				"gate max-duration 5s crossed: the run took 5.01 s",
				"gate max-loss 10% crossed: 5 of 8 requests lost, 62.5%, most by c (h1) -> a (h2): 3",
				"gate max-rtt 2ms crossed: 2 of 3 answered pings took longer, longest h1 -> h2: 7.500 ms",
			},
		},
		"what could not be sent is lost": {
			verify.Limits{Loss: &half}, report.Result{Probes: []report.Probe{ping("a", "b", 0, 0, 0)}},
			[]string{"gate max-loss 50% crossed: 1 of 1 requests lost, 100.0%, most by a (h1) -> b (h2): 1"},
		},
		"no pings prove nothing": {
			verify.Limits{Loss: &half, RTT: &rtt}, report.Result{Probes: []report.Probe{skipped, big}},
			[]string{"gate max-loss 50% crossed: no ping was sent", "gate max-rtt 2ms crossed: no ping was answered"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, g := range c.limits.Gate(&c.run) {
				got = append(got, g.Line())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("gates (-want +got):\n%s", diff)
			}
		})
	}
}
