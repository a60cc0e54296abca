package orchestrator_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/history"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// bench is a set of fake machines and a controller that reaches them.
type bench struct {
	t        *testing.T
	machines map[string]*hosttest.Machine
	control  *orchestrator.Controller
	history  history.Store

	mu     sync.Mutex
	events []run.Event
	dead   map[string]error // what dialing a host gives
}

func newBench(t *testing.T, hosts ...string) *bench {
	b := &bench{t: t, machines: map[string]*hosttest.Machine{}, dead: map[string]error{}, history: history.Store{Root: t.TempDir()}}
	fabric := hosttest.NewFabric()
	for _, h := range hosts {
		b.machines[h] = fabric.NewMachine(h, hosttest.MachineOptions{})
	}
	b.control = b.controller("alice")
	return b
}

func (b *bench) controller(user string) *orchestrator.Controller {
	return &orchestrator.Controller{
		Dial: func(_ context.Context, h inventory.Host) (hostapi.Host, error) {
			if err := b.dead[h.Name]; err != nil {
				return nil, err
			}
			return b.machines[h.Name].Open(), nil
		},
		Resolve: func(context.Context, string) (netip.Addr, error) { return netip.Addr{}, fmt.Errorf("no such name") },
		User:    user, Machine: "laptop", Parallel: 64, Now: time.Now, History: b.history,
		Events: func(e run.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
	}
}

// lab is a lab of name over hosts, with a container on each unless the text says
// otherwise.
func (b *bench) lab(name, more string, hosts ...string) *inventory.Lab {
	b.t.Helper()
	text := fmt.Sprintf("lab: %s\nhosts:\n", name)
	for _, h := range hosts {
		text += fmt.Sprintf("  %s: {address: %s}\n", h, b.machines[h].Local())
	}
	lab, err := inventory.Parse("lab.yaml", []byte(text+more))
	if err != nil {
		b.t.Fatal(err)
	}
	return lab
}

func yes(plan.Plan) error { return nil }

func (b *bench) deploy(lab *inventory.Lab) orchestrator.Outcome {
	return b.control.Deploy(b.t.Context(), lab, yes)
}

// passes fails the test unless o is a success that changed as many objects.
func (b *bench) passes(o orchestrator.Outcome, changed int) {
	b.t.Helper()
	if len(o.Errs) > 0 || o.Result.Result != report.Pass || o.Result.Changed != changed {
		b.t.Fatalf("%s: result %s, %d changed, errors %v, probes %v; want pass with %d changed",
			o.Result.Verb, o.Result.Result, o.Result.Changed, o.Errs, o.Result.Probes, changed)
	}
}

// stages counts the probes of a result by stage and result.
func stages(o orchestrator.Outcome) map[string]int {
	count := map[string]int{}
	for _, p := range o.Result.Probes {
		if p.Kind == report.KindPing {
			count[p.Stage+" "+p.Result]++
		}
	}
	return count
}

// nothingStands fails the test if a machine has more on it than when it was new.
func (b *bench) nothingStands() {
	b.t.Helper()
	for name, m := range b.machines {
		for _, object := range m.Objects() {
			if object != "link lo" && object != "address 127.0.0.1/8 on lo" &&
				object != "link eth0" && object != fmt.Sprintf("address %s/24 on eth0", m.Local()) {
				b.t.Errorf("%s still has %s", name, object)
			}
		}
	}
}

func (b *bench) notLocked(lab string) {
	b.t.Helper()
	for name, m := range b.machines {
		if m.Locked(lab) {
			b.t.Errorf("%s is still locked", name)
		}
	}
}
