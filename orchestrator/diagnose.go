package orchestrator

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"vxorch/orchestrator/diagnose"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/preflight"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// diagnoseTimeout bounds the whole of it: a lab that fails is not to be waited for.
const diagnoseTimeout = 20 * time.Second

// diagnosed adds to the outcome why its probes failed. A lab of which none failed
// costs nothing. What cannot be found out is left out: it fails nobody.
func (s *session) diagnosed(ctx context.Context, in plan.Inputs, o Outcome) Outcome {
	hosts := slices.DeleteFunc(diagnose.Hosts(s.lab, o.Result.Probes), func(name string) bool {
		return s.host(name) == nil || s.run.Err(name) != nil
	})
	if len(hosts) == 0 || ctx.Err() != nil {
		return o
	}
	_ = s.run.Local("diagnose", func(func(string)) error {
		ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
		defer cancel()
		e := s.evidence(ctx, in, hosts, o.Result.Probes)
		o.Result.Findings = append(o.Result.Findings, diagnose.Findings(s.lab, o.Result.Probes, e)...)
		return nil
	})
	return o
}

// evidence gathers in four round trips, all hosts at once: how they stand; what
// they count, while they begin to listen; the probes again, with datagrams over
// the underlay; what they count now, and what came.
func (s *session) evidence(ctx context.Context, in plan.Inputs, hosts []string, probes []report.Probe) diagnose.Evidence {
	e := diagnose.Evidence{
		Facts: s.observeAgain(ctx, in, hosts), Before: map[string]hostapi.Inspection{}, After: map[string]hostapi.Inspection{},
		Again: map[int]hostapi.ProbeResult{},
	}
	var mu sync.Mutex
	hosts = slices.Sorted(maps.Keys(e.Facts))
	in.Known = s.lastKnown(s.recall())
	_, e.Problems = plan.Deploy(s.lab, e.Facts, in)
	e.Ground, e.Told = plan.Survey(s.lab, e.Facts, in), plan.Told(s.lab, e.Facts, in)

	token := tryToken()
	e.Try = preflight.Evidence{Ground: e.Ground, Seen: map[string]preflight.Seen{}, Came: noneCame()}
	var neighbours []hostapi.Neighbour
	among(hosts, func(name string) {
		before, err := s.inspect(ctx, name, probes, e.Ground, nil)
		if err != nil {
			return
		}
		check := s.listen(ctx, token, name, e.Ground)
		mu.Lock()
		defer mu.Unlock()
		e.Before[name] = before
		e.Try.Seen[name] = preflight.Seen{Facts: e.Facts[name], Check: check}
		neighbours = append(neighbours, before.Neighbours...)
	})
	listening := slices.DeleteFunc(slices.Clone(hosts), func(name string) bool {
		check := e.Try.Seen[name].Check
		return check == nil || check.Deaf != nil
	})
	e.Try.Try = preflight.NewTry(e.Ground, listening, 0)
	try := func(name string, part func(hostapi.Checker) error) {
		if part(s.host(name).(hostapi.Checker)) != nil {
			mu.Lock()
			defer mu.Unlock()
			e.Try.Lose(name)
		}
	}
	among(hosts, func(name string) {
		var sending sync.WaitGroup
		if slices.Contains(listening, name) {
			sending.Go(func() {
				try(name, func(h hostapi.Checker) error { return sendDatagrams(ctx, h, token, name, &e.Try, nil, &mu) })
			})
		}
		again, indices := diagnose.Again(s.lab, name, probes)
		if results, err := s.host(name).Probe(ctx, again); err == nil && len(results) == len(indices) {
			mu.Lock()
			for i, at := range indices {
				e.Again[at] = results[i]
			}
			mu.Unlock()
		}
		sending.Wait()
	})
	among(hosts, func(name string) {
		var hearing sync.WaitGroup
		if slices.Contains(listening, name) {
			hearing.Go(func() { try(name, func(h hostapi.Checker) error { return hearDatagrams(ctx, h, name, &e.Try, &mu) }) })
		}
		after, err := s.inspect(ctx, name, probes, e.Ground, neighbours)
		hearing.Wait()
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			e.After[name] = after
		}
	})
	return e
}

// observeAgain reads how hosts stand after a run; one that does not say is left out.
func (s *session) observeAgain(ctx context.Context, in plan.Inputs, hosts []string) map[string]hostapi.Facts {
	all := map[string]hostapi.Facts{}
	var mu sync.Mutex
	peers := s.resolvePeers(ctx)
	among(hosts, func(name string) {
		req := plan.Request(s.lab, name, in)
		if req.Peers = peers(name); req.Virt != nil {
			req.Virt.Images = nil
		}
		facts, err := s.host(name).Observe(ctx, req)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			all[name] = facts
		}
	})
	return all
}

func (s *session) inspect(ctx context.Context, name string, probes []report.Probe, ground plan.Ground, seen []hostapi.Neighbour) (hostapi.Inspection, error) {
	inspector, ok := s.host(name).(hostapi.Inspector)
	if !ok {
		return hostapi.Inspection{}, &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "it cannot be looked into"}
	}
	req := diagnose.Request(s.lab, name, probes, seen)
	req.BGP = diagnose.BGPQuery(s.lab, name, ground)
	return inspector.Inspect(ctx, req)
}

// listen has a host listen for the try of that token; nil: it does not.
func (s *session) listen(ctx context.Context, token, name string, ground plan.Ground) *hostapi.CheckFacts {
	checker, ok := s.host(name).(hostapi.Checker)
	listen := preflight.Listen(token, ground, name)
	if !ok || listen == nil {
		return nil
	}
	req := hostapi.CheckRequest{Lab: s.lab.Name, Device: ground.Underlays[name].Device, Listen: listen}
	for _, n := range s.lab.Networks {
		req.Bridges = append(req.Bridges, n.Name)
	}
	check, err := checker.Check(ctx, req)
	if err != nil {
		return nil
	}
	return &check
}
