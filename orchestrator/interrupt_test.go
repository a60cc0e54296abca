package orchestrator_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/images"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
)

// TestInterruptEndsEveryWait cancels a deploy while a's work, whatever it is at
// that time, would go on for ever.
func TestInterruptEndsEveryWait(t *testing.T) {
	file := filepath.Join(t.TempDir(), "i.qcow2")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	more := "containers: {cn: {hosts: all}}\nimages: {i: {file: " + file + ", login: {user: cirros, password: gocubsgo}}}\nvms: {vm: {hosts: all}}\n"
	step := func(is func(*hostapi.Step) bool) func(hosttest.Moment, *hostapi.Step) bool {
		return func(at hosttest.Moment, s *hostapi.Step) bool { return at == hosttest.BeforeStep && is(s) }
	}
	moment := func(m hosttest.Moment) func(hosttest.Moment, *hostapi.Step) bool {
		return func(at hosttest.Moment, _ *hostapi.Step) bool { return at == m }
	}
	for name, is := range map[string]func(hosttest.Moment, *hostapi.Step) bool{
		"connect": nil,
		"observe": moment(hosttest.BeforeObserve),
		"a VTEP":  step(func(s *hostapi.Step) bool { return s.VTEP != nil }),
		"a veth":  step(func(s *hostapi.Step) bool { return s.Veth != nil }),
		"a VM":    step(func(s *hostapi.Step) bool { return s.Domain != nil }),
		"a guest": step(func(s *hostapi.Step) bool { return s.Guest != nil }),
		"a proof": moment(hosttest.BeforeProbe),
		"upload":  moment(hosttest.BeforeImage),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "a", "b")
			b.control.Images = images.Cache{Dir: t.TempDir()}
			lab := b.lab("try", more, "a", "b")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			hang := func(ctx context.Context) error {
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}
			if is == nil {
				dial := b.control.Dial
				b.control.Dial = func(dialCtx context.Context, h inventory.Host) (hostapi.Host, error) {
					if h.Name == "a" && ctx.Err() == nil {
						return nil, &hostapi.Error{Kind: hostapi.KindCanceled, Message: hang(dialCtx).Error()}
					}
					return dial(dialCtx, h)
				}
			} else {
				b.machines["a"].SetFault(func(stepCtx context.Context, at hosttest.Moment, s *hostapi.Step) error {
					if !is(at, s) {
						return nil
					}
					return hang(stepCtx)
				})
			}
			ended := make(chan orchestrator.Outcome, 1)
			go func() { ended <- b.control.Deploy(ctx, lab, yes) }()
			var o orchestrator.Outcome
			select {
			case o = <-ended:
			case <-time.After(time.Minute):
				t.Fatal("the deploy does not end")
			}
			for _, h := range o.Result.Hosts {
				if h.Name == "a" && h.Result != report.Interrupted {
					t.Errorf("a is %s: %s, want it interrupted", h.Result, h.Error)
				}
			}
			if o.Result.Result != report.Fail || len(o.Errs) == 0 {
				t.Errorf("result %s, errors %v", o.Result.Result, o.Errs)
			}
			b.notLocked("try")
			b.machines["a"].SetFault(nil)
			if o := b.deploy(lab); len(o.Errs) > 0 || o.Result.Result != report.Pass {
				t.Errorf("the next deploy: %s, %v", o.Result.Result, o.Errs)
			}
		})
	}
}
