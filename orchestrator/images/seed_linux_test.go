package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// inGuest runs a script as in a guest that has two network devices, and gives
// what it prints. Every program is busybox's, as on CirrOS.
func inGuest(t *testing.T, script string) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		skip(t, "there is no busybox")
	}
	if os.Geteuid() != 0 {
		skip(t, "only root may make network devices")
	}
	programs := t.TempDir()
	for _, name := range []string{"ip", "cat", "grep", "cp", "chmod", "mkdir", "mount", "sh"} {
		if err := os.Symlink(busybox, filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	// sysfs shows the network devices of the namespace that mounted it. /etc is
	// one of its own for what the script leaves behind.
	cmd := exec.Command(busybox, "sh", "-ec", `
mount --make-rprivate / 2>/dev/null || mount -o rprivate none /
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /etc
ip link add name ens3 type dummy 2>/dev/null || ip link add name ens3 type veth peer name far3
ip link add name ens4 type dummy 2>/dev/null || ip link add name ens4 type veth peer name far4
ip link set dev ens3 address 52:54:00:00:00:02
ip link set dev ens4 address 52:54:00:00:00:01
`+script)
	cmd.Env = []string{"PATH=" + programs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in the guest: %v\n%s", err, out)
	}
	return string(out)
}

func TestUserDataSetsTheAddressesByMAC(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(path, []byte(files(t, mustSeed(t))["user-data"]), 0o700); err != nil {
		t.Fatal(err)
	}
	out := inGuest(t, "sh "+path+"\n"+"sh "+path+"\nip -o addr show ens3; ip -o addr show ens4; ip -o link show ens4\n")
	for _, want := range []string{"ens4 ", "inet 192.168.100.21/24", "inet6 fd00::21/64", "UP"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "fd00::21") && !strings.Contains(line, "ens3") {
			t.Errorf("the second address is on the wrong device: %s", line)
		}
	}
	if strings.Count(out, "192.168.100.21/24") != 1 || strings.Contains(out, "File exists") {
		t.Errorf("run twice, user-data gave\n%s", out)
	}
}

func TestUserDataSaysWhichDeviceIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(path, []byte(files(t, mustSeed(t))["user-data"]), 0o700); err != nil {
		t.Fatal(err)
	}
	out := inGuest(t, "ip link set dev ens4 address 52:54:00:00:00:09\nsh "+path+"\nip -o addr show ens3\n")
	if !strings.Contains(out, "no network device has the MAC 52:54:00:00:00:01") || !strings.Contains(out, "fd00::21/64") {
		t.Errorf("got\n%s", out)
	}
}

func TestUserDataIsRunAtEachBootOfCirros(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(path, []byte(files(t, mustSeed(t))["user-data"]), 0o700); err != nil {
		t.Fatal(err)
	}
	out := inGuest(t, `
mkdir /etc/rc3.d
`+path+`
[ ! -e /etc/rc3.d/S96-vxorch ] || echo "another guest got a script"
mkdir /etc/cirros
`+path+`
ip addr flush dev ens4
/etc/rc3.d/S96-vxorch start
ip -o addr show ens4
`)
	if !strings.Contains(out, "inet 192.168.100.21/24") || strings.Contains(out, "another guest") {
		t.Errorf("got\n%s", out)
	}
}
