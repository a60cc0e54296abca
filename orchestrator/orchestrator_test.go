package orchestrator_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/orchestrator/images"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// objectsPerHost is what the four-line lab has on a host: VTEP, bridge, namespace
// and veth.
const objectsPerHost = 4

func TestDeployBuildsAndProvesTheLab(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	lab := b.lab("try", "", "a", "b", "c")
	o := b.deploy(lab)
	b.passes(o, 3*objectsPerHost)
	want := map[string]int{"vtep pass": 6, "container pass": 6}
	if diff := cmp.Diff(want, stages(o)); diff != "" {
		t.Errorf("probes by stage (-want +got):\n%s", diff)
	}
	b.notLocked("try")
	for _, m := range b.machines {
		for _, object := range m.Objects() {
			if strings.HasPrefix(object, "address 192.168.100.") {
				t.Errorf("the VTEP proof left %s", object)
			}
		}
	}
}

func TestSecondDeployChangesNothingAndStillProves(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	b.passes(b.deploy(lab), 2*objectsPerHost)
	o := b.deploy(lab)
	b.passes(o, 0)
	if diff := cmp.Diff(map[string]int{"container pass": 2}, stages(o)); diff != "" {
		t.Errorf("probes by stage (-want +got):\n%s", diff)
	}
	if got := o.Result.Topology.Networks[0].Unproved; got == "" {
		t.Error("the result does not say why there is no VTEP proof")
	}
	for _, h := range o.Result.Hosts {
		if !slices.ContainsFunc(h.Stages, func(s report.Stage) bool { return s.Name == plan.PhaseVTEPProof && s.Result == report.Skipped }) {
			t.Errorf("%s has no skipped stage %s: %+v", h.Name, plan.PhaseVTEPProof, h.Stages)
		}
	}
}

func TestPlanIsWhatDeployDoes(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	before := b.machines["a"].Objects()
	planned := b.control.Plan(t.Context(), lab)
	if diff := cmp.Diff(before, b.machines["a"].Objects()); diff != "" {
		t.Errorf("plan changed the host (-before +after):\n%s", diff)
	}
	o := b.deploy(lab)
	if diff := cmp.Diff(planned.Plan.Phases, o.Plan.Phases, cmp.Comparer(func(x, y netip.Addr) bool { return x == y }), cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })); diff != "" {
		t.Errorf("deploy ran another plan (-planned +run):\n%s", diff)
	}
	if got := planned.Plan.Changes(); got != o.Result.Changed {
		t.Errorf("plan forecasts %d changes, deploy made %d", got, o.Result.Changed)
	}
	if again := b.control.Plan(t.Context(), lab); again.Plan.Changes() != 0 {
		t.Errorf("after deploy the plan still has %d changes", again.Plan.Changes())
	}
}

func TestHostThatJoinsLaterGetsItsVTEPProof(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.passes(b.deploy(b.lab("try", "", "a", "b")), 2*objectsPerHost)
	o := b.deploy(b.lab("try", "", "a", "b", "c"))
	b.passes(o, objectsPerHost)
	// Both ways between c and each of the others; a and b are proved already.
	if got := stages(o)["vtep pass"]; got != 4 {
		t.Errorf("%d VTEP proofs passed, want 4", got)
	}
}

func TestDeployConvergesFromDrift(t *testing.T) {
	for name, drift := range map[string]func(*hosttest.Machine){
		"bridge down":      func(m *hosttest.Machine) { m.Edit("", "try-br0", func(l *hostapi.Link) { l.Up = false }) },
		"bridge gone":      func(m *hosttest.Machine) { m.RemoveLink("", "try-br0") },
		"VTEP gone":        func(m *hosttest.Machine) { m.RemoveLink("", "vx100") },
		"VTEP out of it":   func(m *hosttest.Machine) { m.Edit("", "vx100", func(l *hostapi.Link) { l.Master = "" }) },
		"another VNI":      func(m *hosttest.Machine) { m.Edit("", "vx100", func(l *hostapi.Link) { l.VXLAN.VNI = 7 }) },
		"another MTU":      func(m *hosttest.Machine) { m.Edit("", "vx100", func(l *hostapi.Link) { l.MTU = 1400 }) },
		"container's down": func(m *hosttest.Machine) { m.Edit("try-cn-a-1", "eth0", func(l *hostapi.Link) { l.Up = false }) },
		"no address":       func(m *hosttest.Machine) { m.Edit("try-cn-a-1", "eth0", func(l *hostapi.Link) { l.Addresses = nil }) },
		"veth gone":        func(m *hosttest.Machine) { m.RemoveLink("try-cn-a-1", "eth0") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "a", "b")
			lab := b.lab("try", "", "a", "b")
			b.passes(b.deploy(lab), 2*objectsPerHost)
			drift(b.machines["a"])
			o := b.deploy(lab)
			if len(o.Errs) > 0 || o.Result.Result != report.Pass || o.Result.Changed == 0 {
				t.Fatalf("deploy after drift: result %s, %d changed, errors %v, probes %+v",
					o.Result.Result, o.Result.Changed, o.Errs, o.Result.Probes)
			}
			b.passes(b.deploy(lab), 0)
		})
	}
}

func TestDestroyLeavesNothingAndTwiceIsFine(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	b.deploy(lab)
	o := b.control.Destroy(t.Context(), lab, yes)
	b.passes(o, 2*objectsPerHost) // VTEP, bridge, namespace, veth
	b.nothingStands()
	b.notLocked("try")
	asked := func(plan.Plan) error { t.Error("asked although nothing is there"); return nil }
	b.passes(b.control.Destroy(t.Context(), lab, asked), 0)
}

func TestDestroyTakesOnlyItsOwn(t *testing.T) {
	b := newBench(t, "a", "b")
	first := b.lab("try", "", "a", "b")
	second := b.lab("other", "networks: {o: {vni: 200, subnet: 10.9.0.0/24}}\ncontainers: {x: {hosts: all}}\n", "a", "b")
	b.passes(b.deploy(second), 2*objectsPerHost)
	before := b.machines["a"].Objects()
	b.passes(b.deploy(first), 2*objectsPerHost)
	b.passes(b.control.Destroy(t.Context(), first, yes), 2*objectsPerHost)
	if diff := cmp.Diff(before, b.machines["a"].Objects()); diff != "" {
		t.Errorf("the other lab changed (-before +after):\n%s", diff)
	}
}

func TestRefusalToDestroyChangesNothing(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	b.deploy(lab)
	before := b.machines["a"].Objects()
	no := errors.New("no")
	o := b.control.Destroy(t.Context(), lab, func(plan.Plan) error { return no })
	if len(o.Errs) != 1 || !errors.Is(o.Errs[0], no) {
		t.Errorf("errors are %v, want the refusal", o.Errs)
	}
	if diff := cmp.Diff(before, b.machines["a"].Objects()); diff != "" {
		t.Errorf("a refused destroy changed the host (-before +after):\n%s", diff)
	}
	b.notLocked("try")
}

func TestWorkloadsThatLeftTheInventoryGoAfterAQuestion(t *testing.T) {
	b := newBench(t, "a", "b")
	b.deploy(b.lab("try", "", "a", "b"))
	smaller := b.lab("try", "networks: {try-br0: {}}\ncontainers: {cn-a-1: {host: a}}\n", "a", "b")
	var asked []plan.Removal
	o := b.control.Deploy(t.Context(), smaller, func(p plan.Plan) error { asked = p.Removals; return nil })
	b.passes(o, 2) // veth and namespace
	want := []plan.Removal{{
		Host: "b", Kind: hostapi.KindNamespace, Name: "try-cn-b-1",
		Mark: hostapi.Mark{Lab: "try", For: "cn-b-1", User: "alice", Controller: "laptop"},
	}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked about (-want +got):\n%s", diff)
	}
}

func TestForeignObjectStopsDeployBeforeAnyChangeAnywhere(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(*hosttest.Machine)
		want  string
	}{
		"link of a wanted name":      {func(m *hosttest.Machine) { m.PlantLink(hostapi.Link{Name: "try-br0"}) }, "bridge try-br0 exists already"},
		"namespace of a wanted name": {func(m *hosttest.Machine) { m.PlantNamespace("try-cn-b-1") }, "namespace try-cn-b-1 exists already"},
		"VTEP with the same VNI and port": {func(m *hosttest.Machine) {
			m.PlantLink(hostapi.Link{Name: "flannel.1", Kind: "vxlan", VXLAN: &hostapi.VXLAN{VNI: 100, Port: 4789}})
		}, "vni 100 on udp port 4789 is taken by flannel.1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "a", "b")
			c.plant(b.machines["b"])
			beforeA, beforeB := b.machines["a"].Objects(), b.machines["b"].Objects()
			o := b.deploy(b.lab("try", "", "a", "b"))
			var problem *plan.Problem
			if len(o.Errs) != 1 || !errors.As(o.Errs[0], &problem) || problem.Host != "b" || !strings.Contains(problem.Message, c.want) {
				t.Fatalf("errors are %v, want one of b with %q", o.Errs, c.want)
			}
			if diff := cmp.Diff(beforeA, b.machines["a"].Objects()) + cmp.Diff(beforeB, b.machines["b"].Objects()); diff != "" {
				t.Errorf("something changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestOneUnreachableHostDoesNotStopTheOthers(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.dead["c"] = &hostapi.Error{Kind: hostapi.KindUnreachable, Message: "connection refused", Hint: "start sshd"}
	o := b.deploy(b.lab("try", "", "a", "b", "c"))
	if len(o.Errs) != 1 || !errors.Is(o.Errs[0], hostapi.ErrUnreachable) || !strings.HasPrefix(o.Errs[0].Error(), "c: connect: ") {
		t.Errorf("errors are %v, want c's alone", o.Errs)
	}
	results := map[string]string{}
	for _, h := range o.Result.Hosts {
		results[h.Name] = h.Result
	}
	if diff := cmp.Diff(map[string]string{"a": "ok", "b": "ok", "c": "unreachable"}, results); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	want := map[string]int{"vtep pass": 2, "container pass": 2, "container skipped": 4}
	if diff := cmp.Diff(want, stages(o)); diff != "" {
		t.Errorf("probes by stage (-want +got):\n%s", diff)
	}
	if o.Result.Result != report.Fail {
		t.Errorf("result is %s, want fail", o.Result.Result)
	}
}

func TestHostThatFailsHalfWayDropsOutAndCanBeDeployedAgain(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	lab := b.lab("try", "", "a", "b", "c")
	b.machines["c"].SetFault(func(_ context.Context, at hosttest.Moment, step *hostapi.Step) error {
		if at == hosttest.BeforeStep && step.Bridge != nil {
			return &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "no bridges here"}
		}
		return nil
	})
	o := b.deploy(lab)
	if len(o.Errs) != 1 || !errors.Is(o.Errs[0], hostapi.ErrUnsupported) {
		t.Fatalf("errors are %v, want c's alone", o.Errs)
	}
	want := map[string]int{"vtep pass": 6, "container pass": 2, "container skipped": 4}
	if diff := cmp.Diff(want, stages(o)); diff != "" {
		t.Errorf("probes by stage (-want +got):\n%s", diff)
	}
	b.machines["c"].SetFault(nil)
	if o := b.deploy(lab); o.Result.Result != report.Pass {
		t.Errorf("deploy after the fault: %s, %v", o.Result.Result, o.Errs)
	}
	b.control.Destroy(t.Context(), lab, yes)
	b.nothingStands()
}

func TestProbeThatIsLostIsAResultAndNoError(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	b.deploy(lab)
	b.machines["b"].Edit("try-cn-b-1", "eth0", func(l *hostapi.Link) { l.Up = false })
	o := b.control.Verify(t.Context(), lab)
	if len(o.Errs) != 0 || o.Result.Result != report.Fail {
		t.Errorf("verify gives %s and errors %v, want fail without errors", o.Result.Result, o.Errs)
	}
}

func TestLockedLabIsLeftAloneEverywhere(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	holder := b.machines["a"].Open()
	defer func() { _ = holder.Close() }()
	lock := &hostapi.Holder{User: "bob", Controller: "ci", Verb: "deploy"}
	if _, err := holder.Observe(t.Context(), hostapi.ObserveRequest{Lab: "try", Lock: lock}); err != nil {
		t.Fatal(err)
	}
	before := b.machines["b"].Objects()
	o := b.deploy(lab)
	if len(o.Errs) == 0 || !errors.Is(o.Errs[0], hostapi.ErrLocked) || !strings.Contains(o.Errs[0].Error(), "bob@ci") {
		t.Errorf("errors are %v, want one that names bob@ci", o.Errs)
	}
	if diff := cmp.Diff(before, b.machines["b"].Objects()); diff != "" {
		t.Errorf("b changed (-before +after):\n%s", diff)
	}
	if o := b.control.Plan(t.Context(), lab); len(o.Errs) != 0 {
		t.Errorf("plan does not wait for the lock, but gave %v", o.Errs)
	}
}

func TestInterruptedDeployCanBeDeployedAndDestroyed(t *testing.T) {
	b := newBench(t, "a", "b")
	lab := b.lab("try", "", "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	b.machines["a"].SetFault(func(_ context.Context, at hosttest.Moment, step *hostapi.Step) error {
		if at == hosttest.BeforeStep && step.Veth != nil {
			cancel()
		}
		return nil
	})
	o := b.control.Deploy(ctx, lab, yes)
	if o.Result.Result != report.Fail {
		t.Errorf("result is %s, want fail", o.Result.Result)
	}
	interrupted := 0
	for _, h := range o.Result.Hosts {
		if h.Result == report.Interrupted {
			interrupted++
		}
	}
	if interrupted == 0 {
		t.Errorf("no host is interrupted: %+v", o.Result.Hosts)
	}
	b.machines["a"].SetFault(nil)
	b.notLocked("try")
	if o := b.deploy(lab); o.Result.Result != report.Pass {
		t.Errorf("deploy after the interruption: %v", o.Errs)
	}
	b.control.Destroy(t.Context(), lab, yes)
	b.nothingStands()
}

const twoVMs = `
containers: {cn: {hosts: all}}
images: {i: {path: /i.qcow2, login: {user: cirros, password: gocubsgo}}}
vms: {vm: {hosts: all, image: i}}
`

// withImage puts the file of twoVMs on every machine.
func (b *bench) withImage() {
	for _, m := range b.machines {
		m.PlantImage("/i.qcow2")
	}
}

func TestVMsComeAndAreProvedFromInside(t *testing.T) {
	b := newBench(t, "a", "b")
	b.withImage()
	lab := b.lab("try", twoVMs, "a", "b")
	perHost := objectsPerHost + 2 // libvirt network and domain
	o := b.deploy(lab)
	b.passes(o, 2*perHost)
	want := map[string]int{"vtep pass": 2, "container pass": 2, "vm pass": 2, "mesh pass": 8}
	if diff := cmp.Diff(want, stages(o)); diff != "" {
		t.Errorf("probes by stage (-want +got):\n%s", diff)
	}
	b.passes(b.deploy(lab), 0)
	b.passes(b.control.Destroy(t.Context(), lab, yes), 2*perHost)
	b.nothingStands()
}

func TestOnlyADeployOpensTheConsolesOfRunningVMsAhead(t *testing.T) {
	b := newBench(t, "a", "b")
	b.withImage()
	lab := b.lab("try", `
images: {i: {path: /i.qcow2, login: {user: cirros, password: gocubsgo}}, mute: {path: /i.qcow2}}
vms: {vm: {hosts: all, image: i}, mute: {host: a, image: mute}}
`, "a", "b")
	opened := func(when string, want map[string][]string) {
		t.Helper()
		got := map[string][]string{}
		for name, m := range b.machines {
			if domains := m.OpenedAhead(); len(domains) > 0 {
				got[name] = domains
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("opened %s (-want +got):\n%s", when, diff)
		}
	}
	none := map[string][]string{}
	b.deploy(lab)
	opened("by the deploy that makes the VMs", none)
	b.control.Plan(t.Context(), lab)
	b.control.Check(t.Context(), lab)
	b.control.Status(t.Context(), lab)
	b.control.Verify(t.Context(), lab)
	opened("by what changes nothing", none)
	b.passes(b.deploy(lab), 0)
	once := map[string][]string{"a": {"try-vm-a-1"}, "b": {"try-vm-b-1"}}
	opened("by the second deploy", once)
	b.control.Destroy(t.Context(), lab, yes)
	opened("after a destroy", once)
}

func TestVMsThatLeftTheInventoryGoEvenIfNoneIsLeft(t *testing.T) {
	b := newBench(t, "a", "b")
	b.withImage()
	b.deploy(b.lab("try", twoVMs, "a", "b"))
	var asked []string
	o := b.control.Deploy(t.Context(), b.lab("try", "", "a", "b"), func(p plan.Plan) error {
		for _, r := range p.Removals {
			asked = append(asked, r.Host+" "+r.Kind+" "+r.Mark.For)
		}
		return nil
	})
	b.passes(o, 4)
	if diff := cmp.Diff([]string{"a domain vm-a-1", "b domain vm-b-1"}, asked); diff != "" {
		t.Errorf("asked about (-want +got):\n%s", diff)
	}
}

func TestSilentGuestFailsItsHostAndTheContainersAreProvedAllTheSame(t *testing.T) {
	b := newBench(t, "a", "b")
	b.withImage()
	b.machines["b"].SetGuests(hosttest.GuestsSilent)
	o := b.deploy(b.lab("try", twoVMs, "a", "b"))
	if len(o.Errs) != 1 || !strings.HasPrefix(o.Errs[0].Error(), "b: guest: ") {
		t.Errorf("errors are %v, want one of b's guest", o.Errs)
	}
	got := stages(o)
	if got["container pass"] != 2 || got["vtep pass"] != 2 || got["mesh pass"] == 0 {
		t.Errorf("probes by stage: %v, want the containers' passed, and those of a's VM on a", got)
	}
}

func TestSilentGuestKeepsNoOtherFromBeingProved(t *testing.T) {
	b := newBench(t, "a", "b")
	b.withImage()
	b.machines["b"].SilenceGuest("try-dead")
	more := strings.Replace(twoVMs, "image: i}}", "image: i}, dead: {host: b}, gone: {host: b}}", 1)
	lab := b.lab("try", more, "a", "b")
	b.machines["b"].SilenceGuest("try-gone")
	o := b.deploy(lab)
	var errs []string
	for _, err := range o.Errs {
		errs = append(errs, err.Error())
	}
	if len(errs) != 2 || !strings.HasPrefix(errs[0], "b: guest: await guest try-dead: ") || !strings.HasPrefix(errs[1], "b: guest: await guest try-gone: ") {
		t.Errorf("errors are %q, want one a guest that names host, step and guest", errs)
	}
	for _, h := range o.Result.Hosts {
		if (h.Name == "b") != (h.Result == report.Failed && strings.Contains(h.Error, "try-dead") && strings.Contains(h.Error, "try-gone") && h.Hint != "") {
			t.Errorf("%s: %s, %q, hint %q; want b failed with both guests", h.Name, h.Result, h.Error, h.Hint)
		}
	}
	for _, p := range o.Result.Probes {
		dead := slices.Contains([]string{"dead", "gone"}, p.From) || slices.Contains([]string{"dead", "gone"}, p.To)
		switch {
		case dead && (p.Result != report.Skipped || !strings.Contains(p.Error, "on b did not answer")):
			t.Errorf("%s to %s: %s %q, want it skipped with the reason", p.From, p.To, p.Result, p.Error)
		case !dead && p.Result != report.Pass:
			t.Errorf("%s to %s: %s %q, want it passed", p.From, p.To, p.Result, p.Error)
		}
	}
}

func TestVMThatCannotBeMadeKeepsNoOtherFromBeingMadeAndProved(t *testing.T) {
	b := newBench(t, "a", "b")
	b.withImage()
	lab := b.lab("try", strings.Replace(twoVMs, "image: i}}", "image: i}, bad: {host: b}, zoo: {host: b}}", 1), "a", "b")
	b.machines["b"].SetFault(func(_ context.Context, at hosttest.Moment, step *hostapi.Step) error {
		if at == hosttest.BeforeStep && step.Domain != nil && step.Domain.Name == "try-bad" {
			return errors.New("no room")
		}
		return nil
	})
	o := b.deploy(lab)
	if len(o.Errs) != 1 || !strings.HasPrefix(o.Errs[0].Error(), "b: vm: ") || !strings.Contains(o.Errs[0].Error(), "no room") {
		t.Errorf("errors are %v, want that of one VM alone", o.Errs)
	}
	for _, p := range o.Result.Probes {
		switch bad := p.From == "bad" || p.To == "bad"; {
		case bad && (p.Result != report.Skipped || p.Error != "bad on b was not made"):
			t.Errorf("%s to %s: %s %q, want it skipped since the VM was not made", p.From, p.To, p.Result, p.Error)
		case !bad && p.Result != report.Pass:
			t.Errorf("%s to %s: %s %q, want it passed", p.From, p.To, p.Result, p.Error)
		}
	}
	b.machines["b"].SetFault(nil)
	if o := b.deploy(lab); o.Result.Result != report.Pass || o.Result.Changed != 1 {
		t.Errorf("afterwards: %s, %d changed, %v; want the one VM", o.Result.Result, o.Result.Changed, o.Errs)
	}
}

func TestHostWithoutLibvirtKeepsNothingElseFromStanding(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.withImage()
	b.machines["c"].StopLibvirt()
	lab := b.lab("try", twoVMs, "a", "b", "c")
	o := b.deploy(lab)
	if len(o.Errs) != 1 || o.Errs[0].Error() != "c: vm: cannot run VMs: libvirt does not answer" {
		t.Errorf("errors are %v, want one of c's VMs", o.Errs)
	}
	var host *hostapi.Error
	if len(o.Errs) > 0 && (!errors.As(o.Errs[0], &host) || !strings.Contains(host.Hint, "vxorch prepare")) {
		t.Errorf("hint %q, want vxorch prepare", host.Hint)
	}
	for _, p := range o.Result.Probes {
		if dead := strings.HasPrefix(p.From, "vm-c") || strings.HasPrefix(p.To, "vm-c"); dead != (p.Result == report.Skipped) || !dead && p.Result != report.Pass {
			t.Errorf("%s to %s: %s %q, want all passed but those of c's VM skipped", p.From, p.To, p.Result, p.Error)
		}
	}
	planned := b.control.Plan(t.Context(), lab)
	if len(planned.Errs) != 1 || planned.Errs[0].Error() != "c: plan: cannot run VMs: libvirt does not answer" {
		t.Errorf("a plan's errors are %v, want the same of c", planned.Errs)
	}
}

func TestImageOfAURLIsFetchedOnceShownAndSentToEachHost(t *testing.T) {
	b := newBench(t, "a", "b")
	content := bytes.Repeat([]byte("image"), 1<<20)
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.ServeContent(w, r, "image", time.Unix(0, 0), bytes.NewReader(content))
	}))
	defer server.Close()
	b.control.Images = images.Cache{Dir: t.TempDir()}
	vms := "containers: {cn: {hosts: all}}\nimages: {i: {url: \"" + server.URL + "/i.qcow2\", login: {user: cirros, password: gocubsgo}}}\nvms: {vm: {hosts: all}}\n"
	lab := b.lab("try", vms, "a", "b")
	b.passes(b.deploy(lab), 2*(objectsPerHost+3)) // image, libvirt network, domain
	b.passes(b.deploy(lab), 0)
	if got := asked.Load(); got != 1 {
		t.Errorf("the server was asked %d times, want once", got)
	}
	for name, m := range b.machines {
		if got := m.Images(); len(got) != 1 {
			t.Errorf("%s has images %v, want one", name, got)
		}
	}
	shown := slices.ContainsFunc(b.events, func(e run.Event) bool {
		return e.Host == run.Here && e.Stage == "image i" && e.Bytes > 0 && e.Bytes == e.Total
	})
	if !shown {
		t.Error("no event shows how far the fetch is")
	}
}

func TestImageThatCannotBeSentConcernsTheVMsAlone(t *testing.T) {
	b := newBench(t, "a", "b")
	file := filepath.Join(t.TempDir(), "i.qcow2")
	if err := os.WriteFile(file, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.control.Images = images.Cache{Dir: t.TempDir()}
	b.machines["b"].SetFault(func(_ context.Context, at hosttest.Moment, _ *hostapi.Step) error {
		if at == hosttest.BeforeImage {
			return &hostapi.Error{Kind: hostapi.KindBusy, Message: "the disk is full"}
		}
		return nil
	})
	lab := b.lab("try", "containers: {cn: {hosts: all}}\nimages: {i: {file: \""+file+"\", login: {user: u, password: p}}}\nvms: {vm: {hosts: all}}\n", "a", "b")
	o := b.deploy(lab)
	if len(o.Errs) != 1 || !strings.HasPrefix(o.Errs[0].Error(), "b: image: image i: ") {
		t.Errorf("errors are %v, want one of b's image", o.Errs)
	}
	for _, p := range o.Result.Probes {
		if dead := strings.HasPrefix(p.From, "vm-b") || strings.HasPrefix(p.To, "vm-b"); dead != (p.Result == report.Skipped) || !dead && p.Result != report.Pass {
			t.Errorf("%s to %s: %s %q, want all passed but those of b's VM skipped", p.From, p.To, p.Result, p.Error)
		}
	}
}
