package plan_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

func TestClashesAreProblems(t *testing.T) {
	subnet := netip.MustParsePrefix("192.168.100.0/24")
	route := func(prefix, device, gateway string) hostapi.Facts {
		r := hostapi.HostRoute{Subnet: subnet, Prefix: netip.MustParsePrefix(prefix), Device: device}
		if gateway != "" {
			r.Gateway = netip.MustParseAddr(gateway)
		}
		return hostapi.Facts{Overlaps: []hostapi.HostRoute{r}}
	}
	holder := func(port int, address string) hostapi.Facts {
		return hostapi.Facts{Holders: []hostapi.PortHolder{{Port: port, Address: netip.MustParseAddr(address), Process: "ncat", PID: 42}}}
	}
	foreign := func(shares string, up bool, mark *hostapi.Mark) hostapi.Facts {
		return hostapi.Facts{Links: []hostapi.Link{{
			Name: "cilium_vxlan", Kind: "vxlan", Up: up, Mark: mark, VXLAN: &hostapi.VXLAN{Port: 4789, Shares: shares},
		}}}
	}
	const wrong = "subnet 192.168.100.0/24 of network lu-br0 overlaps the host's route to "
	for name, c := range map[string]struct {
		seen hostapi.Facts
		want []string
	}{
		"a process on the port":             {holder(4789, "0.0.0.0"), []string{"udp port 4789 of network lu-br0 is held by process ncat (pid 42) at 0.0.0.0:4789"}},
		"a process on one of its places":    {holder(4789, "127.0.0.1"), []string{"udp port 4789 of network lu-br0 is held by process ncat (pid 42) at 127.0.0.1:4789"}},
		"a process on both families":        {holder(4789, "::"), []string{"udp port 4789 of network lu-br0 is held by process ncat (pid 42) at [::]:4789"}},
		"a process on the other family":     {holder(4789, "::1"), nil},
		"a process on another port":         {holder(4790, "0.0.0.0"), nil},
		"the same subnet":                   {route("192.168.100.0/24", "eth1", ""), []string{wrong + "192.168.100.0/24 on eth1"}},
		"a part of it":                      {route("192.168.100.128/25", "tun0", "10.0.0.9"), []string{wrong + "192.168.100.128/25 via 10.0.0.9 on tun0"}},
		"a wider one of its own neighbours": {route("192.168.0.0/16", "eth1", ""), []string{wrong + "192.168.0.0/16 on eth1"}},
		"a wider one behind a gateway":      {route("192.168.0.0/16", "eth0", "10.0.0.9"), nil},
		"a wider one to nowhere":            {route("192.168.0.0/16", "", ""), nil},
		"a vxlan link that shares":          {foreign("", true, nil), nil},
		"a vxlan link that does not": {foreign("external", true, nil), []string{
			"udp port 4789 of network lu-br0 cannot be shared with vxlan link cilium_vxlan (external), which was not made by vxorch"}},
		"the same, but down": {foreign("external", false, nil), nil},
		"ours, to be mended": {foreign("external", true, &hostapi.Mark{Lab: "lu"}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			facts := bareHosts()
			f := facts["host2"]
			f.Holders, f.Overlaps, f.Links = c.seen.Holders, c.seen.Overlaps, append(f.Links, c.seen.Links...)
			facts["host2"] = f
			_, problems := plan.Deploy(parse(t, seed), facts, plan.Inputs{})
			var got []string
			for _, p := range problems {
				got = append(got, p.Message)
				if p.Host != "host2" || p.Hint == "" {
					t.Errorf("problem %+v, want one of host2 with a hint", p)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADeployAsksForWhatCanClash(t *testing.T) {
	lab := parse(t, seed+"")
	lab.Networks = append(lab.Networks, inventory.Network{Name: "b", Port: 4789, Subnet: netip.MustParsePrefix("fd00::/64")})
	req := plan.Request(lab, "host1", plan.Inputs{})
	if diff := cmp.Diff([]int{4789}, req.Ports); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
	if len(req.Subnets) != 2 {
		t.Errorf("subnets %v, want both networks'", req.Subnets)
	}
}
