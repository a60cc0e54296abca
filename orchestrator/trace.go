package orchestrator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/trace"
	"vxorch/remote/hostapi"
)

const (
	// clockReadings is how often a host's clock is read: the quickest counts.
	clockReadings = 12
	// tracePatience is how long copies of a ping are waited for after its end.
	tracePatience = 100 * time.Millisecond
	// traceSnaplen is as much of a packet as a trace looks at: an echo request of
	// usual size in a tunnel over IPv6.
	traceSnaplen = 256
	// traceLife ends the copying where nobody does.
	traceLife = 5 * time.Minute
)

// TraceOutcome is what came of a trace.
type TraceOutcome struct {
	Result *trace.Result // nil: the ping was not sent
	Errs   []error
}

// Trace sends one ping along path while all hosts on the way listen, and tells
// where it was seen when. It changes nothing and takes no lock.
func (c *Controller) Trace(ctx context.Context, lab *inventory.Lab, path *trace.Path) TraceOutcome {
	s := c.of(path.Hosts()).begin(lab)
	defer s.close()
	facts := s.gather(ctx, "", func(string) hostapi.ObserveRequest { return hostapi.ObserveRequest{Lab: lab.Name} })
	if errs := s.run.Errs(); len(errs) > 0 {
		return TraceOutcome{Errs: errs}
	}
	path.Stand(facts)
	e := trace.Evidence{Lab: lab.Name, Mark: []byte(rand.Text()), Errors: map[int]*hostapi.Error{}}
	s.listenAlong(ctx, path, &e)
	e.Clocks = s.clocks(ctx)
	if errs := s.run.Errs(); len(errs) > 0 {
		return TraceOutcome{Errs: errs}
	}
	s.ping(ctx, path, &e)
	s.collect(ctx, path, &e)
	if errs := s.run.Errs(); len(errs) > 0 {
		return TraceOutcome{Errs: errs}
	}
	return TraceOutcome{Result: trace.Judge(path, e)}
}

// of is c for some hosts alone.
func (c *Controller) of(hosts []string) *Controller {
	part := *c
	part.Part = hosts
	return &part
}

// capturers runs f as a stage of all hosts that are at work.
func (s *session) capturers(ctx context.Context, stage string, f func(ctx context.Context, name string, host hostapi.Capturer) error) {
	s.each(func(name string) {
		_ = s.run.Stage(ctx, name, stage, func(ctx context.Context) ([]string, error) { // recorded by Stage
			host, ok := s.host(name).(hostapi.Capturer)
			if !ok {
				return nil, fmt.Errorf("%T cannot listen", s.host(name))
			}
			return nil, f(ctx, name, host)
		})
	})
}

// listenAlong has the hosts copy what passes the hops of path.
func (s *session) listenAlong(ctx context.Context, path *trace.Path, e *trace.Evidence) {
	filter, err := path.Want().Filter()
	var mu sync.Mutex
	s.capturers(ctx, "listen", func(ctx context.Context, name string, host hostapi.Capturer) error {
		if err != nil {
			return err
		}
		points, places := path.Points(name)
		failed, err := host.Capture(ctx, hostapi.CaptureRequest{Points: points, Filter: filter, Snaplen: traceSnaplen, For: traceLife})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for i, f := range failed {
			if f != nil {
				e.Errors[places[i]] = f
			}
		}
		return nil
	})
}

// clocks compares the hosts' clocks with ours. Ours is read once and counted on
// from there, so that setting it meanwhile does no harm.
func (s *session) clocks(ctx context.Context) map[string]trace.Clock {
	var mu sync.Mutex
	clocks := map[string]trace.Clock{}
	s.capturers(ctx, "clock", func(ctx context.Context, name string, host hostapi.Capturer) error {
		var readings []trace.Reading
		for range clockReadings {
			asked := time.Now()
			theirs, err := host.Clock(ctx)
			if err != nil {
				return err
			}
			readings = append(readings, trace.Reading{Asked: asked, Answered: asked.Add(time.Since(asked)), Host: theirs})
		}
		mu.Lock()
		defer mu.Unlock()
		clocks[name] = trace.Settle(readings)
		return nil
	})
	return clocks
}

// ping sends the ping of path.
func (s *session) ping(ctx context.Context, path *trace.Path, e *trace.Evidence) {
	name := path.From.Host
	_ = s.run.Stage(ctx, name, "ping", func(ctx context.Context) ([]string, error) { // recorded by Stage
		results, err := s.host(name).Probe(ctx, []hostapi.Probe{path.Probe(e.Mark)})
		if err != nil {
			return nil, err
		}
		if len(results) != 1 {
			return nil, errors.New("no result of the ping")
		}
		e.Probe = results[0]
		return nil, nil
	})
}

// collect fetches what the hosts copied.
func (s *session) collect(ctx context.Context, path *trace.Path, e *trace.Evidence) {
	var mu sync.Mutex
	s.capturers(ctx, "collect", func(ctx context.Context, name string, host hostapi.Capturer) error {
		_, places := path.Points(name)
		lost := int64(0)
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			e.Missed += lost
		}()
		for {
			got, err := host.Packets(ctx, hostapi.PacketsRequest{Patience: tracePatience})
			if err != nil {
				return err
			}
			mu.Lock()
			for _, p := range got.Packets {
				if p.Point < len(places) {
					e.Packets = append(e.Packets, trace.Copy{Hop: places[p.Point], Packet: p})
				}
			}
			lost = got.Lost // of all so far
			enough := len(e.Packets) >= mostTraced
			mu.Unlock()
			if len(got.Packets) == 0 || got.Ended || enough || ctx.Err() != nil {
				return ctx.Err()
			}
		}
	})
	slices.SortStableFunc(e.Packets, func(a, b trace.Copy) int { return a.Hop - b.Hop })
}

// mostTraced is how many packets a trace looks at: somebody else may ping between
// the two as fast as can be, and a host may lie.
const mostTraced = 20000
