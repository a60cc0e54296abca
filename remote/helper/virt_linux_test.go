package helper

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
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
			Image: image,
			Virsh: hosttest.Virsh{
				Plant:    virttest.Plant,
				Stop:     func(t *testing.T, name string) { virttest.Virsh(t, "destroy", name) },
				Undefine: func(t *testing.T, name string) { virttest.Virsh(t, "undefine", name) },
				Redefine: func(t *testing.T, name string) {
					virttest.Redefine(t, name, func(x string) string { return strings.ReplaceAll(x, "65536", "61440") })
				},
				Disown: disown,
			},
		}
	})
}

// disown takes the mark out of what libvirt keeps of a domain. When the test ends
// the domain goes, which is no lab's any more.
func disown(t *testing.T, name string) {
	virttest.Redefine(t, name, func(x string) string { return metadata.ReplaceAllString(x, "") })
	t.Cleanup(func() {
		virttest.Virsh(t, "destroy", name)
		virttest.Virsh(t, "undefine", name)
	})
}

var metadata = regexp.MustCompile(`(?s)<metadata>.*</metadata>`)

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
