package diagnose

import (
	"fmt"
	"slices"

	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// guest looks at a VM as libvirt shows it.
func (d *doctor) guest(e end) *report.Finding {
	virt := d.Facts[e.host].Virt
	if virt == nil || virt.Unusable != nil {
		return nil
	}
	i := slices.IndexFunc(virt.Domains, func(f hostapi.DomainFacts) bool { return f.Name == e.vm.Domain })
	switch {
	case i < 0:
		return &report.Finding{Cause: fmt.Sprintf("VM %s does not exist", e.name), Proof: "libvirt has no domain " + e.vm.Domain, Mend: redeploy}
	case virt.Domains[i].State != "running":
		return &report.Finding{
			Cause: fmt.Sprintf("VM %s is not up", e.name), Proof: fmt.Sprintf("libvirt: domain %s is %s, not running", e.vm.Domain, virt.Domains[i].State),
			Mend: redeploy,
		}
	}
	return nil
}

// silent looks for a guest that says nothing although frames come in for its
// segment while it is asked for, and that nobody has heard of: where its VM runs, it
// hangs, has not come up, or has lost its network.
func (d *doctor) silent(p path) *report.Finding {
	for _, ends := range p.ends() {
		e := ends[0]
		if e.vm == nil || d.heard(p, e.name) {
			continue
		}
		before, after := state(d.Before[e.host], e.leg.Link), state(d.After[e.host], e.leg.Link)
		if before.Name == "" || after.Name == "" || after.Received != before.Received {
			continue
		}
		for _, port := range d.ports(p.network, e.host) {
			was, is := state(d.Before[e.host], port), state(d.After[e.host], port)
			if port == e.leg.Link || was.Name == "" || is.Received <= was.Received {
				continue
			}
			return &report.Finding{
				Layer: LayerGuest, Host: e.host, Cause: fmt.Sprintf("the guest of VM %s says nothing", e.name),
				Proof: fmt.Sprintf("%s took in %d packets, then %d; the VM's tap %s stayed at %d", port, was.Received, is.Received, e.leg.Link, after.Received),
				Mend:  fmt.Sprintf("virsh console %s shows what it is at; virsh reset %s starts it anew", e.vm.Domain, e.vm.Domain),
			}
		}
	}
	return nil
}

// heard tells whether a workload has answered or sent anything in a path's network.
func (d *doctor) heard(p path, name string) bool {
	return slices.ContainsFunc(d.probes, func(q report.Probe) bool {
		return q.Network == p.Network && q.Received > 0 && q.Kind != report.KindIsolation && (q.From == name || q.To == name)
	})
}
