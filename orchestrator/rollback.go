package orchestrator

import (
	"context"
	"slices"
	"time"

	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

// rollbackLimit bounds taking back what a deploy has made: a link takes 50 ms, a
// domain on a busy host some seconds.
const rollbackLimit = 2 * time.Minute

// errNotWhole keeps a deploy that is to be all or nothing from beginning.
var errNotWhole = &hostapi.Error{
	Kind: hostapi.KindCanceled, Message: "nothing was changed: with --rollback every host has to take part",
	Hint: "--except HOST leaves a host out",
}

// rollback takes away what this run has created. It outlives the cancel that may
// have ended the run. Hosts that had nothing of the lab before, which facts are
// from, and have nothing now are forgotten.
func (s *session) rollback(ctx context.Context, facts map[string]hostapi.Facts) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackLimit)
	defer cancel()
	kept := s.run.Undo(ctx, s.hosts, s.batch())
	s.forget(func(host string) bool {
		before, seen := facts[host]
		return seen && len(plan.Remains(s.lab.Name, before)) == 0 && !slices.Contains(kept, host)
	})
}
