package orchestrator_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/orchestrator"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// evpn is a network whose tables FRR fills, with a container on every host.
const evpn = "networks: {n: {flood: evpn}}\ncontainers: {cn: {hosts: all}}\n"

// evpnObjects is what that has on a host: the four, and the control plane.
const evpnObjects = objectsPerHost + 1

func TestEVPNStandsIsProvedAndGoes(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.control.Parallel = 1 // nobody waits for another's routes before that one has begun
	lab := b.lab("try", evpn, "a", "b")
	o := b.deploy(lab)
	b.passes(o, 2*evpnObjects)
	for _, h := range o.Result.Hosts {
		for _, stage := range []string{plan.PhaseVTEPRoutes, plan.PhaseRoutes} {
			i := slices.IndexFunc(h.Stages, func(s report.Stage) bool { return s.Name == stage })
			if i < 0 || len(h.Stages[i].Notes) != 1 || !strings.Contains(h.Stages[i].Notes[0], "knows tunnel ends: 1") {
				t.Errorf("%s: stage %s is not in its result with what came: %+v", h.Name, stage, h.Stages)
			}
		}
	}
	b.passes(b.deploy(lab), 0)
	larger := b.lab("try", evpn, "a", "b", "c")
	o = b.deploy(larger)
	b.passes(o, evpnObjects)
	for _, h := range o.Result.Hosts {
		if h.Name != "c" && h.Changed != 0 {
			t.Errorf("%s has %d changes since c has joined", h.Name, h.Changed)
		}
	}
	b.passes(b.control.Destroy(t.Context(), larger, yes), 3*evpnObjects)
	b.nothingStands()
}

func TestControlPlaneThatDiedIsMended(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", evpn, "a", "b")
	b.deploy(lab)
	b.machines["a"].KillFRR("try")
	if o := b.control.Verify(t.Context(), lab); o.Result.Result != report.Fail {
		t.Error("without it the lab is said to work")
	}
	b.passes(b.deploy(lab), 1)
}

func TestControlPlaneGoesWithTheMode(t *testing.T) {
	b := newBench(t, "a", "b")
	b.deploy(b.lab("try", evpn, "a", "b"))
	static := strings.Replace(evpn, "evpn", "static", 1)
	if o := b.deploy(b.lab("try", static, "a", "b")); o.Result.Result != report.Pass {
		t.Errorf("to static: %v", o.Errs)
	}
	if objects := b.machines["a"].Objects(); slices.Contains(objects, "control plane of try") {
		t.Errorf("it still stands: %q", objects)
	}
	if o := b.deploy(b.lab("try", evpn, "a", "b")); o.Result.Result != report.Pass {
		t.Errorf("and back: %v", o.Errs)
	}
}

func TestDeployCutOffAtItsControlPlaneGoesOnAndGoes(t *testing.T) {
	for name, at := range map[string]hosttest.Moment{"before it": hosttest.BeforeStep, "half-way": hosttest.BeforeMark} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "a", "b")
			lab := b.lab("try", evpn, "a", "b")
			b.machines["a"].SetFault(func(_ context.Context, now hosttest.Moment, step *hostapi.Step) error {
				if now == at && step.FRR != nil {
					return hosttest.ErrCut
				}
				return nil
			})
			if o := b.deploy(lab); o.Result.Result != report.Fail {
				t.Errorf("result %s, want fail", o.Result.Result)
			}
			b.machines["a"].SetFault(nil)
			if o := b.deploy(lab); o.Result.Result != report.Pass {
				t.Errorf("deploy after the cut: %v", o.Errs)
			}
			b.control.Destroy(t.Context(), lab, yes)
			b.nothingStands()
		})
	}
}

func TestRollbackTakesTheControlPlaneAway(t *testing.T) {
	b := newBench(t, "a", "b")
	b.control.Rollback = true
	b.machines["b"].SetFault(func(_ context.Context, now hosttest.Moment, step *hostapi.Step) error {
		if now == hosttest.BeforeStep && step.Veth != nil && step.Op == hostapi.Create {
			return &hostapi.Error{Kind: hostapi.KindInternal, Message: "no"}
		}
		return nil
	})
	if o := b.deploy(b.lab("try", evpn, "a", "b")); o.Result.Result != report.Fail {
		t.Errorf("result %s, want fail", o.Result.Result)
	}
	b.nothingStands()
}

func TestHostsWithoutFRROrWithAnotherAreRefused(t *testing.T) {
	fabric := hosttest.NewFabric()
	b := newBench(t)
	b.machines["a"] = fabric.NewMachine("a", hosttest.MachineOptions{})
	b.machines["b"] = fabric.NewMachine("b", hosttest.MachineOptions{NoFRR: true})
	lab := b.lab("try", evpn, "a", "b")
	b.machines["a"].PlantFRR()
	o := b.deploy(lab)
	if len(o.Errs) != 2 || !strings.Contains(o.Errs[0].Error(), "an FRR of its own") || !strings.Contains(o.Errs[1].Error(), "has no FRR") {
		t.Errorf("errors %v, want one of each host", o.Errs)
	}
	b.nothingStands()
	b.control.Prepare(t.Context(), lab, func(lacks []orchestrator.Lack) error {
		if len(lacks) != 1 || lacks[0].Host != "b" || cmp.Diff([]string{"frr"}, lacks[0].Packages) != "" {
			t.Errorf("lacking: %+v", lacks)
		}
		return nil
	})
	if o := b.deploy(lab); len(o.Errs) != 1 {
		t.Errorf("errors %v, want that of a alone", o.Errs)
	}
}

// joining is evpn by the FRR that hosts run by themselves.
const joining = evpn + "evpn: {frr: existing}\n"

func TestLabJoinsTheHostsOwnFRRAndLeavesIt(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", joining, "a", "b")
	if o := b.deploy(lab); len(o.Errs) != 2 || !strings.Contains(o.Errs[0].Error(), "runs no zebra of its own") {
		t.Errorf("errors %v, want that there is none to join", o.Errs)
	}
	b.nothingStands()
	before := map[string]string{}
	for name, m := range b.machines {
		m.PlantBGP(&hostapi.HostBGP{}) // without an instance, which would listen
		before[name] = m.BGPText()
	}
	b.passes(b.deploy(lab), 2*evpnObjects)
	b.passes(b.deploy(lab), 0)
	b.machines["a"].PlantBGP(&hostapi.HostBGP{}) // it begins anew
	if o := b.control.Verify(t.Context(), lab); o.Result.Result != report.Fail {
		t.Error("without its part in a the lab is said to work")
	}
	b.passes(b.deploy(lab), 1)
	b.passes(b.control.Destroy(t.Context(), lab, yes), 2*evpnObjects)
	b.nothingStands()
	for name, m := range b.machines {
		if after := m.BGPText(); after != before[name] {
			t.Errorf("the FRR of %s has now %q, before it had %q", name, after, before[name])
		}
	}
}

func TestNothingIsInstalledForALabThatJoins(t *testing.T) {
	fabric := hosttest.NewFabric()
	b := newBench(t)
	for _, name := range []string{"a", "b"} {
		b.machines[name] = fabric.NewMachine(name, hosttest.MachineOptions{NoFRR: true})
	}
	b.control.Prepare(t.Context(), b.lab("try", joining, "a", "b"), func(lacks []orchestrator.Lack) error {
		t.Errorf("lacking: %+v", lacks)
		return nil
	})
}

func TestPasswordIsReadOnceAndNowhereKept(t *testing.T) {
	b := newBench(t, "a", "b")
	file := filepath.Join(t.TempDir(), "secret")
	lab := b.lab("try", evpn+"evpn: {password_file: "+file+"}\n", "a", "b")
	for text, want := range map[string]string{
		"":                      "holds no password",
		"two words\n":           "holds no password",
		"one\nline too many\n":  "holds no password",
		strings.Repeat("x", 81): "holds no password",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if o := b.deploy(lab); len(o.Errs) != 1 || !strings.Contains(o.Errs[0].Error(), want) {
			t.Errorf("%q: errors %v, want %q", text, o.Errs, want)
		}
	}
	b.nothingStands()
	if err := os.WriteFile(file, []byte("open-sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := b.deploy(lab)
	b.passes(o, 2*evpnObjects)
	var text strings.Builder
	if err := o.Plan.WriteJSON(&text, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := report.WriteJSON(&text, o.Result); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "sesame") {
		t.Error("the plan or the result has the password")
	}
	known, err := b.history.Hosts("try")
	if err != nil || known["a"].Facts == nil || known["a"].Facts.FRR != nil {
		t.Errorf("of a is remembered: %+v, %v; want nothing of its FRR", known["a"].Facts, err)
	}
	if err := os.WriteFile(file, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.passes(b.deploy(lab), 2)
}
