package orchestrator_test

import (
	"net/netip"
	"strings"
	"testing"

	"vxorch/remote/hostapi"
)

func TestClashStopsDeployBeforeAnyChangeAnywhere(t *testing.T) {
	for want, plant := range map[string]func(b *bench){
		"b: plan: udp port 4789 of network lu-br0 is held by process ncat (pid 7) at 0.0.0.0:4789": func(b *bench) {
			b.machines["b"].PlantHolder(hostapi.PortHolder{Port: 4789, Address: netip.IPv4Unspecified(), Process: "ncat", PID: 7})
		},
		"b: plan: subnet 192.168.100.0/24 of network lu-br0 overlaps the host's route to 192.168.100.0/25 on eth9": func(b *bench) {
			b.machines["b"].PlantRoute(hostapi.HostRoute{Prefix: netip.MustParsePrefix("192.168.100.0/25"), Device: "eth9"})
		},
	} {
		b := newBench(t, "a", "b")
		plant(b)
		o := b.deploy(b.lab("lu", "networks: {lu-br0: {}}\n", "a", "b"))
		if len(o.Errs) != 1 || o.Errs[0].Error() != want {
			t.Errorf("errors %v, want %q", o.Errs, want)
		}
		b.nothingStands()
		if !strings.Contains(o.Result.Hosts[1].Hint, "give network lu-br0 another port") && !strings.Contains(o.Result.Hosts[1].Hint, "a subnet that no host uses") {
			t.Errorf("hint %q", o.Result.Hosts[1].Hint)
		}
	}
}
