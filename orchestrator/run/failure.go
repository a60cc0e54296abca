package run

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// ErrTimeout is the cause of a context whose time for the whole run was up.
var ErrTimeout = &hostapi.Error{
	Kind: hostapi.KindCanceled, Message: "the time given by --timeout was up", Hint: "the verb goes on from what stands when run again",
}

// HostError is what went wrong on a host.
type HostError struct {
	Host  string
	Stage string
	Err   error
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Host, e.Stage, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// Err is what took a host out of the run; nil while it takes part.
func (r *Run) Err(host string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.out[host]; err != nil {
		return err
	}
	return nil
}

// Errs lists what went wrong, by host name.
func (r *Run) Errs() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, name := range sortedKeys(r.errs) {
		for _, err := range r.errs[name] {
			errs = append(errs, err)
		}
	}
	return errs
}

// fail records what went wrong on a host and takes out what it costs: the host,
// its VMs, or some of these.
func (r *Run) fail(ctx context.Context, host, stage string, cause error) error {
	if errors.Is(context.Cause(ctx), ErrTimeout) {
		if at, named := strings.CutSuffix(cause.Error(), ": "+ErrTimeout.Message); named { // by whoever waited
			cause = fmt.Errorf("%w: %s", ErrTimeout, at)
		} else {
			cause = fmt.Errorf("%w: %w", ErrTimeout, cause)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var lost lostVMs
	if errors.As(cause, &lost) && goesOn(ctx, cause) {
		var errs []error
		for _, l := range lost {
			r.lost[hostVM{host, l.vm}] = l.how
			errs = append(errs, r.record(host, stage, l.err))
		}
		return errors.Join(errs...)
	}
	err := r.record(host, stage, cause)
	if errors.As(cause, new(*vmsError)) && goesOn(ctx, cause) {
		r.noVMs[host] = err
	} else {
		r.out[host] = err
	}
	return err
}

// record needs the lock. Of a host's errors the first gives its result.
func (r *Run) record(host, stage string, cause error) *HostError {
	err := &HostError{host, stage, cause}
	h, e := r.hosts[host], hostapi.AsError(cause)
	if len(r.errs[host]) == 0 {
		h.Result, h.Error, h.Hint = hostResult(cause), stage+": "+e.Message, e.Hint
	} else {
		h.Error += "\n" + stage + ": " + e.Message
	}
	r.errs[host] = append(r.errs[host], err)
	return err
}

func hostResult(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrTimeout):
		return report.Failed
	case errors.Is(err, context.Canceled), errors.Is(err, hostapi.ErrCanceled):
		return report.Interrupted
	case errors.Is(err, hostapi.ErrUnreachable), errors.Is(err, hostapi.ErrAuth), errors.Is(err, hostapi.ErrHostKey):
		return report.Unreachable
	}
	return report.Failed
}
