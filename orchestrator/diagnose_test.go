package orchestrator_test

import (
	"context"
	"strings"
	"testing"

	"vxorch/orchestrator"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// layers lists "LAYER HOST" of what was found.
func layers(o orchestrator.Outcome) string {
	var out []string
	for _, f := range o.Result.Findings {
		out = append(out, f.Layer+" "+f.Host)
	}
	return strings.Join(out, ", ")
}

func TestVerifySaysWhyProbesFailed(t *testing.T) {
	b, fabric := fabricOf(t, "a", "b", "c")
	lab := b.lab("lu", "", "a", "b", "c")
	if o := b.deploy(lab); len(o.Errs) > 0 || len(o.Result.Findings) > 0 {
		t.Fatalf("deploy: %v, findings %+v", o.Errs, o.Result.Findings)
	}
	fabric.Separate(b.machines["a"], b.machines["b"])
	o := b.control.Verify(t.Context(), lab)
	if layers(o) != "underlay a, underlay b" && layers(o) != "underlay b, underlay a" && layers(o) != "underlay a" {
		t.Errorf("found %q, want the underlay between a and b", layers(o))
	}
	if o.Result.Result != report.Fail || len(o.Errs) > 0 {
		t.Errorf("result %s, errors %v; want a failure without an error", o.Result.Result, o.Errs)
	}
	for _, f := range o.Result.Findings {
		for _, at := range f.Probes {
			if p := o.Result.Probes[at]; p.Result != report.Fail || p.FromHost != f.Host && p.ToHost != f.Host {
				t.Errorf("finding on %s has probe %+v", f.Host, p)
			}
		}
	}
}

// A host that dies while it is looked into fails nobody: the probes have failed,
// and that is all that there is to say.
func TestDiagnosisThatFailsFailsNobody(t *testing.T) {
	for _, at := range []hosttest.Moment{hosttest.BeforeInspect, hosttest.BeforeCheck, hosttest.BeforeSend, hosttest.BeforeHeard} {
		b, fabric := fabricOf(t, "a", "b")
		lab := b.lab("lu", "", "a", "b")
		b.deploy(lab)
		fabric.Separate(b.machines["a"], b.machines["b"])
		b.machines["b"].SetFault(func(_ context.Context, now hosttest.Moment, _ *hostapi.Step) error {
			if now == at {
				return hosttest.ErrCut
			}
			return nil
		})
		if o := b.control.Verify(t.Context(), lab); len(o.Errs) > 0 || o.Result.Result != report.Fail {
			t.Errorf("cut before %s: result %s, errors %v; want a failure without an error", at, o.Result.Result, o.Errs)
		}
	}
}

// A lab without failures is asked nothing.
func TestHealthyLabCostsNoDiagnosis(t *testing.T) {
	b, _ := fabricOf(t, "a", "b")
	lab := b.lab("lu", "", "a", "b")
	b.machines["a"].SetFault(func(_ context.Context, now hosttest.Moment, _ *hostapi.Step) error {
		if now == hosttest.BeforeInspect || now == hosttest.BeforeCheck {
			t.Errorf("asked before %s", now)
		}
		return nil
	})
	b.deploy(lab)
	b.control.Verify(t.Context(), lab)
}
