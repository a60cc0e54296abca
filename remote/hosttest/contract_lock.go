package hosttest

import (
	"errors"

	"vxorch/remote/hostapi"
)

func (b *bench) lock() {
	b.lockLab(b.Host)
	b.lockLab(b.Host) // its own lock is no obstacle
	second := b.reopen()
	if _, err := second.Observe(b.ctx(), b.locking()); !errors.Is(err, hostapi.ErrLocked) {
		b.Errorf("second session asks for the lock: %v, want ErrLocked", err)
	} else if holder := hostapi.AsError(err).Holder; holder == nil || holder.User != user || holder.Controller != controller || holder.Run != b.lab || holder.Since.IsZero() {
		b.Errorf("second session is told that %+v holds the lock, want it as it was taken", holder)
	}
	if _, err := second.Observe(b.ctx(), hostapi.ObserveRequest{Lab: b.lab}); err != nil {
		b.Errorf("second session only reads: %v", err)
	}
	if _, err := b.try(second, hostapi.Create, b.step(b.bridge())); !errors.Is(err, hostapi.ErrNotLocked) {
		b.Errorf("second session applies: %v, want ErrNotLocked", err)
	}
	if err := b.Host.Close(); err != nil {
		b.Errorf("Close: %v", err)
	}
	if _, err := second.Observe(b.ctx(), b.locking()); err != nil {
		b.Errorf("second session asks for the lock that was given back: %v", err)
	}
	if _, err := b.try(second, hostapi.Create, b.step(b.bridge())); err != nil {
		b.Errorf("second session applies with the lock: %v", err)
	}
	if _, err := b.try(second, hostapi.Remove, b.step(b.bridge())); err != nil {
		b.Errorf("second session removes: %v", err)
	}
}

func (b *bench) notLocked() {
	res, err := b.try(b.Host, hostapi.Create, b.step(b.bridge()))
	if !errors.Is(err, hostapi.ErrNotLocked) || len(res.Steps) != 0 {
		b.Errorf("apply without the lock: %+v, %v; want ErrNotLocked and no step begun", res, err)
	}
	b.nothingStands()
}

func (b *bench) twoLabs() {
	b.apply(hostapi.Create, b.whole()...)
	other := b.other()
	bridge, ns := other.bridge(), other.namespace()
	other.apply(hostapi.Create, other.step(bridge), other.step(ns))

	ask := hostapi.ObserveRequest{Links: []string{bridge.Name, b.bridge().Name}, Namespaces: []string{ns.Name, b.namespace().Name}}
	for _, viewer := range []*bench{b, other} {
		f := viewer.observe(ask)
		for name, lab := range map[string]string{bridge.Name: other.lab, b.bridge().Name: b.lab} {
			if l := viewer.link(f, name); l == nil || l.Mark == nil || l.Mark.Lab != lab {
				b.Errorf("lab %s sees link %s as %+v, want it of lab %s", viewer.lab, name, l, lab)
			}
		}
		for name, lab := range map[string]string{ns.Name: other.lab, b.namespace().Name: b.lab} {
			n := viewer.netns(f, name)
			if n == nil || n.Mark == nil || n.Mark.Lab != lab {
				b.Errorf("lab %s sees namespace %s as %+v, want it of lab %s", viewer.lab, name, n, lab)
			} else if (lab == viewer.lab) != (len(n.Links) > 0) {
				b.Errorf("lab %s sees links %+v in namespace %s of lab %s", viewer.lab, n.Links, name, lab)
			}
		}
	}
	for _, s := range []hostapi.Step{b.step(bridge), b.step(ns)} {
		for _, op := range []hostapi.Op{hostapi.Create, hostapi.Remove} {
			if _, err := b.try(b.Host, op, s); !errors.Is(err, hostapi.ErrForeign) {
				b.Errorf("%s of the other lab's object: %v, want ErrForeign", op, err)
			}
		}
	}
	other.standsAsWanted([]hostapi.Step{other.step(bridge), other.step(ns)})
}
