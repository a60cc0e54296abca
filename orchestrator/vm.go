package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"vxorch/inventory"
	"vxorch/orchestrator/images"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/run"
	"vxorch/remote/hostapi"
)

// stageImage is an image on its way to a host.
const stageImage = "image"

// parallelUploads is to how many hosts images travel at once: a few fill the
// controller's line, and the first hosts have theirs the earlier.
const parallelUploads = 8

// prepareImages looks up the images that the lab's VMs use, fetching what is
// given by URL, makes the VMs' seeds, and reads EVPN's password. It reaches no host.
func (s *session) prepareImages(ctx context.Context) (plan.Inputs, error) {
	in := plan.Inputs{Part: s.c.Part, Full: s.c.Full, Images: map[string]hostapi.Image{}, Sizes: map[string]int64{}, Seeds: map[string][]byte{}}
	var err error
	if in.Password, err = s.password(); err != nil {
		return in, err
	}
	s.sources = map[string]images.Source{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	asked := map[string]bool{}
	for _, vm := range s.lab.VMs {
		if !slices.Contains(s.chosen, vm.Host) {
			continue
		}
		if vm.Provision == inventory.ProvisionAuto || vm.Provision == inventory.ProvisionNoCloud {
			seed, err := images.Seed(s.lab, vm)
			if err != nil {
				return in, fmt.Errorf("seed of %s: %w", vm.Name, err)
			}
			in.Seeds[vm.Name] = seed
		}
		image := s.lab.Image(vm.Image)
		if asked[image.Name] {
			continue
		}
		asked[image.Name] = true
		if image.Path != "" {
			mu.Lock()
			in.Images[image.Name] = hostapi.Image{Path: image.Path, Sum: image.SHA256}
			mu.Unlock()
			continue
		}
		group.Go(func() error {
			source, err := s.resolveImage(ctx, image)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			s.sources[image.Name] = source
			in.Images[image.Name] = hostapi.Image{SHA256: source.SHA256}
			in.Sizes[image.Name] = source.Size
			return nil
		})
	}
	return in, group.Wait()
}

// resolveImage finds an image; fetching one shows how far it is.
func (s *session) resolveImage(ctx context.Context, image inventory.Image) (source images.Source, err error) {
	if image.URL == "" {
		return s.c.Images.Resolve(ctx, image, nil)
	}
	stage := "image " + image.Name
	err = s.run.Local(stage, func(func(string)) error {
		source, err = s.c.Images.Resolve(ctx, image, sparsely(func(done, total int64) { s.run.Transfer(run.Here, stage, "", done, total) }))
		return err
	})
	return source, err
}

// sparsely tells progress no more often than its whole MiB change, and at the end.
func sparsely(tell func(done, total int64)) images.Progress {
	last := int64(-1)
	return func(done, total int64) {
		if done>>20 == last && done != total {
			return
		}
		last = done >> 20
		tell(done, total)
	}
}

// uploads are images on their way to hosts, while these do other things.
type uploads struct {
	s      *session
	ctx    context.Context
	cancel context.CancelFunc
	hosts  map[string]*hostUploads
}

// hostUploads are one host's.
type hostUploads struct {
	done    chan struct{} // closed when the rest is settled
	changed []string
	err     error
}

// upload begins to send the images to their hosts.
func (s *session) upload(ctx context.Context, list []plan.Upload) uploads {
	sending, cancel := context.WithCancel(ctx)
	turns := semaphore.NewWeighted(parallelUploads)
	u := uploads{s, ctx, cancel, map[string]*hostUploads{}}
	byHost := map[string][]plan.Upload{}
	for _, one := range list {
		byHost[one.Host] = append(byHost[one.Host], one)
	}
	for host, those := range byHost {
		h := &hostUploads{done: make(chan struct{})}
		u.hosts[host] = h
		go func() {
			defer close(h.done)
			if h.err = turns.Acquire(sending, 1); h.err != nil {
				return
			}
			defer turns.Release(1)
			for _, one := range those {
				changed, err := s.send(sending, one)
				h.changed = append(h.changed, changed...)
				if err != nil {
					h.err = err
					return
				}
			}
		}()
	}
	return u
}

// send sends one image and names it if any of it had to travel.
func (s *session) send(ctx context.Context, u plan.Upload) (changed []string, err error) {
	sent, err := images.Upload(ctx, s.host(u.Host), s.lab.Name, s.sources[u.Image], sparsely(func(done, total int64) {
		s.run.Transfer(u.Host, stageImage, u.Image, done, total)
	}))
	if sent > 0 {
		changed = []string{"image " + u.Image}
	}
	if err != nil {
		return changed, fmt.Errorf("image %s: %w", u.Image, err)
	}
	return changed, nil
}

// await waits for a host's images before the phase that needs them, as a stage of
// its own: what goes wrong with an image concerns nothing that comes before.
func (u uploads) await(host, phase string) {
	h := u.hosts[host]
	if phase != plan.PhaseVM || h == nil {
		return
	}
	_ = u.s.run.Stage(u.ctx, host, stageImage, func(context.Context) ([]string, error) { // recorded by Stage
		<-h.done
		return h.changed, run.VMsOnly(h.err)
	})
}

// end gives up what nobody waits for any more, since its host has failed.
func (u uploads) end() {
	u.cancel()
	for _, h := range u.hosts {
		<-h.done
	}
}
