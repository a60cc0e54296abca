package virt

import (
	"context"
	"encoding/xml"
	"fmt"
	"slices"

	"github.com/digitalocean/go-libvirt"

	"vxorch/remote/hostapi"
)

// domain is one as libvirt has it.
type domain struct {
	hostapi.DomainFacts
	handle libvirt.Domain
	state  libvirt.DomainState
}

// active says whether there is a QEMU of d's.
func (d *domain) active() bool {
	return d.state != libvirt.DomainShutoff && d.state != libvirt.DomainCrashed
}

// domain looks the domain up; nil if there is none.
func (c *conn) domain(name string, s store) (*domain, error) {
	handle, err := c.DomainLookupByName(name)
	if err == nil {
		var d *domain
		if d, err = c.readDomain(handle, s); err == nil {
			return d, nil
		}
	}
	if is(err, libvirt.ErrNoDomain) {
		return nil, nil
	}
	return nil, fmt.Errorf("look at domain %s: %w", name, c.classify(err))
}

// Running is nil if lab's domain of that name runs. An empty lab is any.
func (h *Host) Running(ctx context.Context, lab, name string) error {
	_, err := h.runningFacts(ctx, lab, name)
	return err
}

// Emulated says whether lab's running domain is emulated, without KVM.
func (h *Host) Emulated(ctx context.Context, lab, name string) (bool, error) {
	facts, err := h.runningFacts(ctx, lab, name)
	return facts.Emulated, err
}

func (h *Host) runningFacts(ctx context.Context, lab, name string) (hostapi.DomainFacts, error) {
	c, err := h.dial(ctx)
	if err != nil {
		return hostapi.DomainFacts{}, err
	}
	defer c.close()
	d, err := c.running(lab, name, h.store)
	if err != nil {
		return hostapi.DomainFacts{}, err
	}
	return d.DomainFacts, nil
}

func (c *conn) running(lab, name string, s store) (*domain, error) {
	d, err := c.domain(name, s)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, invalid("there is no domain %s", name)
	}
	if lab == "" && d.Mark != nil {
		lab = d.Mark.Lab
	}
	if err := ours(d.Mark, lab, hostapi.KindDomain, name); err != nil {
		return nil, err
	}
	if d.State != stateRunning && d.State != stateCutOff {
		return nil, &hostapi.Error{
			Kind: hostapi.KindInternal, Message: fmt.Sprintf("domain %s is %s", name, d.State),
			Hint: "its end may have left a reason in /var/log/libvirt/qemu/" + name + ".log; deploy starts it again",
		}
	}
	return d, nil
}

// domains gives lab's domains and those of the names asked for.
func (c *conn) domains(lab string, names []string, s store) ([]hostapi.DomainFacts, error) {
	handles, _, err := c.ConnectListAllDomains(1, 0)
	if err != nil {
		return nil, fmt.Errorf("list libvirt's domains: %w", c.classify(err))
	}
	var all []hostapi.DomainFacts
	for _, handle := range handles {
		d, err := c.readDomain(handle, s)
		if is(err, libvirt.ErrNoDomain) {
			continue // removed since they were listed
		}
		if err != nil {
			return nil, fmt.Errorf("look at domain %s: %w", handle.Name, c.classify(err))
		}
		if d.Mark != nil && d.Mark.Lab == lab || slices.Contains(names, d.Name) {
			all = append(all, d.DomainFacts)
		}
	}
	return all, nil
}

func (c *conn) readDomain(handle libvirt.Domain, s store) (*domain, error) {
	live, err := c.definition(handle, 0)
	if err != nil {
		return nil, err
	}
	state, _, err := c.DomainGetState(handle, 0)
	if err != nil {
		return nil, err
	}
	persistent, err := c.DomainIsPersistent(handle)
	if err != nil {
		return nil, err
	}
	var kept *domainXML
	if persistent == 1 {
		if kept, err = c.definition(handle, libvirt.DomainXMLInactive); err != nil {
			return nil, err
		}
	}
	d := &domain{handle: handle, state: libvirt.DomainState(state), DomainFacts: readDefinition(*live, kept, s)}
	d.Name, d.State = handle.Name, stateName(d.state)
	if d.Mark == nil || d.State != stateRunning {
		return d, nil
	}
	if connected, err := c.connected(d); err != nil {
		return nil, err
	} else if !connected {
		d.State = stateCutOff
	}
	return d, nil
}

// definition reads one of a domain's two.
func (c *conn) definition(handle libvirt.Domain, which libvirt.DomainXMLFlags) (*domainXML, error) {
	text, err := c.DomainGetXMLDesc(handle, which)
	if err != nil {
		return nil, err
	}
	d := &domainXML{}
	return d, xml.Unmarshal([]byte(text), d)
}
