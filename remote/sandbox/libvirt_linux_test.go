package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
	"vxorch/remote/sandbox/guesttest"
)

// needLibvirt skips a test that cannot run here.
func needLibvirt(t *testing.T) {
	t.Helper()
	needRoot(t)
	_, err := findLibvirt()
	switch {
	case err == nil:
	case os.Getenv("VXORCH_MUST_RUN") == "1":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

func TestLibvirtOfAHostIsItsOwn(t *testing.T) {
	needLibvirt(t)
	s := makeSandbox(t, Options{Libvirt: true})
	const list = "virsh net-list --all --name; virsh list --all --name; virsh pool-list --all --name; ls /var/lib/libvirt/images"
	for _, host := range s.Hosts() {
		if got := onHost(t, s, host.Name, list); got != "" {
			t.Errorf("%s has networks, guests, pools or images of the machine: %s", host.Name, got)
		}
	}
	onHost(t, s, "host1", `echo "<network><name>mine</name><forward mode='bridge'/><bridge name='br'/></network>" >/tmp/net.xml
		virsh net-define /tmp/net.xml && virsh net-autostart mine`)
	if got := onHost(t, s, "host1", list); got != "mine" {
		t.Errorf("networks of host1: %q, want its own one", got)
	}
	if got := onHost(t, s, "host2", list); got != "" {
		t.Errorf("host2 sees host1's %s", got)
	}
	const uuid = "virsh capabilities | grep '<uuid>'"
	if one, two := onHost(t, s, "host1", uuid), onHost(t, s, "host2", uuid); one == two {
		t.Errorf("both hosts have the UUID %s", one)
	}

	if err := s.Reboot(t.Context(), "host1"); err != nil {
		t.Fatal(err)
	}
	if got := onHost(t, s, "host1", "virsh net-list --name"); got != "mine" {
		t.Errorf("networks that run after a reboot: %q, want the one that starts by itself", got)
	}
}

func TestHostsRunGuests(t *testing.T) {
	needLibvirt(t)
	image, err := os.Open(guesttest.Image(t))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	state := filepath.Join(t.TempDir(), "state")
	s := makeSandbox(t, Options{State: state, Hosts: 1, Libvirt: true})

	const base = "/var/lib/libvirt/images/base.qcow2"
	code, err := s.HostExec(t.Context(), "host1", []string{"sh", "-c", "cat >" + base}, image, io.Discard, io.Discard)
	if err != nil || code != 0 {
		t.Fatalf("bring the image: exit %d, error %v", code, err)
	}
	onHost(t, s, "host1", fmt.Sprintf(`
		ip link add br0 type bridge && ip link set br0 up
		qemu-img create -q -f qcow2 -F qcow2 -b %s /var/lib/libvirt/images/guest.qcow2
		cat >/tmp/guest.xml <<'EOT'
<domain type='qemu'>
  <name>guest</name>
  <memory unit='MiB'>256</memory>
  <os><type>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/guest.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'><source bridge='br0'/><mtu size='1450'/><target dev='tap0'/><model type='virtio'/></interface>
    <serial type='pty'><log file='/run/console.log'/></serial>
    <graphics type='vnc' autoport='yes' listen='127.0.0.1'/>
  </devices>
</domain>
EOT
		virsh -q define /tmp/guest.xml
		virsh -q start guest`, base))
	if got := onHost(t, s, "host1", "virsh -q domstate guest | head -n1; ip -o link show tap0 | grep -o 'mtu 1450.*master br0'"); !strings.HasPrefix(got, "running\nmtu 1450") {
		t.Fatalf("the guest: %q", got)
	}

	if got := emulatorsOf(t, state); len(got) != 1 {
		t.Fatalf("emulators: %q, want one", got) // else the next ones prove nothing
	}
	// It waits for DHCP, three times a minute, as the real one does.
	awaitConsole(t, s, "udhcpc: broadcasting discover")
	init, _ := s.running("host1")
	if err := s.Stop(t.Context(), "host1"); err != nil {
		t.Fatal(err)
	}
	if init.alive() {
		t.Error("the host's init is alive after Stop")
	}
	if got := emulatorsOf(t, state); len(got) > 0 {
		t.Errorf("emulators after Stop: %q", got)
	}
	if err := s.Reboot(t.Context(), "host1"); err != nil {
		t.Fatal(err)
	}
	if got := onHost(t, s, "host1", "virsh -q domstate guest"); got != "shut off" {
		t.Errorf("the guest after a power cut: %q, want shut off", got)
	}
	// Without a network there is nothing to wait for.
	onHost(t, s, "host1", `virsh -q detach-interface guest bridge --config && virsh -q start guest`)
	awaitConsole(t, s, "use 'sudo' for root.\r\n\rcirros login: ")

	takeAway(t, s)
	if _, err := os.Stat(state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Down left %s: %v", state, err)
	}
	if got := emulatorsOf(t, state); len(got) > 0 {
		t.Errorf("emulators after Down: %q", got)
	}
}

// awaitConsole waits until the guest has written that.
func awaitConsole(t *testing.T, s *Sandbox, text string) {
	t.Helper()
	var log string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var out bytes.Buffer
		if _, err := s.HostExec(t.Context(), "host1", []string{"cat", "/run/console.log"}, nil, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		if log = out.String(); strings.Contains(log, text) {
			return
		}
	}
	t.Fatalf("the guest did not write %q; the last it wrote: %q", text, log[max(0, len(log)-1000):])
}

// emulatorsOf lists the emulators that see mounts of sandboxes in state.
func emulatorsOf(t *testing.T, state string) []string {
	t.Helper()
	var found []string
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte("qemu-system")) && mentions(filepath.Dir(path), state) {
			found = append(found, string(text))
		}
	}
	return found
}

func TestLibvirtThatGivesUpIsToldWithItsWords(t *testing.T) {
	needLibvirt(t)
	s := makeSandbox(t, Options{Hosts: 1, Libvirt: true})
	onHost(t, s, "host1", "echo nonsense >>/etc/libvirt/libvirtd.conf")
	err := s.Reboot(t.Context(), "host1")
	if err == nil || !strings.Contains(err.Error(), "libvirtd ended with code") || !strings.Contains(err.Error(), "libvirtd.conf") {
		t.Errorf("Reboot with a broken libvirtd.conf: %v", err)
	}
}

func TestLibvirtThatIsRestartedDoesNotEndItsHost(t *testing.T) {
	needLibvirt(t)
	s := makeSandbox(t, Options{Hosts: 1, Libvirt: true})
	got := onHost(t, s, "host1", `
		pid=$(cat /run/libvirtd.pid)
		kill $pid
		while [ -e /proc/$pid ]; do sleep 0.02; done
		libvirtd -d
		virsh version >/dev/null
		[ $(cat /run/libvirtd.pid) != $pid ] && echo another`)
	if got != "another" {
		t.Errorf("after a restart of libvirtd: %q", got)
	}
}

func TestMissingLibvirtIsSaidBeforeAnythingIsMade(t *testing.T) {
	needLibvirt(t)
	// In the mounts of this test alone.
	const daemon = "/usr/sbin/libvirtd"
	if err := unix.Mount("/dev/null", daemon, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(daemon, 0); err != nil {
			t.Error(err)
		}
	})
	state := filepath.Join(t.TempDir(), "state")
	_, err := Up(t.Context(), Options{State: state, Libvirt: true})
	var told *hostapi.Error
	if !errors.As(err, &told) || told.Kind != hostapi.KindUnsupported || !strings.Contains(told.Message, daemon) || !strings.Contains(told.Hint, "apt-get install libvirt-daemon-system") {
		t.Errorf("Up without %s: %#v", daemon, err)
	}
	if _, err := os.Stat(state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is in %s", state)
	}
	makeSandbox(t, Options{Hosts: 1}) // needs none
}
