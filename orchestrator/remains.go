package orchestrator

import (
	"context"
	"strings"
	"time"

	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

// everything asks for whatever bears the lab's mark, wherever it is.
func (s *session) everything() hostapi.ObserveRequest {
	return hostapi.ObserveRequest{Lab: s.lab.Name, Virt: &hostapi.VirtQuery{}, Thorough: true}
}

// sessionGrace is how long other sessions of the lab may take to end: those of
// reading verbs are short, one that is over ends a moment after its verb, and one
// that wants our lock gives up.
const sessionGrace = yieldTimeout + 2*time.Second

// observeAlone looks for everything, again and again while others still work for
// the lab.
func (s *session) observeAlone(ctx context.Context, host hostapi.Host) (hostapi.Facts, error) {
	late := time.After(sessionGrace)
	for {
		facts, err := host.Observe(ctx, s.everything())
		if err != nil || len(facts.Sessions) == 0 {
			return facts, err
		}
		select {
		case <-late:
			return facts, nil
		case <-ctx.Done():
			return facts, nil
		case <-time.After(sessionGrace / 20):
		}
	}
}

// lookForRemains makes a host on which something of the lab is left a failed one.
// A host of which facts, from before the teardown, show nothing need not be asked
// again.
func (s *session) lookForRemains(ctx context.Context, facts map[string]hostapi.Facts) {
	s.each(func(name string) {
		host := s.host(name)
		if host == nil || s.run.Err(name) != nil || len(plan.Remains(s.lab.Name, facts[name])) == 0 {
			return
		}
		_ = s.run.Stage(ctx, name, "look", func(ctx context.Context) ([]string, error) { // recorded by Stage
			// A batch sweeps up what runs that died left behind, also one of no steps.
			if _, err := host.Apply(ctx, s.batch()); err != nil {
				return nil, err
			}
			facts, err := s.observeAlone(ctx, host)
			if err != nil {
				return nil, err
			}
			remains := plan.Remains(s.lab.Name, facts)
			if len(remains) == 0 {
				return nil, nil
			}
			hint := "vxorch takes away what stands where it puts things; remove these by hand, then run destroy again"
			if len(remains) == len(facts.Sessions) {
				hint = "somebody looks at the lab: wait for the end of that, then run destroy again"
			}
			return nil, &hostapi.Error{Kind: hostapi.KindInternal, Message: "still there: " + strings.Join(remains, ", "), Hint: hint}
		})
	})
}
