package orchestrator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/preflight"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
	"vxorch/remote/hostapi"
)

// Patience for datagrams that have been sent: twice, since a lost one proves
// nothing.
const tryPatience = 300 * time.Millisecond

// Check looks for what would keep lab from working before anything of it is
// built. It changes nothing and takes no lock. An image given by URL is not
// fetched.
func (c *Controller) Check(ctx context.Context, lab *inventory.Lab) Outcome {
	s := c.begin(lab)
	defer s.close()
	in, imageFindings := s.checkImages(ctx)
	var err error
	if in.Password, err = s.password(); err != nil {
		return s.refuse("check", err)
	}
	facts := s.gather(ctx, "", func(host string) hostapi.ObserveRequest {
		req := plan.Request(lab, host, in)
		if req.Virt != nil {
			req.Virt.Images = slices.DeleteFunc(req.Virt.Images, func(i hostapi.Image) bool { return i == hostapi.Image{} })
		}
		return req
	})
	in.Known = s.lastKnown(s.recall())
	s.tryMulticast(ctx, facts, &in)
	p, problems := plan.Deploy(lab, facts, in)
	if len(facts) == 1 && len(s.run.Errs()) > 0 {
		// Where no other host answers, their addresses may be wrong or not known at
		// all: that no route leads to them says nothing of the host.
		problems = slices.DeleteFunc(problems, (*plan.Problem).Unrouted)
	}
	e := preflight.Evidence{
		Ground: plan.Survey(lab, facts, in), Problems: problems, Blocks: p.Blocks(), Uploads: p.Uploads,
		Came: noneCame(),
	}
	token := tryToken()
	e.Seen = s.look(ctx, token, facts, e.Ground)
	s.try(ctx, token, &e, func(hosts []string) preflight.Try {
		return preflight.NewTry(e.Ground, hosts, uint64(s.c.Now().UnixNano()))
	})
	for name, seen := range e.Seen {
		seen.Gone = s.run.Err(name) != nil
		e.Seen[name] = seen
	}
	for i := range p.Networks {
		p.Networks[i].Unproved = "" // a check proves nothing, and need not say so
	}
	out := s.outcome("check", plan.Plan{Networks: p.Networks}, nil)
	out.Result.Findings = append(imageFindings, preflight.Judge(lab, e)...)
	if slices.ContainsFunc(out.Result.Findings, func(f report.Finding) bool { return f.Severity == report.SeverityError }) {
		out.Result.Result = report.Fail
	}
	return out
}

func noneCame() preflight.Came {
	return preflight.Came{Unsent: map[uint32]*hostapi.Error{}, Heard: map[string]map[uint32]bool{}}
}

// tryToken tells the datagrams of this try from all others.
func tryToken() string {
	var token [8]byte
	_, _ = rand.Read(token[:]) // never fails
	return hex.EncodeToString(token[:])
}

// checkImages looks up the images that are here or on the hosts.
func (s *session) checkImages(ctx context.Context) (plan.Inputs, []report.Finding) {
	in := plan.Inputs{Part: s.c.Part, Images: map[string]hostapi.Image{}, Sizes: map[string]int64{}}
	var findings []report.Finding
	asked := map[string]bool{}
	for _, vm := range s.lab.VMs {
		image := s.lab.Image(vm.Image)
		switch {
		case asked[image.Name] || image.URL != "":
		case image.Path != "":
			in.Images[image.Name] = hostapi.Image{Path: image.Path}
		default:
			source, err := s.resolveImage(ctx, image)
			if err != nil {
				e := hostapi.AsError(err)
				findings = append(findings, report.Finding{
					Severity: report.SeverityError, Layer: "image", Host: run.Here, Cause: "image " + image.Name + " cannot be used", Proof: e.Message, Mend: e.Hint, Probes: []int{},
				})
				break
			}
			in.Images[image.Name] = hostapi.Image{SHA256: source.SHA256}
			in.Sizes[image.Name] = source.Size
		}
		asked[image.Name] = true
	}
	return in, findings
}

// checkStage runs f on the hosts that facts were gathered from, at once.
func (s *session) checkStage(ctx context.Context, stage string, hosts []string, f func(ctx context.Context, name string, host hostapi.Checker) error) {
	var wg sync.WaitGroup
	for _, name := range hosts {
		wg.Go(func() {
			_ = s.run.Stage(ctx, name, stage, func(ctx context.Context) ([]string, error) { // recorded by Stage
				host, ok := s.host(name).(hostapi.Checker)
				if !ok {
					return nil, fmt.Errorf("%T cannot be checked", s.host(name))
				}
				return nil, f(ctx, name, host)
			})
		})
	}
	wg.Wait()
}

// look checks the hosts, and has them listen for the try of that token.
func (s *session) look(ctx context.Context, token string, facts map[string]hostapi.Facts, ground plan.Ground) map[string]preflight.Seen {
	seen := map[string]preflight.Seen{}
	for name, f := range facts {
		seen[name] = preflight.Seen{Facts: f}
	}
	var mu sync.Mutex
	s.checkStage(ctx, "look", slices.Collect(maps.Keys(facts)), func(ctx context.Context, name string, host hostapi.Checker) error {
		req := preflight.Request(s.lab, name, ground)
		req.Listen = preflight.Listen(token, ground, name)
		began := s.c.Now()
		check, err := host.Check(ctx, req)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		seen[name] = preflight.Seen{Facts: facts[name], Check: &check, Clock: ahead(check.Time, began, s.c.Now())}
		return nil
	})
	return seen
}

// ahead is how far a host's clock is ahead, at least, if it was read between two
// moments of ours.
func ahead(host, began, ended time.Time) time.Duration {
	switch {
	case host.After(ended):
		return host.Sub(ended)
	case host.Before(began):
		return host.Sub(began)
	}
	return 0
}

// try has the hosts that listen send each other datagrams, as the lab's tunnels
// will do, and collects what came. All listen before the first one sends. What did
// not come is sent once more.
func (s *session) try(ctx context.Context, token string, e *preflight.Evidence, what func(hosts []string) preflight.Try) (hosts []string) {
	for name, seen := range e.Seen {
		if seen.Check != nil && seen.Check.Deaf == nil && e.Ground.Underlays[name].Device != "" {
			hosts = append(hosts, name)
		}
	}
	e.Try = what(hosts)
	var again map[uint32]bool // nil: all
	for range 2 {
		if len(e.Try.Attempts) == 0 || again != nil && len(again) == 0 {
			break
		}
		s.sendTry(ctx, token, e, hosts, again)
		s.hear(ctx, e, hosts)
		again = e.Try.Missing(e.Came, hosts)
	}
	return hosts
}

func (s *session) sendTry(ctx context.Context, token string, e *preflight.Evidence, hosts []string, ids map[uint32]bool) {
	var mu sync.Mutex
	s.checkStage(ctx, "send", hosts, func(ctx context.Context, name string, host hostapi.Checker) error {
		return sendDatagrams(ctx, host, token, name, e, ids, &mu)
	})
}

func (s *session) hear(ctx context.Context, e *preflight.Evidence, hosts []string) {
	var mu sync.Mutex
	s.checkStage(ctx, "hear", hosts, func(ctx context.Context, name string, host hostapi.Checker) error {
		return hearDatagrams(ctx, host, name, e, &mu)
	})
}
