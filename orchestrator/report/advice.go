package report

import (
	"fmt"
	"slices"
)

// advice says where to look for the cause of lost pings: in the lowest layer
// that lost one.
func (t *textWriter) advice() string {
	const bridges = "look on the hosts for a firewall that filters bridged frames (net.bridge.bridge-nf-call-iptables = 1 with a FORWARD policy of DROP)"
	is := func(what func(Probe) bool) bool { return slices.ContainsFunc(t.Probes, what) }
	if i := slices.IndexFunc(t.Probes, func(p Probe) bool { return p.Lost() && p.Hint != "" }); i >= 0 {
		return t.Probes[i].Hint
	}
	switch {
	case is(func(p Probe) bool { return p.Lost() && p.Sent == 0 }):
		return "what could not even be sent lacks a link or an address: `vxorch deploy` mends that"
	case is(func(p Probe) bool { return p.Lost() && p.Stage == StageVTEP }):
		return t.underlay()
	case !is(func(p Probe) bool { return p.Lost() && (!p.OverTCP() || p.Stage != StageCheck) }):
		return "everything else passes: look for a firewall in the containers, or one on the hosts that filters bridged frames"
	case !is(func(p Probe) bool { return p.Lost() && !p.OverTCP() }):
		return "pings pass and TCP does not: look for faults of checksum offloading: ethtool -K VTEP tx-checksum-ip-generic off"
	case !is(func(p Probe) bool { return p.Lost() && p.Kind == KindPing }):
		return "small packets pass, so the underlay carries less than its devices' mtu says: give the network a smaller mtu in the inventory, or mend the path"
	case is(func(p Probe) bool { return p.Lost() && p.FromHost == p.ToHost }):
		return "pings within one host are lost, so " + bridges
	case is(func(p Probe) bool { return p.Result == Pass && p.Stage == StageVTEP }):
		return "the tunnels work, so " + bridges
	}
	return t.underlay() + "; then " + bridges
}

// underlay says what the first network that lost a ping needs of the underlay.
func (t *textWriter) underlay() string {
	port, multicast := "the VXLAN port", ""
	first := slices.IndexFunc(t.Probes, Probe.Lost)
	for _, n := range t.Topology.Networks {
		if n.Name == t.Probes[first].Network {
			port = fmt.Sprintf("port %d", n.Port)
			if n.Group != "" {
				multicast = " and the underlay must carry multicast to " + n.Group
			}
		}
	}
	return fmt.Sprintf("between the hosts UDP to %s must pass (look at firewalls and security groups)%s", port, multicast)
}

// next is the command to go on with after a host failed.
func (t *textWriter) next() string {
	switch {
	case t.Verb == "deploy" && slices.ContainsFunc(t.Hosts, Host.refused):
		return "nothing was changed anywhere: mend that, then `vxorch deploy`"
	case t.Verb == "deploy":
		return "`vxorch deploy` goes on from what stands, `vxorch destroy` takes it away"
	case t.Verb == "destroy":
		return "`vxorch destroy` takes away what is left"
	}
	return fmt.Sprintf("`vxorch %s` tries again", t.Verb)
}

// refused tells whether the plan was refused for h: no stage of it failed.
func (h Host) refused() bool {
	return h.Result == Failed && !slices.ContainsFunc(h.Stages, func(s Stage) bool { return s.Result == Failed })
}
