package orchestrator

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"vxorch/inventory"
	"vxorch/orchestrator/images"
	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

// stageImage is an image on its way to a host.
const stageImage = "image"

// prepareImages looks up the images that the lab's VMs use, fetching what is
// given by URL, and makes the VMs' seeds. It reaches no host.
func (s *session) prepareImages(ctx context.Context) (plan.Inputs, error) {
	in := plan.Inputs{Images: map[string]hostapi.Image{}, Sizes: map[string]int64{}, Seeds: map[string][]byte{}}
	s.sources = map[string]images.Source{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	asked := map[string]bool{}
	for _, vm := range s.lab.VMs {
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
			in.Images[image.Name] = hostapi.Image{Path: image.Path}
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
	err = s.run.Local("image "+image.Name, func(progress func(string)) error {
		source, err = s.c.Images.Resolve(ctx, image, inMiB(progress))
		return err
	})
	return source, err
}

// inMiB tells progress in whole MiB, and not more often than those change.
func inMiB(progress func(far string)) images.Progress {
	last := int64(-1)
	return func(done, total int64) {
		if done>>20 == last {
			return
		}
		last = done >> 20
		if total > 0 {
			progress(fmt.Sprintf("%d of %d MiB", done>>20, total>>20))
		} else {
			progress(fmt.Sprintf("%d MiB", done>>20))
		}
	}
}

// uploads are images on their way to hosts, while these do other things.
type uploads struct {
	cancel context.CancelFunc
	done   map[string]chan struct{} // by host
}

// upload begins to send the images to their hosts.
func (s *session) upload(ctx context.Context, list []plan.Upload) uploads {
	ctx, cancel := context.WithCancel(ctx)
	u := uploads{cancel, map[string]chan struct{}{}}
	byHost := map[string][]plan.Upload{}
	for _, one := range list {
		byHost[one.Host] = append(byHost[one.Host], one)
	}
	for host, those := range byHost {
		done := make(chan struct{})
		u.done[host] = done
		go func() {
			defer close(done)
			for _, one := range those {
				_ = s.run.Stage(ctx, host, stageImage, func(ctx context.Context) ([]string, error) { // recorded by Stage
					return s.send(ctx, one)
				})
			}
		}()
	}
	return u
}

// send sends one image and names it if any of it had to travel.
func (s *session) send(ctx context.Context, u plan.Upload) (changed []string, err error) {
	sent, err := images.Upload(ctx, s.host(u.Host), s.lab.Name, s.sources[u.Image], inMiB(func(far string) {
		s.run.Progress(u.Host, stageImage, u.Image+" "+far)
	}))
	if sent > 0 {
		changed = []string{"image " + u.Image}
	}
	if err != nil {
		return changed, fmt.Errorf("image %s: %w", u.Image, err)
	}
	return changed, nil
}

// await waits for a host's images before the phase that needs them.
func (u uploads) await(host, phase string) {
	if done := u.done[host]; phase == plan.PhaseVM && done != nil {
		<-done
	}
}

// end gives up what nobody waits for any more, since its host has failed.
func (u uploads) end() {
	u.cancel()
	for _, done := range u.done {
		<-done
	}
}
