package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/run"
	"vxorch/remote/hostapi"
)

func TestErrorsBecomeExitCodes(t *testing.T) {
	interrupted, cancel := context.WithCancel(context.Background())
	cancel()
	host := &run.HostError{Host: "a", Stage: "vtep", Err: hostapi.ErrBusy}
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"done":                         {context.Background(), nil, 0},
		"a host failed":                {context.Background(), host, 1},
		"a problem of the plan":        {context.Background(), &plan.Problem{Host: "a"}, 1},
		"usage":                        {context.Background(), &usageError{"no", ""}, 2},
		"inventory":                    {context.Background(), inventory.Errors{{Line: 1}}, 2},
		"inventory among others":       {context.Background(), errors.Join(host, inventory.Errors{{Line: 1}}), 2},
		"not as wanted":                {context.Background(), errUnwanted, 3},
		"a gate was crossed":           {context.Background(), errors.Join(gateError{}), 3},
		"a gate, besides a lost probe": {context.Background(), errors.Join(errUnwanted, gateError{}), 3},
		"a gate, besides a failure":    {context.Background(), errors.Join(host, gateError{}), 1},
		"the command's own code":       {context.Background(), exitStatus(7), 7},
		"interrupted comes first":      {interrupted, host, 130},
		"interrupted, then ended well": {interrupted, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := exitCode(c.ctx, c.err); got != c.want {
				t.Errorf("exitCode(%v) = %d, want %d", c.err, got, c.want)
			}
		})
	}
}

func TestEveryErrorIsPrintedWithItsHint(t *testing.T) {
	err := errors.Join(
		&run.HostError{Host: "a", Stage: "connect", Err: &hostapi.Error{Kind: hostapi.KindAuth, Message: "every key refused\x1b[31m", Hint: "ssh-add"}},
		&run.HostError{Host: "b", Stage: "vtep", Err: fmt.Errorf("apply: %w", &hostapi.Error{Kind: hostapi.KindLost, Message: "the helper ended"})},
		errors.Join(&plan.Problem{Host: "c", Message: "bridge br0 exists already", Hint: "another name"}),
		errUnwanted, // the result says what
		gateError{Name: "max-rtt", Limit: "1ms", Result: "fail", By: "a ping took 2 ms"},
		inventory.Errors{{File: "lab.yaml", Line: 3, Column: 7, Message: "unknown key", Hint: "did you mean"}, {File: "lab.yaml", Line: 4, Column: 1, Message: "no hosts"}},
	)
	const want = `vxorch: error: a: connect: every key refused
vxorch: hint: ssh-add
vxorch: error: b: vtep: apply: the helper ended
vxorch: hint: run the verb again: it goes on from what stands
vxorch: error: c: plan: bridge br0 exists already
vxorch: hint: another name
vxorch: error: gate max-rtt 1ms crossed: a ping took 2 ms
vxorch: error: lab.yaml:3:7: unknown key
vxorch: hint: did you mean
vxorch: error: lab.yaml:4:1: no hosts
`
	var out bytes.Buffer
	printErrors(&out, err)
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}
