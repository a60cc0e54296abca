package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// libvirtDaemons are what a host with libvirt runs besides sshd, each with the
// socket that it answers on.
var libvirtDaemons = []struct{ name, socket string }{
	{"virtlogd", "/run/libvirt/virtlogd-sock"}, // keeps the guests' console logs
	{"libvirtd", "/run/libvirt/libvirt-sock"},
}

// libvirtFiles configure them. Guests run as root, with no cgroups, which are
// the machine's, and with no namespaces, which would need a /dev of the host's
// own making.
var libvirtFiles = map[string]string{
	"/etc/libvirt/libvirtd.conf": `auth_unix_rw = "none"
host_uuid_source = "machine-id"
`,
	"/etc/libvirt/qemu.conf": `user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
`,
}

// findLibvirt gives the paths of the machine's daemons, in the order of
// libvirtDaemons, if all that the hosts need to run guests is there.
func findLibvirt() (daemons []string, err error) {
	for _, daemon := range libvirtDaemons {
		path := "/usr/sbin/" + daemon.name
		if unix.Access(path, unix.X_OK) != nil {
			return nil, lacksLibvirt(path)
		}
		daemons = append(daemons, path)
	}
	for _, program := range []string{"/usr/bin/qemu-img", "/usr/bin/qemu-system-*"} {
		if found, _ := filepath.Glob(program); len(found) == 0 {
			return nil, lacksLibvirt(program)
		}
	}
	return daemons, nil
}

func lacksLibvirt(path string) error {
	return &hostapi.Error{
		Kind:    hostapi.KindUnsupported,
		Message: "hosts with libvirt need the machine's libvirt and QEMU, and this machine has no " + path,
		Hint:    "apt-get install libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils",
	}
}

// awaitLibvirt waits until the daemons of the host with that init take
// connections, init ended or ctx does.
func (s *Sandbox) awaitLibvirt(ctx context.Context, host HostInfo, init process, ended <-chan struct{}) error {
	const patience = 60 * time.Second // many hosts start at once
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("libvirt did not answer within %v", patience))
	defer cancel()
	for _, daemon := range libvirtDaemons {
		// The host's /run, without entering its namespaces.
		socket := fmt.Sprintf("/proc/%d/root%s", init.PID, daemon.socket)
		for {
			conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if err == nil {
				conn.Close()
				break
			}
			select {
			case <-ended:
				return fmt.Errorf("init ended: %s", s.console(host.Name))
			case <-ctx.Done():
				return fmt.Errorf("%w: %s", errors.Join(context.Cause(ctx), err), s.console(host.Name))
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// provisionLibvirt writes what libvirt's packages would have laid out, on the
// host itself.
func provisionLibvirt() error {
	for dir, mode := range map[string]fs.FileMode{"/etc/libvirt": 0o755, "/var/lib/libvirt": 0o755, "/var/lib/libvirt/images": 0o711} {
		if err := makeDir(dir, mode); err != nil {
			return err
		}
	}
	for path, text := range libvirtFiles {
		if err := writeFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
