package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// fabricOf gives hosts of their own fabric to a bench.
func fabricOf(t *testing.T, hosts ...string) (*bench, *hosttest.Fabric) {
	b := newBench(t)
	fabric := hosttest.NewFabric()
	for _, h := range hosts {
		b.machines[h] = fabric.NewMachine(h, hosttest.MachineOptions{})
	}
	return b, fabric
}

func found(o orchestrator.Outcome) []string {
	var out []string
	for _, f := range o.Result.Findings {
		out = append(out, f.Severity+" "+f.Layer+" "+f.Host)
	}
	return out
}

func TestCheckFindsWhatWouldKeepALabFromWorking(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(b *bench, f *hosttest.Fabric)
		want  string // of each finding: severity, layer, host
	}{
		"nothing":                     {func(*bench, *hosttest.Fabric) {}, ""},
		"a firewall in":               {func(b *bench, _ *hosttest.Fabric) { b.machines["b"].SetFirewall(hosttest.Firewall{DropsIn: true}) }, "error firewall b"},
		"a firewall out":              {func(b *bench, _ *hosttest.Fabric) { b.machines["b"].SetFirewall(hosttest.Firewall{DropsOut: true}) }, "error firewall b"},
		"no way between two of three": {func(b *bench, f *hosttest.Fabric) { f.Separate(b.machines["a"], b.machines["b"]) }, "error underlay a, error underlay b"},
		"no multicast":                {func(_ *bench, f *hosttest.Fabric) { f.StopMulticast() }, "error multicast "},
		"a small way":                 {func(_ *bench, f *hosttest.Fabric) { f.SetPathMTU(1400) }, "error mtu a, error mtu b"},
		"a bridge of a wanted name":   {func(b *bench, _ *hosttest.Fabric) { b.machines["c"].PlantLink(hostapi.Link{Name: "lu-br0"}) }, "error plan c"},
		"one machine id": {func(b *bench, _ *hosttest.Fabric) {
			b.machines["a"].SetCheck(hostapi.CheckFacts{MachineID: "same"})
			b.machines["c"].SetCheck(hostapi.CheckFacts{MachineID: "same"})
		}, "warning identity a"},
	} {
		t.Run(name, func(t *testing.T) {
			b, f := fabricOf(t, "a", "b", "c")
			c.plant(b, f)
			before := b.machines["c"].Objects()
			o := b.control.Check(t.Context(), b.lab("lu", "networks: {lu-br0: {}}\n", "a", "b", "c"))
			if got := strings.Join(found(o), ", "); got != c.want {
				t.Errorf("found %q, want %q; errors %v", got, c.want, o.Errs)
			}
			want := report.Pass
			if strings.Contains(c.want, "error") {
				want = report.Fail
			}
			if o.Result.Result != want || o.Result.Changed != 0 || o.Result.Verb != "check" {
				t.Errorf("result %s of %s, %d changed; want %s and nothing changed", o.Result.Result, o.Result.Verb, o.Result.Changed, want)
			}
			if after := b.machines["c"].Objects(); len(after) != len(before) {
				t.Errorf("the check left %v", after)
			}
			b.notLocked("lu")
		})
	}
}

func TestCheckOfAStandingLabFindsNothing(t *testing.T) {
	b, _ := fabricOf(t, "a", "b")
	lab := b.lab("lu", "", "a", "b")
	if o := b.deploy(lab); len(o.Errs) > 0 {
		t.Fatal(o.Errs)
	}
	if o := b.control.Check(t.Context(), lab); len(found(o)) > 0 || len(o.Errs) > 0 {
		t.Errorf("found %v, errors %v; want none", found(o), o.Errs)
	}
}

func TestCheckGoesOnWithoutAnUnreachableHost(t *testing.T) {
	b, _ := fabricOf(t, "a", "b", "c")
	b.dead = map[string]error{"c": &hostapi.Error{Kind: hostapi.KindUnreachable, Message: "no route"}}
	b.machines["b"].SetFirewall(hosttest.Firewall{DropsIn: true})
	o := b.control.Check(t.Context(), b.lab("lu", "", "a", "b", "c"))
	if got := strings.Join(found(o), ", "); got != "error firewall b" {
		t.Errorf("found %q, want b's firewall alone", got)
	}
	if len(o.Errs) != 1 || !errors.Is(o.Errs[0], hostapi.ErrUnreachable) {
		t.Errorf("errors %v, want c's", o.Errs)
	}
}

func TestCheckOfOneHostDoesNotBlameItForWantOfRoutesToOthersThatDoNotAnswer(t *testing.T) {
	for what, c := range map[string]struct {
		address string // of b
		dead    bool
		want    string
	}{
		"a name that nobody knows":    {"no-such.example.net", true, ""},
		"an address without a route":  {"203.0.113.9", true, ""},
		"one without, and it answers": {"203.0.113.9", false, "error plan a"},
	} {
		b, _ := fabricOf(t, "a", "b")
		if c.dead {
			b.dead = map[string]error{"b": &hostapi.Error{Kind: hostapi.KindUnreachable, Message: "no route"}}
		}
		lab, err := inventory.Parse("lab.yaml", fmt.Appendf(nil, "lab: lu\nhosts: {a: {address: %s}, b: {address: %s}}\n", b.machines["a"].Local(), c.address))
		if err != nil {
			t.Fatal(err)
		}
		o := b.control.Check(t.Context(), lab)
		if got := strings.Join(found(o), ", "); got != c.want {
			t.Errorf("%s: found %q, want %q; %v", what, got, c.want, o.Result.Findings)
		}
		if c.dead && (len(o.Errs) != 1 || !errors.Is(o.Errs[0], hostapi.ErrUnreachable) || o.Result.Result != report.Fail) {
			t.Errorf("%s: %s, errors %v; want it failed for b's", what, o.Result.Result, o.Errs)
		}
	}
}

func TestHostThatDiesDuringACheckIsNotBlamedForLostDatagrams(t *testing.T) {
	for _, at := range []hosttest.Moment{hosttest.BeforeCheck, hosttest.BeforeSend, hosttest.BeforeHeard} {
		b, _ := fabricOf(t, "a", "b", "c")
		b.machines["b"].SetFault(func(_ context.Context, now hosttest.Moment, _ *hostapi.Step) error {
			if now == at {
				return hosttest.ErrCut
			}
			return nil
		})
		o := b.control.Check(t.Context(), b.lab("lu", "", "a", "b", "c"))
		if len(found(o)) > 0 || len(o.Errs) != 1 || !errors.Is(o.Errs[0], hostapi.ErrLost) {
			t.Errorf("cut before %s: found %v, errors %v; want none, and b's", at, found(o), o.Errs)
		}
	}
}

func TestCheckNamesAnImageThatIsNotThere(t *testing.T) {
	b, _ := fabricOf(t, "a", "b")
	lab := b.lab("lu", "images: {i: {file: /nowhere/i.qcow2, login: {user: u, password: p}}}\nvms: {vm: {host: a, image: i}}\n", "a", "b")
	o := b.control.Check(t.Context(), lab)
	if got := strings.Join(found(o), ", "); got != "error image controller" {
		t.Errorf("found %q, want the image", got)
	}
}
