package orchestrator

import (
	"context"
	"time"

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
// have ended the run.
func (s *session) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackLimit)
	defer cancel()
	s.run.Undo(ctx, s.hosts, s.batch())
}
