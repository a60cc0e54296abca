package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vxorch/remote/hostapi"
)

// hostVM is a VM of a host; an empty one is none.
type hostVM struct{ host, vm string }

// VMsOnly marks an error of a stage that costs its host the VMs and nothing else:
// what else stands there is proved still. nil stays nil.
func VMsOnly(err error) error {
	if err == nil {
		return nil
	}
	return &vmsError{err}
}

type vmsError struct{ error }

func (e *vmsError) Unwrap() error { return e.error }

// lostVMs is an error of VMs that could not be made, or whose guests were given
// up. It costs the host these, and its other VMs are proved still.
type lostVMs []lostVM

type lostVM struct {
	vm  string
	how string // it was lost
	err error
}

// How a VM is lost, of the VM and its host.
const (
	failedVM    = "%s on %s was not made"
	silentGuest = "the guest of %s on %s did not answer"
)

func (s lostVMs) Error() string {
	var texts []string
	for _, l := range s {
		texts = append(texts, l.err.Error())
	}
	return strings.Join(texts, "\n")
}

func (s lostVMs) Unwrap() []error {
	var errs []error
	for _, l := range s {
		errs = append(errs, l.err)
	}
	return errs
}

// vmFailure is err, of steps that make VMs or wait for them, with what it costs.
func vmFailure(steps []hostapi.Step, results []hostapi.StepResult, err error) error {
	var lost lostVMs
	for i, r := range results {
		switch step := steps[i]; {
		case r.Error == nil:
		case step.Guest != nil:
			lost = append(lost, lostVM{step.Guest.For, silentGuest, r.Error})
		case step.Domain != nil:
			lost = append(lost, lostVM{step.Domain.For, failedVM, r.Error})
		default:
			return VMsOnly(err)
		}
	}
	if len(lost) == 0 {
		return err // the connection's, not a step's
	}
	return lost
}

// withoutLost leaves out the steps that wait for guests of VMs that were lost.
func (r *Run) withoutLost(host string, steps []hostapi.Step) []hostapi.Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(steps), func(s hostapi.Step) bool {
		return s.Guest != nil && r.lost[hostVM{host, s.Guest.For}] != ""
	})
}

// goesOn tells whether a host whose VMs failed can go on without them.
func goesOn(ctx context.Context, cause error) bool {
	return ctx.Err() == nil && !errors.Is(cause, hostapi.ErrLost) && !errors.Is(cause, hostapi.ErrCanceled)
}

func (r *Run) withoutVMs(host string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.noVMs[host] != nil
}

// lacks tells why a VM cannot be one end of a probe; empty: it can.
func (r *Run) lacks(end hostVM) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch err := r.noVMs[end.host]; {
	case end.vm == "":
		return ""
	case err != nil:
		return fmt.Sprintf("%s failed at %s, so %s is not proved", end.host, err.Stage, end.vm)
	case r.lost[end] != "":
		return fmt.Sprintf(r.lost[end], end.vm, end.host)
	}
	return ""
}

// tellWaiting shows once a second, until stop, for which guests a stage waits.
func (r *Run) tellWaiting(host, stage string, steps []hostapi.Step) (stop func()) {
	var names []string
	for _, s := range steps {
		if s.Guest != nil {
			names = append(names, s.Guest.For)
		}
	}
	if len(names) == 0 {
		return func() {}
	}
	began := r.now()
	ticker := time.NewTicker(time.Second)
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-ticker.C:
				r.Progress(host, stage, fmt.Sprintf("waits since %.0f s for %s to answer", r.now().Sub(began).Seconds(), strings.Join(names, ", ")))
			case <-done:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
		<-stopped
	}
}
