package images

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kdomanski/iso9660"
	"gopkg.in/yaml.v3"

	"vxorch/inventory"
)

// seedLab has a VM with a leg in an IPv4 and one in an IPv6 network.
const seedLab = `lab: lu
hosts: {host1: {address: 192.0.2.11}}
networks:
  lan: {subnet: 192.168.100.0/24}
  six: {vni: 7, subnet: "fd00::/64"}
images: {cirros: {file: cirros.img}}
vms:
  vm_1.x:
    host: host1
    interfaces:
      - {network: lan, address: 192.168.100.21, mac: "52:54:00:00:00:01"}
      - {network: six, address: "fd00::21", mac: "52:54:00:00:00:02"}
`

func mustSeed(t *testing.T) []byte {
	t.Helper()
	lab, err := inventory.Parse("lab.yaml", []byte(seedLab))
	if err != nil {
		t.Fatal(err)
	}
	image, err := Seed(lab, lab.VMs[0])
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// files reads a seed.
func files(t *testing.T, image []byte) map[string]string {
	t.Helper()
	disk, err := iso9660.OpenImage(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if label, err := disk.Label(); err != nil || strings.TrimRight(label, " ") != "cidata" {
		t.Errorf("label is %q, %v; want cidata", label, err)
	}
	root, err := disk.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	children, err := root.GetChildren()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, f := range children {
		text, err := io.ReadAll(f.Reader())
		if err != nil {
			t.Fatal(err)
		}
		texts[f.Name()] = string(text)
	}
	return texts
}

func TestASeedServesCirrosAndCloudInit(t *testing.T) {
	got := files(t, mustSeed(t))
	if len(got) != 3 {
		t.Fatalf("the seed has %d files, want 3: %v", len(got), got)
	}
	var metadata map[string]string
	if err := json.Unmarshal([]byte(got["meta-data"]), &metadata); err != nil {
		t.Errorf("meta-data is no JSON, which CirrOS needs: %v", err)
	}
	if diff := cmp.Diff(map[string]string{"instance-id": "lu-vm_1.x", "local-hostname": "vm-1-x"}, metadata); diff != "" {
		t.Errorf("meta-data (-want +got):\n%s", diff)
	}
	var network any
	if err := yaml.Unmarshal([]byte(got["network-config"]), &network); err != nil {
		t.Errorf("network-config is no YAML, which cloud-init needs: %v", err)
	}
	ethernet := func(mac, address string) any {
		return map[string]any{"match": map[string]any{"macaddress": mac}, "dhcp4": false, "dhcp6": false, "addresses": []any{address}}
	}
	want := map[string]any{"version": 2, "ethernets": map[string]any{
		"eth0": ethernet("52:54:00:00:00:01", "192.168.100.21/24"), "eth1": ethernet("52:54:00:00:00:02", "fd00::21/64"),
	}}
	if diff := cmp.Diff(any(want), network); diff != "" {
		t.Errorf("network-config (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(got["user-data"], "#!/bin/sh\n") {
		t.Errorf("user-data begins with %.20q, so CirrOS would not run it", got["user-data"])
	}
}

func TestASeedDependsOnTheVMAlone(t *testing.T) {
	image := mustSeed(t)
	if !bytes.Equal(image, mustSeed(t)) {
		t.Error("two seeds of one VM differ: each deploy would make it anew")
	}
	// Written on another system and on another day it is this one as well. A
	// change here makes every VM of every lab anew.
	if got, want := sumOf(image), "4b43afeeb274c485cf8218884d7363777690a1ac646230644b5813d2e8438533"; got != want {
		t.Errorf("the seed's SHA-256 is %s, want %s", got, want)
	}
}

func TestHostnamesAreOneLabel(t *testing.T) {
	for name, want := range map[string]string{
		"vm1": "vm1", "a.b_c-": "a-b-c", strings.Repeat("x", 62) + "._y": strings.Repeat("x", 62),
	} {
		if got := hostname(name); got != want {
			t.Errorf("hostname of %q is %q, want %q", name, got, want)
		}
	}
}

func TestOthersReadTheSeedsLabel(t *testing.T) {
	blkid, err := exec.LookPath("blkid")
	if err != nil {
		skip(t, "there is no blkid")
	}
	path := filepath.Join(t.TempDir(), "seed.iso")
	if err := os.WriteFile(path, mustSeed(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for tag, want := range map[string]string{"LABEL": "cidata", "TYPE": "iso9660"} {
		out, err := exec.Command(blkid, "-p", "-o", "value", "-s", tag, path).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("blkid says that the seed's %s is %q, %v; want %q", tag, got, err, want)
		}
	}
}

func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("VXORCH_MUST_RUN") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
