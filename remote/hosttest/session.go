package hosttest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vxorch/remote/hostapi"
)

var _ hostapi.Host = (*Session)(nil)

// Moment is a point of a session's work at which a Fault is asked.
type Moment string

// Moments. Nothing of what they precede has happened.
const (
	BeforeObserve Moment = "observe"
	BeforeStep    Moment = "step"
	BeforeMark    Moment = "mark" // the object is made, and its intent written
	BeforeProbe   Moment = "probe"
	BeforeImage   Moment = "image" // a chunk of one
	BeforePrepare Moment = "prepare"
	BeforeClean   Moment = "clean"
	BeforeCheck   Moment = "check"
	BeforeSend    Moment = "send"
	BeforeHeard   Moment = "heard"
	BeforeCapture Moment = "capture"
	BeforePackets Moment = "packets"
	BeforeClock   Moment = "clock"
	BeforeInspect Moment = "inspect"
)

// Fault decides what happens at a moment: nil lets the work go on, ErrCut ends
// the session as if its connection had broken, any other error fails the work.
// It may block until ctx ends. step is nil where no step is run. It may use
// the machine.
type Fault func(ctx context.Context, at Moment, step *hostapi.Step) error

// ErrCut is what a Fault returns to end the session.
var ErrCut = errors.New("the session is cut")

// SetFault has f asked from now on by every session; nil ends that.
func (m *Machine) SetFault(f Fault) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.fault = f
}

// Stall has the next step on the object of that name wait until its context has
// ended, and then go on. It takes the place of the machine's fault.
func (m *Machine) Stall(object string) {
	m.SetFault(func(ctx context.Context, at Moment, step *hostapi.Step) error {
		if at != BeforeStep {
			return nil
		}
		if _, name := step.Object(); name == object {
			m.SetFault(nil)
			<-ctx.Done()
		}
		return nil
	})
}

// Session is one helper's run on a machine. The locks it takes die with it.
type Session struct {
	machine *Machine
	life    context.Context // ends with the session; the cause is an *Error
	end     context.CancelCauseFunc

	// Guarded by the fabric.
	listen *hostapi.Listen
	heard  map[uint32]bool // by number: delivered

	copying *copying
}

// Open starts a session.
func (m *Machine) Open() *Session {
	life, end := context.WithCancelCause(context.Background())
	s := &Session{machine: m, life: life, end: end}
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.sessions[s] = true
	return s
}

// Cut ends all sessions as if their connections had broken.
func (m *Machine) Cut() {
	m.fabric.mu.Lock()
	sessions := slices.Collect(maps.Keys(m.sessions))
	m.fabric.mu.Unlock()
	for _, s := range sessions {
		s.stop("the connection to " + m.name + " broke")
	}
}

// Close is hostapi.Host's.
func (s *Session) Close() error {
	s.stop("the session was closed")
	return nil
}

func (s *Session) stop(why string) {
	s.end(&hostapi.Error{Kind: hostapi.KindLost, Message: why})
	m := s.machine
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	delete(m.sessions, s)
	maps.DeleteFunc(m.locks, func(_ string, l lock) bool { return l.session == s })
}

// Observe is hostapi.Observer's.
func (s *Session) Observe(ctx context.Context, req hostapi.ObserveRequest) (hostapi.Facts, error) {
	ctx, stop := s.during(ctx)
	defer stop()
	if err := s.moment(ctx, BeforeObserve, nil); err != nil {
		return hostapi.Facts{}, err
	}
	m := s.machine
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	if err := s.ended(ctx); err != nil {
		return hostapi.Facts{}, err
	}
	if req.Lock != nil {
		if req.Lab == "" {
			return hostapi.Facts{}, invalid("a lock needs a lab")
		}
		if l, ok := m.locks[req.Lab]; ok && l.session != s {
			return hostapi.Facts{}, hostapi.LockedError(req.Lab, l.holder)
		}
		m.locks[req.Lab] = lock{s, *req.Lock}
		if req.Virt != nil {
			m.virt.hold(s, req.Virt.Images)
			m.virt.openAhead(req.Lab, req.Virt.Consoles)
		}
	}
	return m.facts(req), nil
}

func (m *Machine) facts(req hostapi.ObserveRequest) hostapi.Facts {
	out := hostapi.Facts{
		Hostname: m.name, Kernel: "6.1.0-fake", Machine: "x86_64", BootID: fmt.Sprintf("boot-%d-of-%s", m.boots, m.name),
	}
	wanted := map[string]bool{}
	for _, name := range req.Links {
		wanted[name] = true
	}
	for _, peer := range req.Peers {
		r := hostapi.Route{Peer: peer}
		if l, source := m.route(m.links, peer); l != nil {
			r.Device, r.Source = l.Name, source
			wanted[l.Name] = true
		}
		out.Routes = append(out.Routes, r)
	}
	for _, name := range slices.Sorted(maps.Keys(m.links)) {
		l := m.links[name].facts(req.Lab)
		if ends := m.learnt(m.links[name]); len(ends) > 0 {
			l.VXLAN.Forwarding = hostapi.ForwardingFacts{Flood: len(ends), Digest: fmt.Sprint(ends)}
		}
		if wanted[name] || l.VXLAN != nil || ours(l.Mark, req.Lab) {
			out.Links = append(out.Links, l)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.namespaces)) {
		n := m.namespaces[name].facts(req.Lab)
		if slices.Contains(req.Namespaces, name) || ours(n.Mark, req.Lab) {
			out.Namespaces = append(out.Namespaces, n)
		}
	}
	if req.Thorough {
		out.Leftovers = slices.Clone(m.leftovers[req.Lab])
	}
	query := req.Virt
	if query == nil && m.virt.keeps(req.Lab) {
		query = &hostapi.VirtQuery{}
	}
	if query != nil {
		out.Virt = m.virtFacts(*query, req.Lab)
	}
	out.FRR = m.frrFacts(req.Lab, req.FRR, req.Thorough)
	out.Holders, out.Overlaps = m.clashes(req.Ports, req.Subnets)
	return out
}

func (n *namespace) facts(lab string) hostapi.NamespaceFacts {
	out := hostapi.NamespaceFacts{Name: n.name, Mark: seen(n.mark, lab)}
	if ours(out.Mark, lab) {
		for _, name := range slices.Sorted(maps.Keys(n.links)) {
			out.Links = append(out.Links, n.links[name].facts(lab))
		}
	}
	return out
}

// route gives the link of links that leads to target, and the source address.
func (m *Machine) route(links map[string]*link, target netip.Addr) (*link, netip.Addr) {
	var best *link
	var via netip.Prefix
	for _, name := range slices.Sorted(maps.Keys(links)) {
		l := links[name]
		if !l.Up {
			continue
		}
		for _, p := range l.prefixes() {
			if p.Addr() == target {
				return links["lo"], target
			}
			if p.Contains(target) && (best == nil || p.Bits() > via.Bits()) {
				best, via = l, p
			}
		}
	}
	if best == nil {
		return nil, netip.Addr{}
	}
	return best, via.Addr()
}

// Apply is hostapi.Applier's.
func (s *Session) Apply(ctx context.Context, b hostapi.Batch) (hostapi.BatchResult, error) {
	ctx, stop := s.during(ctx)
	defer stop()
	if err := s.wait(ctx); err != nil {
		return hostapi.BatchResult{}, err
	}
	if err := s.holds(b.Lab); err != nil {
		return hostapi.BatchResult{}, err
	}
	var res hostapi.BatchResult
	for steps := b.Steps; len(steps) > 0; {
		if err := s.ended(ctx); err != nil {
			return s.outcome(res, err)
		}
		n, atOnce := hostapi.Together(steps)
		results, errs := make([]hostapi.StepResult, n), make([]error, n)
		var group sync.WaitGroup
		for i := range n {
			one := func() {
				start := time.Now()
				changed, note, err := s.step(ctx, b, &steps[i])
				results[i] = hostapi.StepResult{Changed: changed, Note: note, Duration: time.Since(start), Error: hostapi.AsError(err)}
				errs[i] = err
			}
			if atOnce {
				group.Go(one)
				continue
			}
			if err := s.ended(ctx); i > 0 && err != nil {
				results, errs = results[:i], append(errs[:i], err)
				break
			}
			one()
		}
		group.Wait()
		res.Steps = append(res.Steps, results...)
		if err := errors.Join(errs...); err != nil {
			return s.outcome(res, hostapi.AsError(err))
		}
		steps = steps[n:]
	}
	return s.outcome(res, nil)
}

// holds is nil if this session has lab's lock.
func (s *Session) holds(lab string) error {
	s.machine.fabric.mu.Lock()
	defer s.machine.fabric.mu.Unlock()
	if s.machine.locks[lab].session == s {
		return nil
	}
	return &hostapi.Error{
		Kind: hostapi.KindNotLocked, Message: fmt.Sprintf("this session does not hold the lock of lab %q", lab),
	}
}

// outcome is what the caller gets to know: of a lost session, nothing.
func (s *Session) outcome(res hostapi.BatchResult, err error) (hostapi.BatchResult, error) {
	if s.life.Err() != nil {
		return hostapi.BatchResult{}, context.Cause(s.life)
	}
	return res, err
}

func (s *Session) step(ctx context.Context, b hostapi.Batch, step *hostapi.Step) (changed bool, note string, err error) {
	if err := s.fail(ctx, BeforeStep, step); err != nil {
		return false, "", err
	}
	m := s.machine
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	if s.life.Err() != nil {
		return false, "", context.Cause(s.life)
	}
	w := work{Machine: m, batch: b, made: func() error {
		// The fault may use the machine.
		m.fabric.mu.Unlock()
		defer m.fabric.mu.Lock()
		return s.fail(ctx, BeforeMark, step)
	}}
	if step.Routes != nil && step.Op == hostapi.Await {
		note, err = w.routes(*step.Routes)
	} else {
		changed, err = w.run(*step)
	}
	if err != nil {
		kind, name := step.Object()
		err = fmt.Errorf("%s %s %s: %w", step.Op, kind, name, err)
	}
	return changed, note, err
}

// Probe is hostapi.Prober's. A reply that does not come takes no time.
func (s *Session) Probe(ctx context.Context, probes []hostapi.Probe) ([]hostapi.ProbeResult, error) {
	ctx, stop := s.during(ctx)
	defer stop()
	if err := s.moment(ctx, BeforeProbe, nil); err != nil {
		return nil, err
	}
	m := s.machine
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	if err := s.ended(ctx); err != nil {
		return nil, err
	}
	results := make([]hostapi.ProbeResult, len(probes))
	for i, p := range probes {
		results[i] = m.probe(p)
		m.show(p, results[i])
	}
	return results, nil
}

// PutImage is hostapi.ImageStore's.
func (s *Session) PutImage(ctx context.Context, chunk hostapi.ImageChunk) (have int64, err error) {
	ctx, stop := s.during(ctx)
	defer stop()
	if err := s.moment(ctx, BeforeImage, nil); err != nil {
		return 0, err
	}
	if err := s.holds(chunk.Lab); err != nil {
		return 0, err
	}
	m := s.machine
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	if err := s.ended(ctx); err != nil {
		return 0, err
	}
	have, err = m.virt.put(chunk)
	m.virt.hold(s, []hostapi.Image{{SHA256: chunk.SHA256}})
	return have, err
}

// during gives a context that ends with ctx and with the session.
func (s *Session) during(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(context.Cause(s.life)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// moment is the wait for the packets, then the fault.
func (s *Session) moment(ctx context.Context, at Moment, step *hostapi.Step) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.fail(ctx, at, step)
}

func (s *Session) wait(ctx context.Context) error {
	if s.machine.latency > 0 {
		select {
		case <-time.After(s.machine.latency):
		case <-ctx.Done():
		}
	}
	return s.ended(ctx)
}

func (s *Session) fail(ctx context.Context, at Moment, step *hostapi.Step) error {
	s.machine.fabric.mu.Lock()
	fault := s.machine.fault
	s.machine.fabric.mu.Unlock()
	if fault == nil {
		return nil
	}
	err := fault(ctx, at, step)
	if errors.Is(err, ErrCut) {
		s.stop("the connection to " + s.machine.name + " broke")
	}
	if s.life.Err() != nil {
		return context.Cause(s.life)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &hostapi.Error{Kind: hostapi.KindCanceled, Message: err.Error()}
	}
	if err != nil {
		return hostapi.AsError(err)
	}
	return nil
}

// ended is why a call can go no further, nil while it can.
func (s *Session) ended(ctx context.Context) error {
	switch {
	case s.life.Err() != nil:
		return context.Cause(s.life)
	case ctx.Err() != nil:
		return &hostapi.Error{Kind: hostapi.KindCanceled, Message: ctx.Err().Error()}
	}
	return nil
}

func ours(mark *hostapi.Mark, lab string) bool {
	return mark != nil && mark.Lab == lab
}

func invalid(format string, args ...any) error {
	return hostapi.Errorf(hostapi.KindInvalid, "", format, args...)
}
