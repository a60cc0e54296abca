package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
	"vxorch/remote/hostapi"
)

// Clean has the hosts remove the helpers and base images that nothing uses any
// more, of whatever lab, and gives what was removed by host. What stands is not
// touched. Only the lab's hosts matter. On this machine, run.Here, it removes the
// images that were fetched and not used for long.
func (c *Controller) Clean(ctx context.Context, lab *inventory.Lab) (o Outcome, removed map[string][]string) {
	s := c.begin(lab)
	defer s.close()
	removed = map[string][]string{}
	var mu sync.Mutex
	s.each(func(name string) {
		if s.connectOne(ctx, name) != nil {
			return
		}
		_ = s.run.Stage(ctx, name, "clean", func(ctx context.Context) ([]string, error) { // recorded by Stage
			host, ok := s.host(name).(hostapi.Cleaner)
			if !ok {
				return nil, fmt.Errorf("%T cannot be cleaned", s.host(name))
			}
			gone, err := host.Clean(ctx)
			mu.Lock()
			defer mu.Unlock()
			removed[name] = slices.Clone(gone)
			return gone, err
		})
	})
	gone, err := c.Images.Prune(c.Now())
	if len(gone) > 0 {
		removed[run.Here] = gone
	}
	out := s.outcome("clean", plan.Plan{}, nil)
	if err != nil {
		out.Errs = append(out.Errs, fmt.Errorf("clean the cache of images: %w", err))
		out.Result.Result = report.Fail
	}
	return out, removed
}
