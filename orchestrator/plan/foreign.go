package plan

import (
	"fmt"

	"vxorch/remote/hostapi"
)

// refuseForeign finds what stands in the way of the lab without being its own:
// objects of wanted names, and VTEPs with the same VNI and port, which the
// kernel allows once.
func (d *deployment) refuseForeign(host string) {
	facts := d.facts[host]
	link := func(kind, name string) {
		if l := findLink(facts, name); l != nil {
			d.refuse(host, kind, name, l.Mark)
		}
	}
	for _, network := range d.networks {
		link(hostapi.KindVTEP, network.VXLAN)
		link(hostapi.KindBridge, network.Name)
		for _, l := range facts.Links {
			if l.VXLAN != nil && l.Name != network.VXLAN && l.VXLAN.VNI == network.VNI && l.VXLAN.Port == network.Port &&
				(l.Mark == nil || l.Mark.Lab != d.lab.Name) {
				d.problems = append(d.problems, &Problem{
					host, fmt.Sprintf("vni %d on udp port %d is taken by %s, which %s", network.VNI, network.Port, l.Name, owner(l.Mark)),
					fmt.Sprintf("give network %s another vni or port", network.Name),
				})
			}
		}
	}
	for _, c := range d.lab.Containers {
		if c.Host != host {
			continue
		}
		if n := findNamespace(facts, c.Netns); n != nil {
			d.refuse(host, hostapi.KindNamespace, c.Netns, n.Mark)
		}
		for _, leg := range c.Interfaces {
			link(hostapi.KindVeth, leg.Link)
		}
	}
}

// refuse makes an object of a wanted name a problem unless it is the lab's.
func (d *deployment) refuse(host, kind, name string, mark *hostapi.Mark) {
	if mark == nil || mark.Lab != d.lab.Name {
		p := &Problem{host, fmt.Sprintf("%s %s exists already and %s", kind, name, owner(mark)), d.inTheWay(host, mark)}
		d.problems = append(d.problems, p)
		d.taken[object{host, kind, name}] = p
	}
}

// inTheWay is the way out of an object that is not the lab's.
func (d *deployment) inTheWay(host string, m *hostapi.Mark) string {
	if m == nil {
		return "choose another name in the inventory, or remove it by hand if nobody needs it"
	}
	return "choose another name in the inventory, or take that lab away: " + DestroyCommand(m.Lab, d.lab.Host(host))
}

func owner(m *hostapi.Mark) string {
	if m == nil {
		return "was not made by vxorch"
	}
	return fmt.Sprintf("belongs to lab %q of %s@%s", m.Lab, m.User, m.Controller)
}
