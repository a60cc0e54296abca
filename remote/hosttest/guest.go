package hosttest

import (
	"fmt"
	"net/netip"
	"slices"

	"vxorch/remote/hostapi"
)

// guest is done or fails at once, as a probe does: the error says that the time
// is up, but none has passed.
func (w work) guest(g hostapi.Guest) (changed bool, err error) {
	d, err := w.Machine.virt.running(g.Domain)
	if err != nil {
		return false, err
	}
	if !ours(d.Mark, w.batch.Lab) {
		return false, foreign("domain", g.Domain)
	}
	if w.answers(d, g) {
		return false, nil
	}
	if w.Machine.virt.guests == GuestsNeedConsole && g.Console {
		for _, l := range d.inside.links {
			for _, i := range g.Interfaces {
				if i.MAC == l.MAC {
					l.setAddresses(i.Addresses)
				}
			}
		}
		if w.answers(d, g) {
			return true, nil
		}
	}
	return false, &hostapi.Error{
		Kind:    hostapi.KindInternal,
		Message: fmt.Sprintf("the guest does not answer after %v; its console ends with: %q", g.Deadline, "Kernel panic - not syncing"),
		Hint:    "look at its console: virsh console " + g.Domain,
	}
}

// answers tells whether d's guest has all of g's addresses and is on bridges.
func (w work) answers(d *domain, g hostapi.Guest) bool {
	if w.Machine.virt.silent[d.Name] {
		return false
	}
	for _, i := range g.Interfaces {
		answers := false
		for _, l := range d.inside.links {
			if l.MAC == i.MAC && w.attachment(l) != nil {
				has := l.prefixes()
				answers = !slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return !slices.Contains(has, p) })
			}
		}
		if !answers {
			return false
		}
	}
	return true
}

// running gives a domain that runs.
func (v *virt) running(name string) (*domain, error) {
	d := v.domains[name]
	switch {
	case v.unusable != nil:
		return nil, v.unusable
	case d == nil:
		return nil, invalid("no domain %q", name)
	case d.State != "running" || d.inside == nil:
		return nil, &hostapi.Error{Kind: hostapi.KindInternal, Message: fmt.Sprintf("domain %q does not run: it is %s", name, d.State)}
	}
	return d, nil
}

// console gives the domain of g if one can log in there.
func (v *virt) console(g hostapi.Guest) (*domain, error) {
	d, err := v.running(g.Domain)
	if err == nil && (v.guests == GuestsSilent || v.silent[g.Domain]) {
		err = &hostapi.Error{Kind: hostapi.KindInternal, Message: fmt.Sprintf("no login prompt on the console of %q after %v", g.Domain, g.Deadline)}
	}
	return d, err
}
