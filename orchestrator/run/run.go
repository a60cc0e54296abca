// Package run executes phases on hosts: all hosts in parallel, each host's
// phases in order, a wait for the others only where a proof needs them. What has
// to be done was decided before; it decides nothing but when to stop.
package run

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// Event is one host's stage that began or ended, for showing progress.
type Event struct {
	Host  string
	Stage string
	Note  string // how far it is, while it goes on
	// Of an event about something that travels, also while another stage goes on:
	Bytes int64
	Total int64   // 0: not known
	Rate  float64 // bytes a second, since it began
	Done  bool
	// Seconds since it began, of an event with a Note or that is Done.
	Seconds float64
	// Of an event that is Done:
	Result  string // report.OK, report.Changed or report.Failed
	Changed int
	Err     error
}

// Run is one run of a verb over its hosts. Hosts that fail drop out; the others
// go on, and so does a host that failed with its VMs alone, without these. Its
// methods are safe for concurrent use.
type Run struct {
	started time.Time
	now     func() time.Time
	events  func(Event)
	limit   *semaphore.Weighted
	abreast int // hosts worked on at once

	mu        sync.Mutex
	changed   map[string]map[string]bool // objects by host: each counts once, however many steps it takes
	notes     map[hostStage][]string     // of stages under way
	transfers map[hostStage]transfer     // by stage and what travels
	began     map[hostStage]time.Time    // of stages under way
	hosts     map[string]*report.Host
	made      map[string][]hostapi.Step // by host, in order: see Undo
	errs      map[string][]*HostError   // by host
	out       map[string]*HostError     // what took a host out
	noVMs     map[string]*HostError     // what cost a host its VMs
	lost      map[hostVM]string         // VMs that the run goes on without: how they were lost
	rows      []report.Probe
}

type hostStage struct{ host, stage string }

// New starts a run over the hosts of addresses, by name. At most parallel hosts
// are worked on at once. events may be nil; it is called from many goroutines,
// one call at a time.
func New(addresses map[string]string, parallel int, now func() time.Time, events func(Event)) *Run {
	r := &Run{
		started: now(), now: now, events: events, limit: semaphore.NewWeighted(int64(parallel)), abreast: parallel,
		made:    map[string][]hostapi.Step{},
		changed: map[string]map[string]bool{}, notes: map[hostStage][]string{}, transfers: map[hostStage]transfer{}, began: map[hostStage]time.Time{},
		hosts: map[string]*report.Host{}, errs: map[string][]*HostError{}, out: map[string]*HostError{},
		noVMs: map[string]*HostError{}, lost: map[hostVM]string{},
	}
	for name, address := range addresses {
		r.changed[name] = map[string]bool{}
		r.hosts[name] = &report.Host{Name: name, Address: address, Result: report.OK, Stages: []report.Stage{}}
	}
	return r
}

// Stage runs f as a stage of a host, records how it went and gives its error.
// f names the objects that it changed. Its error takes the host out, unless it is
// one of VMsOnly. A host that is out runs nothing.
func (r *Run) Stage(ctx context.Context, host, stage string, f func(context.Context) (changed []string, err error)) error {
	if err := r.Err(host); err != nil {
		return err
	}
	if err := r.limit.Acquire(ctx, 1); err != nil {
		return r.fail(ctx, host, stage, &hostapi.Error{Kind: hostapi.KindCanceled, Message: fmt.Sprintf("not begun: %v", context.Cause(ctx))})
	}
	defer r.limit.Release(1)
	r.emit(Event{Host: host, Stage: stage})
	began := r.now()
	r.mu.Lock()
	r.began[hostStage{host, stage}] = began
	r.mu.Unlock()
	objects, err := f(ctx)
	slices.Sort(objects)
	changed := len(slices.Compact(objects))
	seconds := r.now().Sub(began).Seconds()

	row := report.Stage{Name: stage, Result: report.OK, Started: began.Sub(r.started).Seconds(), Seconds: seconds, Changed: changed}
	switch {
	case err != nil:
		row.Result, row.Error = report.Failed, err.Error()
	case changed > 0:
		row.Result = report.Changed
	}
	r.mu.Lock()
	for _, o := range objects {
		r.changed[host][o] = true
	}
	row.Notes = r.notes[hostStage{host, stage}]
	delete(r.notes, hostStage{host, stage})
	delete(r.began, hostStage{host, stage})
	h := r.hosts[host]
	h.Changed = len(r.changed[host])
	h.Stages = append(h.Stages, row)
	r.mu.Unlock()
	if err != nil {
		err = r.fail(ctx, host, stage, err)
	}
	r.emit(Event{Host: host, Stage: stage, Done: true, Result: row.Result, Changed: changed, Seconds: seconds, Err: err})
	return err
}

// Here is the host of events about work on the controller itself.
const Here = "controller"

// Local shows a stage of work on the controller, which no report has.
func (r *Run) Local(stage string, f func(progress func(far string)) error) error {
	r.emit(Event{Host: Here, Stage: stage})
	began := r.now()
	r.mu.Lock()
	r.began[hostStage{Here, stage}] = began
	r.mu.Unlock()
	err := f(func(far string) { r.Progress(Here, stage, far) })
	e := Event{Host: Here, Stage: stage, Done: true, Result: report.OK, Seconds: r.now().Sub(began).Seconds(), Err: err}
	if err != nil {
		e.Result = report.Failed
	}
	r.emit(e)
	return err
}

// Skip records that a stage is not needed on a host, and why.
func (r *Run) Skip(host, stage, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.hosts[host]
	h.Stages = append(h.Stages, report.Stage{Name: stage, Result: report.Skipped, Started: r.now().Sub(r.started).Seconds(), Error: why})
}

// Note records what a person should know of a host's stage that is under way,
// and shows it. The words are the host's.
func (r *Run) Note(host, stage, note string) {
	note = report.Clean(note)
	r.mu.Lock()
	key := hostStage{host, stage}
	r.notes[key] = append(r.notes[key], note)
	r.mu.Unlock()
	r.Progress(host, stage, note)
}

// Progress shows how far a host's stage is.
func (r *Run) Progress(host, stage, far string) {
	e := Event{Host: host, Stage: stage, Note: far}
	r.mu.Lock()
	if began, ok := r.began[hostStage{host, stage}]; ok {
		e.Seconds = r.now().Sub(began).Seconds()
	}
	r.mu.Unlock()
	r.emit(e)
}

// Apply runs the phases on hosts. batch says for whom the steps are; its steps
// are ignored. before is called ahead of a host's steps of a phase, which wait
// for it; it may be nil.
func (r *Run) Apply(ctx context.Context, phases []plan.Phase, hosts map[string]hostapi.Host, batch hostapi.Batch, before func(host, phase string)) {
	for len(phases) > 0 {
		// Up to and with the next phase that has probes, or up to one with a barrier,
		// nobody waits for anybody.
		n := 1
		for n < len(phases) && len(phases[n-1].Probes) == 0 && !phases[n].Barrier {
			n++
		}
		stretch, last := phases[:n], phases[n-1]
		each(hosts, func(name string, host hostapi.Host) {
			for _, phase := range stretch {
				if before != nil {
					before(name, phase.Name)
				}
				if r.steps(ctx, phase, name, host, batch) != nil {
					return
				}
			}
		})
		if len(last.Probes) > 0 {
			r.Prove(ctx, last.Proof, last.Probes, hosts)
		}
		phases = phases[n:]
	}
}

func (r *Run) steps(ctx context.Context, phase plan.Phase, name string, host hostapi.Host, batch hostapi.Batch) error {
	batch.Steps = r.withoutLost(name, phase.Steps[name])
	blocked := phase.Blocked[name]
	if len(batch.Steps) == 0 && blocked == nil || phase.VMs && r.withoutVMs(name) {
		return r.Err(name)
	}
	_ = r.Stage(ctx, name, phase.Name, func(ctx context.Context) (changed []string, err error) { // recorded by Stage
		if blocked != nil {
			return nil, VMsOnly(blocked)
		}
		defer r.tellWaiting(name, phase.Name, batch.Steps)()
		result, err := host.Apply(ctx, batch)
		r.note(name, batch.Steps, result, err)
		for i, s := range result.Steps[:min(len(result.Steps), len(batch.Steps))] {
			if s.Note != "" {
				r.Note(name, phase.Name, s.Note)
			}
			if step := batch.Steps[i]; s.Changed && plan.Lasting(step) {
				kind, object := step.Object()
				changed = append(changed, kind+" "+object)
			}
		}
		if phase.VMs && err != nil {
			return changed, vmFailure(batch.Steps, result.Steps, err)
		}
		return changed, err
	})
	return r.Err(name)
}

func (r *Run) emit(e Event) {
	if r.events != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events(e)
	}
}

// Result is the run so far as a report of verb; topology and findings are the
// caller's.
func (r *Run) Result(lab, verb string) *report.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	result := &report.Result{
		Version: 1, Lab: lab, Verb: verb, Started: r.started.UTC(), Seconds: r.now().Sub(r.started).Seconds(),
		Result: report.Pass, Hosts: []report.Host{}, Probes: slices.Clone(r.rows), Findings: []report.Finding{},
	}
	for _, name := range sortedKeys(r.hosts) {
		h := *r.hosts[name]
		h.Stages = slices.Clone(h.Stages)
		result.Hosts = append(result.Hosts, h)
		result.Changed += h.Changed
		if h.Result != report.OK {
			result.Result = report.Fail
		}
	}
	for _, p := range result.Probes {
		// What was skipped is no fault of the lab's, or its host's failure counts.
		if p.Result == report.Fail {
			result.Result = report.Fail
		}
	}
	result.Sort()
	return result
}

// each calls f for every host at once and waits for all.
func each(hosts map[string]hostapi.Host, f func(name string, host hostapi.Host)) {
	var wg sync.WaitGroup
	for name, host := range hosts {
		wg.Go(func() { f(name, host) })
	}
	wg.Wait()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
