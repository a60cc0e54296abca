package helper

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vxorch/remote/helper/internal/virt/virttest"
	"vxorch/remote/hosttest"
)

func TestContractVirt(t *testing.T) {
	virttest.Start(t)
	image := emptyImage(t)
	hosttest.ContractVirt(t, func(t *testing.T) hosttest.Env {
		return hosttest.Env{
			Host: mustNew(t), Reopen: mustNew,
			Underlay: underlay(t), Local: netip.MustParseAddr("192.0.2.1"),
			Plant: plant, PlantNet: plantNet,
			Image: image, PlantVirt: virttest.Plant,
		}
	})
}

// emptyImage is a disk with nothing on it.
func emptyImage(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", path, "16M").CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v\n%s", err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
