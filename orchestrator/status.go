package orchestrator

import (
	"context"
	"slices"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
)

// Status tells how everything stands that the lab wants on its hosts, has there
// or meets there in its way. It changes nothing and takes no lock.
func (c *Controller) Status(ctx context.Context, lab *inventory.Lab) Outcome {
	s := c.begin(lab)
	defer s.close()
	in, err := s.prepareImages(ctx)
	if err != nil {
		return s.refuse("status", err)
	}
	facts := s.gather(ctx, "", s.deployRequest(in))
	known := s.recall()
	s.nameLeft(known, facts)
	in.Known = s.lastKnown(known)
	objects, networks, problems := plan.Status(lab, facts, in)
	o := s.outcome("status", plan.Plan{Networks: networks}, problems)
	o.Result.Objects = append([]report.Object{}, objects...)
	if slices.ContainsFunc(objects, func(o report.Object) bool { return o.State != report.OK }) {
		o.Result.Result = report.Fail
	}
	for i := range o.Result.Hosts {
		h := &o.Result.Hosts[i]
		now, seen := facts[h.Name]
		if k, ok := known[h.Name]; ok && seen && k.Facts != nil && reaches(k, lab.Host(h.Name)) {
			h.Rebooted = k.Facts.BootID != now.BootID
		}
	}
	return o
}
