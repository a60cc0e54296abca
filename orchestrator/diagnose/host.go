package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// bridges looks at the bridges and their ports.
func (d *doctor) bridges(p path) *report.Finding {
	for _, ends := range p.ends() {
		e := ends[0]
		if !d.seen(e.host) || e.name == "" {
			continue
		}
		ports := []string{}
		if e.vm == nil {
			ports = append(ports, e.leg.Link)
		}
		if p.between() {
			ports = append(ports, p.network.VXLAN)
		}
		if found := d.bridge(p.network.Name, e.host, ports); found != nil {
			found.Layer, found.Host = LayerBridge, e.host
			return found
		}
	}
	return nil
}

func (d *doctor) bridge(name, host string, ports []string) *report.Finding {
	bridge := d.link(host, name)
	switch {
	case bridge == nil:
		return &report.Finding{Cause: fmt.Sprintf("bridge %s does not exist", name), Proof: "there is no link of that name", Mend: redeploy}
	case !bridge.Up:
		return &report.Finding{Cause: fmt.Sprintf("bridge %s is down", name), Proof: fmt.Sprintf("ip link show %s: it is not up", name), Mend: "ip link set " + name + " up"}
	}
	for _, port := range ports {
		l := d.link(host, port)
		if l == nil {
			continue
		}
		if l.Master != name {
			return &report.Finding{
				Cause: fmt.Sprintf("%s is not a port of bridge %s", port, name), Proof: "its master is " + cmp.Or(l.Master, "none"),
				Mend: fmt.Sprintf("ip link set %s master %s", port, name),
			}
		}
		if s := state(d.After[host], port); l.Up && s.Port != "" && s.Port != "forwarding" {
			return &report.Finding{
				Cause: fmt.Sprintf("bridge %s does not forward at port %s", name, port), Proof: "the port's state is " + s.Port,
				Mend: fmt.Sprintf("ip link set %s type bridge stp_state 0", name),
			}
		}
	}
	return nil
}

// vteps looks at the tunnel ends as they stand.
func (d *doctor) vteps(p path) *report.Finding {
	if !p.between() {
		return nil
	}
	for _, ends := range p.ends() {
		host := ends[0].host
		if !d.seen(host) {
			continue
		}
		if found := d.vtep(p.network, host); found != nil {
			found.Layer, found.Host = LayerVTEP, host
			return found
		}
	}
	return nil
}

func (d *doctor) vtep(n inventory.Network, host string) *report.Finding {
	l := d.link(host, n.VXLAN)
	switch {
	case l == nil || l.VXLAN == nil:
		return &report.Finding{Cause: fmt.Sprintf("VTEP %s does not exist", n.VXLAN), Proof: "there is no VXLAN link of that name", Mend: redeploy}
	case !l.Up:
		return &report.Finding{Cause: fmt.Sprintf("VTEP %s is down", n.VXLAN), Proof: fmt.Sprintf("ip link show %s: it is not up", n.VXLAN), Mend: "ip link set " + n.VXLAN + " up"}
	}
	u, settled := d.Ground.Underlays[host]
	for _, property := range []struct {
		name, is, wanted string
		known            bool
	}{
		{"VNI", fmt.Sprint(l.VXLAN.VNI), fmt.Sprint(n.VNI), true},
		{"UDP port", fmt.Sprint(l.VXLAN.Port), fmt.Sprint(n.Port), true},
		{"tunnel end", l.VXLAN.Local.String(), u.Local.String(), settled},
		{"underlay device", l.VXLAN.Device, u.Device, settled},
		{"group", l.VXLAN.Group.String(), n.Group.String(), len(d.Ground.Networks) > 0 && n.Flood == inventory.FloodMulticast},
	} {
		if property.known && property.is != property.wanted {
			return &report.Finding{
				Cause: fmt.Sprintf("VTEP %s has a wrong %s", n.VXLAN, property.name), Proof: fmt.Sprintf("it has %s, the inventory wants %s", property.is, property.wanted),
				Mend: redeploy,
			}
		}
	}
	return nil
}

// netfilter looks for what drops frames that pass through a bridge.
func (d *doctor) netfilter(p path) *report.Finding {
	six := p.six()
	for _, ends := range p.ends() {
		host := ends[0].host
		if ends[0].name == "" {
			continue
		}
		for _, drop := range d.After[host].Drops {
			bridged := drop.Family == "bridge" || drop.Sysctl != ""
			other := drop.Family == "ip" && six || drop.Family == "ip6" && !six
			if !bridged || other || drop.Hook != hostapi.HookForward && drop.Hook != "" {
				continue
			}
			before, rose := d.rose(host, drop)
			if !rose && (drop.Counts || drop.Hook == "" || !d.unnamed(host, drop, p.network.Name)) {
				continue
			}
			proof := ""
			if drop.Sysctl != "" {
				proof = drop.Sysctl + " = 1, "
			}
			proof += called(drop)
			if rose {
				proof += fmt.Sprintf(" dropped %d packets, then %d", before, drop.Packets)
			}
			return &report.Finding{
				Layer: LayerNetfilter, Host: host, Cause: "its packet filter drops frames that pass through bridges",
				Proof: proof, Mend: acceptBridged(drop, p.network.Name),
			}
		}
	}
	return nil
}

// six tells whether the probe was IPv6's.
func (p path) six() bool { return strings.Contains(p.Address, ":") }

// rose gives what a rule or a policy had counted before, and tells whether it has
// counted more since.
func (d *doctor) rose(host string, drop hostapi.Drop) (before uint64, rose bool) {
	if !drop.Counts {
		return 0, false
	}
	for _, b := range d.Before[host].Drops {
		if b.Family == drop.Family && b.Table == drop.Table && b.Chain == drop.Chain && b.Handle == drop.Handle && b.Legacy == drop.Legacy {
			return b.Packets, drop.Packets > b.Packets
		}
	}
	return 0, false // it is younger
}

// unnamed tells whether a policy counts nothing and no rule of its table names the
// bridge: then there is nothing that would let its frames through.
func (d *doctor) unnamed(host string, drop hostapi.Drop, bridge string) bool {
	check := d.Try.Seen[host].Check
	return drop.Handle == 0 && check != nil && slices.ContainsFunc(check.Filters, func(f hostapi.Filter) bool {
		return f.Family == drop.Family && f.Table == drop.Table && f.Chain == drop.Chain && f.Legacy == drop.Legacy && !slices.Contains(f.Named, bridge)
	})
}

// called names a rule or a policy.
func called(d hostapi.Drop) string {
	of := ""
	if d.Legacy {
		of = " of legacy iptables"
	}
	if d.Handle == 0 {
		return fmt.Sprintf("policy drop of chain %s %s %s%s", d.Family, d.Table, d.Chain, of)
	}
	return fmt.Sprintf("rule %d of chain %s %s %s%s", d.Handle, d.Family, d.Table, d.Chain, of)
}

// acceptBridged is the command that lets a bridge's frames through.
func acceptBridged(d hostapi.Drop, bridge string) string {
	tool := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[d.Family]
	if d.Legacy {
		tool += "-legacy"
	}
	switch {
	case tool != "" && d.Table == "filter":
		return fmt.Sprintf("%s -I FORWARD -i %s -o %s -j ACCEPT", tool, bridge, bridge)
	case d.Family == "bridge":
		return fmt.Sprintf("nft insert rule bridge %s %s accept, or only for the ports of %s", d.Table, d.Chain, bridge)
	}
	return fmt.Sprintf("nft insert rule %s %s %s iifname %s oifname %s accept", d.Family, d.Table, d.Chain, bridge, bridge)
}
