package helper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"vxorch/remote/helper/internal/capture"
	"vxorch/remote/helper/internal/dhcp"
	"vxorch/remote/helper/internal/frr"
	"vxorch/remote/helper/internal/link"
	"vxorch/remote/helper/internal/own"
	"vxorch/remote/helper/internal/survey"
	"vxorch/remote/helper/internal/virt"
	"vxorch/remote/hostapi"
)

// host is this machine for one session.
type host struct {
	kernel *link.Kernel
	virt   *virt.Host
	store  own.Store
	source string // the user's helper that the one that runs is root's copy of, if it is

	// Calls hold open for reading, Close for writing: it waits for them.
	open   sync.RWMutex
	closed bool

	aheadLimit time.Duration // see there

	mu       sync.Mutex
	locks    map[string]*own.Lock      // by lab
	leases   map[string][]*dhcp.Server // by domain
	consoles map[string]chan struct{}  // by domain; each holds an element while its console is used
	ahead    map[string]*ahead         // by domain: consoles that wait to be used
	listener *survey.Listener          // of the try of the underlay; nil: none
	capture  *capture.Capture          // copies packets; nil: none

	batch chan struct{} // holds one token while a batch runs
}

var _ hostapi.Host = (*host)(nil)

// New gives this machine, as the calling thread sees it, for one session. It
// needs root to change anything.
func New() (hostapi.Host, error) { return open(0) }

// open is New for a session that ends when nothing came for lease.
func open(lease time.Duration) (*host, error) {
	kernel, err := link.Open()
	if err != nil {
		return nil, hostapi.AsError(err)
	}
	return &host{
		kernel: kernel, virt: virt.New(), store: own.Store{Lease: lease},
		locks: map[string]*own.Lock{}, leases: map[string][]*dhcp.Server{}, consoles: map[string]chan struct{}{},
		ahead: map[string]*ahead{}, aheadLimit: aheadLimit,
		batch: make(chan struct{}, 1),
	}, nil
}

// begin lets one call go on, until done.
func (h *host) begin(ctx context.Context) (done func(), err error) {
	h.open.RLock()
	if h.closed {
		h.open.RUnlock()
		return nil, &hostapi.Error{Kind: hostapi.KindLost, Message: "the session was closed"}
	}
	if ctx.Err() != nil {
		h.open.RUnlock()
		return nil, canceled(ctx)
	}
	return h.open.RUnlock, nil
}

// Observe is hostapi.Observer's.
func (h *host) Observe(ctx context.Context, req hostapi.ObserveRequest) (hostapi.Facts, error) {
	done, err := h.begin(ctx)
	if err != nil {
		return hostapi.Facts{}, err
	}
	defer done()
	if req.Lock != nil {
		if err := h.take(req.Lab, *req.Lock); err != nil {
			return hostapi.Facts{}, hostapi.AsError(err)
		}
	}
	query := req.Virt
	if req.Lock != nil && query != nil {
		h.openAhead(ctx, req.Lab, query.Consoles)
	}
	if query == nil && h.virt.Keeps(req.Lab) {
		query = &hostapi.VirtQuery{} // VMs that an earlier inventory had
	}
	if req.Lock != nil && query != nil {
		if err := h.virt.Hold(query.Images); err != nil {
			return hostapi.Facts{}, failure(ctx, err)
		}
	}
	facts, err := h.kernel.Observe(ctx, req, h.store)
	if err == nil {
		facts.FRR, err = frr.Observe(ctx, h.store, req.Lab, req.FRR != nil || req.Thorough)
	}
	if err == nil && req.FRR != nil && req.FRR.Port != 0 {
		facts.FRR.Listeners, err = link.Listeners(req.FRR.Port)
	}
	if err == nil && query != nil {
		facts.Virt, err = h.virt.Observe(ctx, req.Lab, *query)
	}
	if err == nil && req.Thorough {
		err = h.look(ctx, req.Lab, &facts)
	}
	if err != nil {
		return hostapi.Facts{}, failure(ctx, err)
	}
	return facts, nil
}

// look adds to facts what is left of lab where nothing of it should be.
func (h *host) look(ctx context.Context, lab string, facts *hostapi.Facts) error {
	links, err := h.kernel.Remains(ctx, lab)
	if err != nil {
		return err
	}
	files, err := h.store.Remains(lab)
	if err != nil {
		return err
	}
	virtual, err := h.virt.Remains(lab, facts.Virt)
	if err != nil {
		return err
	}
	facts.Leftovers = slices.Concat(facts.Leftovers, links, files, virtual)
	facts.Sessions, err = sessions(lab)
	return err
}

// take takes the lab's lock, unless this session has it already.
func (h *host) take(lab string, holder hostapi.Holder) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.locks[lab] != nil {
		return nil
	}
	lock, err := h.store.Lock(lab, holder)
	if err != nil {
		return err
	}
	h.locks[lab] = lock
	return nil
}

// heard notes a sign of the controller for those who want its locks. What cannot
// be noted only makes their error say less.
func (h *host) heard() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, lock := range h.locks {
		_ = lock.Heard()
	}
}

// Apply is hostapi.Applier's. Batches run one after the other.
func (h *host) Apply(ctx context.Context, b hostapi.Batch) (result hostapi.BatchResult, err error) {
	done, err := h.begin(ctx)
	if err != nil {
		return hostapi.BatchResult{}, err
	}
	defer done()
	lock, err := h.locked(b.Lab)
	if err != nil {
		return hostapi.BatchResult{}, err
	}
	select {
	case h.batch <- struct{}{}:
		defer func() { <-h.batch }()
	case <-ctx.Done():
		return hostapi.BatchResult{}, canceled(ctx)
	}
	mark := hostapi.Mark{Lab: b.Lab, User: b.User, Controller: b.Controller}
	batch, err := h.kernel.Begin(lock, mark)
	if err != nil {
		return hostapi.BatchResult{}, hostapi.AsError(err)
	}
	do := func(step hostapi.Step) (changed bool, note string, err error) {
		switch {
		case isVirtual(step):
			return h.virtual(ctx, mark, step)
		case step.FRR != nil && step.Op == hostapi.Remove:
			changed, err = frr.Remove(ctx, lock, h.store)
			return changed, "", err
		case step.FRR != nil:
			changed, err = frr.Ensure(ctx, lock, h.store, mark, *step.FRR)
			return changed, "", err
		case step.Routes != nil:
			note, err = batch.Await(ctx, *step.Routes, b.Steps, func() { frr.Reconnect(ctx, h.store, lock.Lab()) })
			return false, note, err
		}
		changed, err = batch.Do(step)
		return changed, "", err
	}
	result, err = run(ctx, do, b.Steps)
	if err := errors.Join(err, batch.End()); err != nil {
		return result, hostapi.AsError(err)
	}
	return result, nil
}

// locked gives the lab's lock, which this session has to hold.
func (h *host) locked(lab string) (*own.Lock, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	lock := h.locks[lab]
	if lock == nil {
		return nil, &hostapi.Error{
			Kind: hostapi.KindNotLocked, Message: fmt.Sprintf("this session does not hold the lock of lab %q", lab),
		}
	}
	return lock, nil
}

// run does the steps in order until one fails or, between two of them, ctx
// ends; of those that belong together none is left out since another failed.
func run(ctx context.Context, do func(hostapi.Step) (changed bool, note string, err error), steps []hostapi.Step) (result hostapi.BatchResult, err error) {
	for len(steps) > 0 {
		if ctx.Err() != nil {
			return result, canceled(ctx)
		}
		n, atOnce := hostapi.Together(steps)
		results, errs := make([]hostapi.StepResult, n), make([]error, n)
		one := func(i int) {
			began := time.Now()
			changed, note, err := do(steps[i])
			results[i] = hostapi.StepResult{Changed: changed, Note: note, Duration: time.Since(began), Error: hostapi.AsError(err)}
			errs[i] = err
		}
		var others sync.WaitGroup
		for i := 1; i < n && atOnce; i++ {
			others.Go(func() { one(i) })
		}
		one(0)
		others.Wait()
		for i := 1; i < n && !atOnce; i++ {
			if ctx.Err() != nil {
				results, errs = results[:i], append(errs[:i], canceled(ctx))
				break
			}
			one(i)
		}
		result.Steps = append(result.Steps, results...)
		if err := errors.Join(errs...); err != nil {
			return result, err
		}
		steps = steps[n:]
	}
	return result, nil
}

// Close waits for the calls that run, then gives the locks back.
func (h *host) Close() error {
	h.open.Lock()
	defer h.open.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	var consoles sync.WaitGroup
	for domain := range h.consoles {
		consoles.Go(func() { h.closeAhead(context.Background(), domain) })
	}
	for domain := range h.leases {
		h.endLeases(domain)
	}
	if h.listener != nil {
		h.listener.Close()
	}
	if h.capture != nil {
		h.capture.Close()
	}
	consoles.Wait() // whoever has the lock next finds them free
	var errs []error
	for _, lab := range slices.Sorted(maps.Keys(h.locks)) {
		errs = append(errs, h.release(h.locks[lab]))
	}
	h.virt.LetGo()
	h.kernel.Close()
	if err := errors.Join(errs...); err != nil {
		return hostapi.AsError(err)
	}
	return nil
}

// release gives a lock back, after an empty batch has swept up what runs that
// died left behind.
func (h *host) release(lock *own.Lock) error {
	batch, err := h.kernel.Begin(lock, hostapi.Mark{})
	if err == nil {
		err = batch.End()
	}
	frr.Tidy(h.store)
	return errors.Join(err, h.virt.Tidy(lock.Lab()), lock.Release())
}

func canceled(ctx context.Context) error {
	return &hostapi.Error{Kind: hostapi.KindCanceled, Message: context.Cause(ctx).Error()}
}

// failure gives err, of a call with ctx, a kind.
func failure(ctx context.Context, err error) error {
	e := hostapi.AsError(err)
	if ctx.Err() != nil && e.Kind == hostapi.KindInternal {
		e.Kind = hostapi.KindCanceled
	}
	return e
}
