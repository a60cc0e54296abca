package hosttest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vxorch/remote/hostapi"
)

func (b *bench) canceledBefore() {
	b.lockLab(b.Host)
	ctx, cancel := context.WithCancel(b.ctx())
	cancel()
	res, err := b.Host.Apply(ctx, b.batch(hostapi.Create, b.step(b.bridge())))
	if !errors.Is(err, hostapi.ErrCanceled) || len(res.Steps) != 0 {
		b.Errorf("apply with an ended context: %+v, %v; want ErrCanceled and no step begun", res, err)
	}
	b.nothingStands()
}

// canceledWithin holds for whatever moment the cancel comes at; where the host
// can be stalled, it comes within the second step.
func (b *bench) canceledWithin() {
	b.lockLab(b.Host)
	var steps []hostapi.Step
	for i := range 30 {
		br := b.bridge()
		br.Name, br.MAC = b.name(fmt.Sprintf("b%d", i)), b.mac(byte(i))
		steps = append(steps, b.step(br))
	}
	ctx, cancel := context.WithCancel(b.ctx())
	defer cancel()
	if b.Stall != nil {
		_, name := steps[1].Object()
		b.Stall(b.T, name)
	}
	time.AfterFunc(20*time.Millisecond, cancel)
	batch := b.batch(hostapi.Create, steps...)
	res, err := b.Host.Apply(ctx, batch)
	b.made = append(b.made, steps[:len(res.Steps)]...)
	done := len(res.Steps)
	if b.Stall != nil && done != 2 {
		b.Errorf("%d steps were begun, want the one before the cancel and the one it came in", done)
	}
	if done < len(steps) && !errors.Is(err, hostapi.ErrCanceled) || done == len(steps) && err != nil {
		b.Errorf("%d of %d steps begun: %v", done, len(steps), err)
	}
	f := b.observe(hostapi.ObserveRequest{})
	for i, s := range steps {
		_, name := s.Object()
		want := i < done && res.Steps[i].Error == nil
		if stands := b.link(f, name) != nil; stands != want {
			b.Errorf("bridge %d of %d begun: stands %v, want %v", i, done, stands, want)
		}
	}
}

func (b *bench) closed() {
	b.lockLab(b.Host)
	if err := b.Host.Close(); err != nil {
		b.Errorf("Close: %v", err)
	}
	_, observe := b.Host.Observe(b.ctx(), hostapi.ObserveRequest{Lab: b.lab})
	_, apply := b.try(b.Host, hostapi.Create, b.step(b.bridge()))
	_, probe := b.Host.Probe(b.ctx(), []hostapi.Probe{{Target: b.Local}})
	for what, err := range map[string]error{"Observe": observe, "Apply": apply, "Probe": probe} {
		if !errors.Is(err, hostapi.ErrLost) {
			b.Errorf("%s after Close: %v, want ErrLost", what, err)
		}
	}
}
