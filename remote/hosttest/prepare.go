package hosttest

import (
	"context"
	"maps"
	"slices"

	"vxorch/remote/hostapi"
)

var (
	_ hostapi.Preparer = (*Session)(nil)
	_ hostapi.Cleaner  = (*Session)(nil)
)

// installable is what a machine without libvirt lacks, by steps.
type installable struct {
	packages, units, daemons []string
}

func (o MachineOptions) lacks() installable {
	switch {
	case !o.NoLibvirt:
		return installable{}
	case o.NoSystemd:
		return installable{packages: []string{"libvirt", "qemu"}, daemons: []string{"libvirtd -d"}}
	}
	return installable{packages: []string{"libvirt", "qemu"}, units: []string{"libvirtd.socket"}}
}

// StartDaemons does by hand what Prepare leaves to be done.
func (m *Machine) StartDaemons() {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.virt.lacks.daemons, m.virt.unusable = nil, nil
}

// Missing is hostapi.Preparer's.
func (s *Session) Missing(ctx context.Context, req hostapi.PrepareRequest) (hostapi.Preparation, error) {
	return s.prepare(ctx, req, false)
}

// Prepare is hostapi.Preparer's.
func (s *Session) Prepare(ctx context.Context, req hostapi.PrepareRequest) (hostapi.Preparation, error) {
	return s.prepare(ctx, req, true)
}

func (s *Session) prepare(ctx context.Context, req hostapi.PrepareRequest, do bool) (p hostapi.Preparation, err error) {
	ctx, stop := s.during(ctx)
	defer stop()
	at := BeforeObserve
	if do {
		at = BeforePrepare
	}
	if err := s.moment(ctx, at, nil); err != nil {
		return p, err
	}
	m := s.machine
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	if err := s.ended(ctx); err != nil {
		return p, err
	}
	lacks := &m.virt.lacks
	if req.Libvirt {
		p = hostapi.Preparation{Packages: lacks.packages, Units: lacks.units, Daemons: lacks.daemons}
	}
	if req.FRR && m.noFRR {
		p.Packages = append(slices.Clone(p.Packages), "frr")
	}
	if len(p.Packages) > 0 {
		p.Manager = "apt"
	}
	if do && req.FRR {
		m.noFRR = false
	}
	if do && req.Libvirt {
		lacks.packages, lacks.units = nil, nil
		if len(lacks.daemons) == 0 {
			m.virt.unusable = nil
		}
	}
	return p, nil
}

// Clean is hostapi.Cleaner's.
func (s *Session) Clean(ctx context.Context) (removed []string, err error) {
	ctx, stop := s.during(ctx)
	defer stop()
	if err := s.moment(ctx, BeforeClean, nil); err != nil {
		return nil, err
	}
	m := s.machine
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	if err := s.ended(ctx); err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, d := range m.virt.domains {
		used[d.want.Image.SHA256] = true
	}
	others := false // one of them is at work
	for _, l := range m.locks {
		others = others || l.session != s
	}
	for _, sum := range slices.Sorted(maps.Keys(m.virt.images)) {
		i := m.virt.images[sum]
		delete(i.held, s)
		maps.DeleteFunc(i.held, func(holder *Session, _ bool) bool { return !m.sessions[holder] })
		if !used[sum] && len(i.held) == 0 && (i.whole || !others) {
			delete(m.virt.images, sum)
			removed = append(removed, "image "+sum)
		}
	}
	return removed, nil
}
