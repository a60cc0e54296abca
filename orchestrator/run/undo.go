package run

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// StageRollback is the stage in which a run takes back what it has made.
const StageRollback = "rollback"

// note keeps the steps of a host's batch by which something new may stand: those
// that created, and one that failed while it did, unless what it met was another's.
// If the host did not say how far it came, any of them may be.
func (r *Run) note(host string, steps []hostapi.Step, result hostapi.BatchResult, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	silent := err != nil && len(result.Steps) == 0
	for i, step := range steps {
		created := silent
		if i < len(result.Steps) {
			came := result.Steps[i]
			created = came.Changed || came.Error != nil && came.Error.Kind != hostapi.KindForeign
		}
		if step.Op == hostapi.Create && created {
			r.made[host] = append(r.made[host], step)
		}
	}
}

// Undo takes away what this run has created, in the reverse order, on each of
// hosts that has something of it, whether or not it has failed. What stood before
// stays as it is by now. A host that does not answer any more keeps all of it; it
// names those that may have kept something.
func (r *Run) Undo(ctx context.Context, hosts map[string]hostapi.Host, batch hostapi.Batch) (kept []string) {
	each(hosts, func(name string, host hostapi.Host) {
		r.mu.Lock()
		made := slices.Clone(r.made[name])
		r.mu.Unlock()
		if len(made) == 0 {
			return
		}
		batch := batch
		batch.Steps = plan.Undo(made)
		err := r.aftermath(ctx, name, StageRollback, func(ctx context.Context) ([]string, error) {
			result, err := host.Apply(ctx, batch)
			return r.undone(name, batch.Steps, result), rollbackError(err, batch.Steps[len(result.Steps):])
		})
		if err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			kept = append(kept, name)
		}
	})
	return kept
}

// undone takes what was removed off the host's changes, and names it.
func (r *Run) undone(host string, steps []hostapi.Step, result hostapi.BatchResult) []string {
	var gone []string
	r.mu.Lock()
	for i, s := range result.Steps {
		if s.Error != nil || !plan.Lasting(steps[i]) {
			continue
		}
		kind, object := steps[i].Object()
		delete(r.changed[host], kind+" "+object) // a step that failed took away itself what it had made
		if s.Changed {
			gone = append(gone, kind+" "+object)
		}
	}
	r.hosts[host].Changed = len(r.changed[host])
	r.mu.Unlock()
	if len(gone) > 0 {
		r.Note(host, StageRollback, "taken away again: "+strings.Join(gone, ", "))
	}
	return gone
}

// rollbackError says of an error what the host may still have.
func rollbackError(err error, rest []hostapi.Step) error {
	if err == nil {
		return nil
	}
	var names []string
	for _, s := range rest {
		if plan.Lasting(s) {
			kind, name := s.Object()
			names = append(names, kind+" "+name)
		}
	}
	e := hostapi.AsError(err)
	e.Hint = "`vxorch destroy` takes away what is left, `vxorch deploy` goes on from it"
	if len(names) > 0 {
		e.Message += "; still there may be " + strings.Join(names, ", ")
	}
	return e
}

// aftermath runs f as a stage of a host that may have failed already, and adds
// its error to what took the host out.
func (r *Run) aftermath(ctx context.Context, host, stage string, f func(context.Context) (changed []string, err error)) error {
	r.emit(Event{Host: host, Stage: stage})
	began := r.now()
	objects, err := f(ctx)
	row := report.Stage{
		Name: stage, Result: report.OK, Started: began.Sub(r.started).Seconds(), Seconds: r.now().Sub(began).Seconds(), Changed: len(objects),
	}
	switch {
	case err != nil:
		row.Result, row.Error = report.Failed, err.Error()
	case len(objects) > 0:
		row.Result = report.Changed
	}
	r.mu.Lock()
	key := hostStage{host, stage}
	row.Notes = r.notes[key]
	delete(r.notes, key)
	h := r.hosts[host]
	h.Stages = append(h.Stages, row)
	before := slices.Clone(r.errs[host])
	r.mu.Unlock()
	if err != nil && len(before) == 0 {
		err = r.fail(ctx, host, stage, err)
	} else if err != nil {
		err = fmt.Errorf("%s: %w", stage, err)
		r.mu.Lock()
		last := before[len(before)-1]
		last.Err = fmt.Errorf("%w; %w", last.Err, err)
		h.Error += "; " + err.Error()
		h.Hint = hostapi.AsError(err).Hint
		r.mu.Unlock()
	}
	r.emit(Event{Host: host, Stage: stage, Done: true, Result: row.Result, Changed: row.Changed, Seconds: row.Seconds, Err: err})
	return err
}
