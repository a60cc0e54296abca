package orchestrator_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/orchestrator"
	"vxorch/orchestrator/report"
)

const checkedLab = `networks:
  blue: {vni: 1, subnet: 10.1.0.0/24}
  red: {vni: 2, subnet: 10.2.0.0/24}
containers:
  a1: {host: a, network: blue}
  a2: {host: a, network: blue}
  b1: {host: b, network: blue}
  b2: {host: b, network: red}
checks:
  - {from: a1, to: b1, tcp: 80}
  - {from: a2, to: b1, tcp: 80}
  - {from: a1, to: b1, max_rtt: 1s}
  - {from: a1, to: b2, expect: unreachable}
  - {from: b2, to: a1, tcp: 80, expect: unreachable}
  - {from: a1, to: b1, min_throughput: 1 Gbit/s, tcp: 80}
`

// checksOf gives the checks of an outcome, each with its result.
func checksOf(o orchestrator.Outcome) []string {
	var rows []string
	for _, p := range o.Result.Probes {
		if p.Stage == report.StageCheck {
			rows = append(rows, fmt.Sprintf("%s %d %s>%s %s", p.Kind, p.Port, p.From, p.To, p.Result))
		}
	}
	return rows
}

func TestChecksAreProvedWithTheMesh(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", checkedLab, "a", "b")
	want := []string{"ping 0 a1>b1 pass", "tcp 80 a1>b1 pass", "throughput 80 a1>b1 pass", "tcp 80 a2>b1 pass", "tcp 80 b2>a1 pass", "ping 0 a1>b2 pass"}
	deployed := b.deploy(lab)
	b.passes(deployed, deployed.Result.Changed)
	verified := b.control.Verify(t.Context(), lab)
	b.passes(verified, 0)
	for _, o := range []orchestrator.Outcome{deployed, verified} {
		if diff := cmp.Diff(want, checksOf(o)); diff != "" {
			t.Errorf("checks of %s (-want +got):\n%s", o.Result.Verb, diff)
		}
	}
}

func TestThroughputBelowTheLeastFails(t *testing.T) {
	b := newBench(t, "a", "b")
	o := b.deploy(b.lab("try", `containers:
  a1: {host: a}
  b1: {host: b}
checks: [{from: a1, to: b1, min_throughput: 1.001Gbit/s}, {from: b1, to: a1, min_throughput: 500kbit/s}]
`, "a", "b"))
	if o.Result.Result != report.Fail || len(o.Errs) > 0 || len(o.Result.Findings) > 0 {
		t.Errorf("result %s, errors %v, findings %v; want it failed without either", o.Result.Result, o.Errs, o.Result.Findings)
	}
	if diff := cmp.Diff([]string{"throughput 30000 a1>b1 fail", "throughput 30000 b1>a1 pass"}, checksOf(o)); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	for _, h := range o.Result.Hosts { // two that share their hosts follow each other
		rounds := 0
		for _, s := range h.Stages {
			if s.Name == "throughput" {
				rounds++
			}
		}
		if rounds != 2 {
			t.Errorf("host %s measured in %d rounds, want 2", h.Name, rounds)
		}
	}
}

func TestACheckThatDoesNotHoldFailsTheRunAndIsNotDiagnosed(t *testing.T) {
	b := newBench(t, "a", "b")
	o := b.deploy(b.lab("try", `containers:
  a1: {host: a}
  b1: {host: b}
checks: [{from: a1, to: b1, expect: unreachable}]
`, "a", "b"))
	if o.Result.Result != report.Fail || len(o.Errs) > 0 || len(o.Result.Findings) > 0 {
		t.Errorf("result %s, errors %v, findings %v; want it failed without either", o.Result.Result, o.Errs, o.Result.Findings)
	}
	if diff := cmp.Diff([]string{"ping 0 a1>b1 fail"}, checksOf(o)); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}
