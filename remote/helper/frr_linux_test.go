package helper

import (
	"net/netip"
	"os"
	"testing"

	"vxorch/remote/hosttest"
)

func TestContractFRR(t *testing.T) {
	if _, err := os.Stat("/usr/lib/frr/bgpd"); err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip("FRR is not installed: ", err)
	}
	hosttest.ContractFRR(t, func(t *testing.T) hosttest.Env {
		return hosttest.Env{
			Host: mustNew(t), Reopen: mustNew, Underlay: underlay(t), Local: netip.MustParseAddr("192.0.2.1"), Plant: plant, PlantNet: plantNet,
		}
	})
}
