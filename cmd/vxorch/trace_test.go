package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/history"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/trace"
	"vxorch/remote/hostapi"
)

// ahead is a host whose clock is ahead, in all that it tells of times. A kernel has
// one clock for all the hosts of a sandbox.
type ahead struct {
	hostapi.Host
	hostapi.Capturer
	by time.Duration
}

func (a ahead) Clock(ctx context.Context) (time.Time, error) {
	t, err := a.Capturer.Clock(ctx)
	return t.Add(a.by), err
}

func (a ahead) Packets(ctx context.Context, req hostapi.PacketsRequest) (hostapi.Packets, error) {
	got, err := a.Capturer.Packets(ctx, req)
	for i := range got.Packets {
		got.Packets[i].Time = got.Packets[i].Time.Add(a.by)
	}
	return got, err
}

// A host's clock is three seconds off: that is measured to within what is said, and
// no time of a trace shows it.
func TestTraceAcrossClocksThatDiffer(t *testing.T) {
	tr := newTrial(t, "clocks")
	lab, err := inventory.Load(tr.box.Inventory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const off = 3 * time.Second
	o := &orchestrator.Controller{
		Dial: func(_ context.Context, h inventory.Host) (hostapi.Host, error) {
			host := tr.dial(h.Name, lab.Name, time.Minute, nil)
			if h.Name == "host2" {
				return ahead{host, host.(hostapi.Capturer), off}, nil
			}
			return host, nil
		},
		Resolve: resolve, User: "tester", Machine: "here", History: history.Store{Root: t.TempDir()}, Parallel: 64, Now: time.Now,
	}
	if out := o.Deploy(t.Context(), lab, func(plan.Plan) error { return nil }); len(out.Errs) > 0 {
		t.Fatal(out.Errs)
	}
	path, err := trace.Find(lab, lab.Containers[0].Name, lab.Containers[1].Name)
	if err != nil {
		t.Fatal(err)
	}
	out := o.Trace(t.Context(), lab, path)
	if len(out.Errs) > 0 || out.Result.Result != trace.Answered {
		t.Fatalf("trace: %+v", out)
	}
	for _, c := range out.Result.Clocks {
		want := 0.0
		if c.Host == "host2" {
			want = float64(off.Microseconds())
		}
		if c.Ahead < want-c.Within || c.Ahead > want+c.Within || c.Within <= 0 || c.Within > 1e6 {
			t.Errorf("the clock of %s is %v µs ± %v µs ahead, want %v within that", c.Host, c.Ahead, c.Within, want)
		}
	}
	echoes := 0
	for _, f := range out.Result.Flights { // kernels may ask for neighbours meanwhile
		if strings.HasPrefix(f.What, "echo") {
			if echoes++; len(f.Seen) != len(out.Result.Hops) {
				t.Errorf("%s was seen at %d of %d hops", f.What, len(f.Seen), len(out.Result.Hops))
			}
		}
		for i, s := range f.Seen {
			if host := out.Result.Hops[s.Hop].Host; (s.Within > 0) != (host == "host2") {
				t.Errorf("%s at hop %d of %s: ± %v µs", f.What, s.Hop, host, s.Within)
			}
			if i == 0 {
				continue
			}
			if before := f.Seen[i-1]; s.At+s.Within < before.At-before.Within {
				t.Errorf("%s came to hop %d at %v ± %v µs, before hop %d at %v ± %v", f.What, s.Hop, s.At, s.Within, before.Hop, before.At, before.Within)
			}
		}
	}
	if echoes != 2 {
		t.Errorf("%d flights of a ping and its reply: %+v", echoes, out.Result.Flights)
	}
}
