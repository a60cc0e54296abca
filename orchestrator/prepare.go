package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// Lack is what one host lacks for its part of a lab.
type Lack struct {
	Host string
	hostapi.Preparation
}

// Prepare has the hosts install what they lack for their part of lab, after
// confirm has seen it; its error ends the verb before anything is changed. It
// fetches the images that are given by URL, too. What is left to be started by
// hand is a finding.
func (c *Controller) Prepare(ctx context.Context, lab *inventory.Lab, confirm func([]Lack) error) Outcome {
	s := c.begin(lab)
	defer s.close()
	lacks := s.lacks(ctx)
	if slices.ContainsFunc(lacks, Lack.installable) {
		if err := confirm(lacks); err != nil {
			return s.refuse("prepare", err)
		}
	}
	fetched := make(chan error, 1)
	go func() { fetched <- s.fetch(ctx) }()
	s.install(ctx, lacks)
	failed := <-fetched
	out := s.outcome("prepare", plan.Plan{}, nil)
	if failed != nil {
		out.Errs = append(out.Errs, failed)
		out.Result.Result, out.Result.Error = report.Fail, failed.Error()
	}
	for _, l := range lacks {
		if len(l.Daemons) > 0 && s.run.Err(l.Host) == nil {
			out.Result.Result = report.Fail
			out.Result.Findings = append(out.Result.Findings, report.Finding{
				Layer: "libvirt", Host: l.Host, Cause: "it does not run, and there is no systemd to start it",
				Proof: "nobody answers at its sockets", Mend: "start on " + l.Host + ": " + strings.Join(l.Daemons, "; "),
				Probes: []int{},
			})
		}
	}
	return out
}

// installable tells whether there is something to do but by hand.
func (l Lack) installable() bool { return len(l.Packages) > 0 || len(l.Units) > 0 }

// lacks asks all hosts what they lack and gives those that lack something, by
// name.
func (s *session) lacks(ctx context.Context) []Lack {
	var mu sync.Mutex
	var all []Lack
	s.each(func(name string) {
		if s.connectOne(ctx, name) != nil {
			return
		}
		_ = s.run.Stage(ctx, name, "look", func(ctx context.Context) ([]string, error) { // recorded by Stage
			host, ok := s.host(name).(hostapi.Preparer)
			if !ok {
				return nil, fmt.Errorf("%T cannot be prepared", s.host(name))
			}
			missing, err := host.Missing(ctx, s.part(name))
			if err == nil && !missing.Empty() {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, Lack{name, missing})
			}
			return nil, err
		})
	})
	slices.SortFunc(all, func(a, b Lack) int { return cmp.Compare(a.Host, b.Host) })
	return all
}

// part is what of the lab stands on a host.
func (s *session) part(host string) hostapi.PrepareRequest {
	return hostapi.PrepareRequest{
		FRR:     s.lab.EVPN != nil && !s.lab.EVPN.Existing, // to install it would stop the host's own service
		Libvirt: slices.ContainsFunc(s.lab.VMs, func(vm inventory.VM) bool { return vm.Host == host }),
	}
}

// install has the hosts of lacks prepared and puts down there what is left to
// be done by hand.
func (s *session) install(ctx context.Context, lacks []Lack) {
	var wg sync.WaitGroup
	for i := range lacks {
		l := &lacks[i]
		if !l.installable() {
			continue
		}
		wg.Go(func() {
			_ = s.run.Stage(ctx, l.Host, "install", func(ctx context.Context) ([]string, error) { // recorded by Stage
				done, err := s.host(l.Host).(hostapi.Preparer).Prepare(ctx, s.part(l.Host))
				for _, note := range done.Notes {
					s.run.Note(l.Host, "install", note)
				}
				l.Daemons = done.Daemons
				return slices.Concat(done.Packages, done.Units), err
			})
		})
	}
	wg.Wait()
}

// fetch brings the images that are given by URL into the controller's cache.
func (s *session) fetch(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, image := range s.lab.Images {
		if image.URL == "" {
			continue
		}
		group.Go(func() error {
			_, err := s.resolveImage(ctx, image)
			return err
		})
	}
	return group.Wait()
}
