package prepare

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/hostapi"
)

// vms is the part of a lab that needs something.
var vms = hostapi.PrepareRequest{Libvirt: true}

const (
	debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n"
	ubuntu = "NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\n"
	alma   = "ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n"
	alpine = "PRETTY_NAME='Alpine Linux v3.20'\nID=alpine\n"
)

func TestMissing(t *testing.T) {
	none := map[string]bool{}
	all := map[string]bool{"libvirtd": true, "qemu-system-x86_64": true, "qemu-img": true}
	split := map[string]bool{"virtqemud": true, "qemu-kvm": true, "qemu-img": true}
	untried := []string{"installing by dnf has not been tried by vxorch's makers"}
	for name, c := range map[string]struct {
		state state
		want  hostapi.Preparation
	}{
		"all there":                         {state{manager: apt, programs: all, answering: true}, hostapi.Preparation{}},
		"all there without a known manager": {state{programs: all, answering: true}, hostapi.Preparation{}},
		"nothing there on Debian": {state{manager: apt, programs: none, systemd: true}, hostapi.Preparation{
			Manager: apt, Packages: []string{"libvirt-daemon-system", "qemu-system-x86", "qemu-utils"}, Units: []string{"libvirtd.socket"},
		}},
		"nothing there on Debian on ARM": {state{manager: apt, arch: "arm64", programs: none, systemd: true}, hostapi.Preparation{
			Manager: apt, Packages: []string{"libvirt-daemon-system", "qemu-system-arm", "qemu-utils"}, Units: []string{"libvirtd.socket"},
		}},
		"nothing there in a container": {state{manager: apt, programs: none}, hostapi.Preparation{
			Manager: apt, Packages: []string{"libvirt-daemon-system", "qemu-system-x86", "qemu-utils"}, Daemons: []string{"virtlogd -d", "libvirtd -d"},
		}},
		"nothing there on Fedora": {state{manager: dnf, programs: none, systemd: true}, hostapi.Preparation{
			Manager: dnf, Packages: []string{"libvirt-daemon-kvm", "qemu-kvm", "qemu-img"}, Notes: untried,
			Units: []string{"virtqemud.socket", "virtnetworkd.socket", "virtstoraged.socket"},
		}},
		"one thing missing": {state{manager: apt, programs: map[string]bool{"libvirtd": true, "qemu-img": true}, answering: true}, hostapi.Preparation{
			Manager: apt, Packages: []string{"qemu-system-x86"},
		}},
		"not started": {state{manager: apt, programs: all, systemd: true}, hostapi.Preparation{Units: []string{"libvirtd.socket"}}},
		"not started, a daemon a driver": {state{manager: apt, programs: split, systemd: true}, hostapi.Preparation{
			Units: []string{"virtqemud.socket", "virtnetworkd.socket", "virtstoraged.socket"},
		}},
		"not started, by hand": {state{programs: all}, hostapi.Preparation{Daemons: []string{"virtlogd -d", "libvirtd -d"}}},
		"not started, by hand, a daemon a driver": {state{programs: split}, hostapi.Preparation{
			Daemons: []string{"virtlogd -d", "virtnetworkd -d", "virtqemud -d"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.state.missing(vms)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if got, err := c.state.missing(hostapi.PrepareRequest{}); err != nil || !got.Empty() {
				t.Errorf("without VMs: %+v, %v; want nothing", got, err)
			}
		})
	}
}

func TestUnknownSystemNamesWhatItLacks(t *testing.T) {
	_, err := state{system: "Alpine Linux v3.20", programs: map[string]bool{"qemu-img": true}}.missing(vms)
	if !errors.Is(err, hostapi.ErrUnsupported) || !strings.Contains(err.Error(), "Alpine Linux v3.20 lacks libvirtd, qemu-system-x86_64") {
		t.Errorf("%v, want ErrUnsupported with what is missing", err)
	}
}

// machine is a root directory and what was run on it.
type machine struct {
	Machine
	t   *testing.T
	ran []string
}

// newMachine has these files, empty but for os-release.
func newMachine(t *testing.T, release string, files ...string) *machine {
	t.Helper()
	m := &machine{t: t}
	m.root = t.TempDir()
	m.run = func(_ context.Context, argv ...string) error {
		m.ran = append(m.ran, strings.Join(argv, " "))
		return nil
	}
	m.put(append(files, "/etc/os-release")...)
	if err := os.WriteFile(m.path("/etc/os-release"), []byte(release), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) put(files ...string) {
	m.t.Helper()
	for _, file := range files {
		if err := os.MkdirAll(filepath.Dir(m.path(file)), 0o700); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(m.path(file), nil, 0o700); err != nil {
			m.t.Fatal(err)
		}
	}
}

// answer has a daemon listen on libvirt's sockets.
func (m *machine) answer(sockets ...string) {
	m.t.Helper()
	m.t.Chdir(m.root) // the whole path may be too long for a socket
	if err := os.MkdirAll("run/libvirt", 0o700); err != nil {
		m.t.Fatal(err)
	}
	for _, socket := range sockets {
		l, err := net.Listen("unix", "run/libvirt/"+socket)
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() { l.Close() })
	}
}

var complete = []string{"/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-system-aarch64", "/usr/bin/qemu-img"}

func TestLookKnowsTheManager(t *testing.T) {
	for name, c := range map[string]struct {
		release, binary string
		want            string
	}{
		"Debian":                  {debian, "/usr/bin/apt-get", apt},
		"Ubuntu":                  {ubuntu, "/usr/bin/apt-get", apt},
		"AlmaLinux":               {alma, "/usr/bin/dnf", dnf},
		"AlmaLinux without dnf":   {alma, "/usr/bin/yum", ""},
		"Alpine":                  {alpine, "/sbin/apk", ""},
		"Alpine with apt":         {alpine, "/usr/bin/apt-get", ""},
		"a system without a name": {"", "/usr/bin/apt-get", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := newMachine(t, c.release, c.binary).look(t.Context()).manager; got != c.want {
				t.Errorf("manager %q, want %q", got, c.want)
			}
		})
	}
}

func TestSocketsOfDaemonsThatEndedDoNotCount(t *testing.T) {
	for name, c := range map[string]struct {
		listen, dead []string
		want         bool
	}{
		"none":                   {nil, nil, false},
		"libvirtd":               {[]string{"libvirt-sock"}, nil, true},
		"a daemon a driver":      {[]string{"virtqemud-sock", "virtnetworkd-sock"}, nil, true},
		"QEMU without networks":  {[]string{"virtqemud-sock"}, nil, false},
		"the file of a dead one": {nil, []string{"libvirt-sock"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, debian)
			m.answer(c.listen...)
			for _, file := range c.dead {
				m.put("/run/libvirt/" + file)
			}
			if got := m.libvirtAnswers(t.Context()); got != c.want {
				t.Errorf("libvirt answers: %v, want %v", got, c.want)
			}
		})
	}
}

func TestCompleteMachineIsLeftAlone(t *testing.T) {
	m := newMachine(t, debian, append(complete, "/usr/bin/apt-get", "/run/systemd/system/x")...)
	m.answer("libvirt-sock")
	done, err := m.Prepare(t.Context(), vms)
	if err != nil || !done.Empty() || len(m.ran) > 0 {
		t.Errorf("%+v, %v, ran %q; want nothing done", done, err, m.ran)
	}
}

func TestPrepareInstallsAndStarts(t *testing.T) {
	m := newMachine(t, debian, "/usr/bin/apt-get", "/run/systemd/system/x", "/usr/bin/qemu-img")
	m.run = func(_ context.Context, argv ...string) error {
		m.ran = append(m.ran, argv[0]+" "+argv[len(argv)-1])
		switch argv[len(argv)-1] {
		case "qemu-system-x86", "qemu-system-arm":
			m.put(complete...)
			m.answer("libvirt-sock") // as Debian's packages have it
		}
		return nil
	}
	done, err := m.Prepare(t.Context(), vms)
	if err != nil || len(done.Packages) != 2 || done.Manager != apt || len(done.Units)+len(done.Daemons) > 0 {
		t.Errorf("%+v, %v; want two packages installed and nothing started", done, err)
	}
	if len(m.ran) != 2 || m.ran[0] != "apt-get update" {
		t.Errorf("ran %q, want the lists fetched and one installation", m.ran)
	}
}

func TestUnitsAreStartedWhereTheyAreNot(t *testing.T) {
	m := newMachine(t, debian, append(complete, "/run/systemd/system/x")...)
	m.run = func(_ context.Context, argv ...string) error {
		m.ran = append(m.ran, strings.Join(argv, " "))
		m.answer("libvirt-sock")
		return nil
	}
	done, err := m.Prepare(t.Context(), vms)
	if err != nil || cmp.Diff([]string{"libvirtd.socket"}, done.Units) != "" {
		t.Errorf("%+v, %v; want the socket's unit", done, err)
	}
	if d := cmp.Diff([]string{"systemctl enable --now libvirtd.socket"}, m.ran); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestDaemonsAreNamedWhereNoSystemdRuns(t *testing.T) {
	m := newMachine(t, debian, complete...)
	done, err := m.Prepare(t.Context(), vms)
	if err != nil || cmp.Diff([]string{"virtlogd -d", "libvirtd -d"}, done.Daemons) != "" || len(m.ran) > 0 {
		t.Errorf("%+v, %v, ran %q; want the daemons named and nothing run", done, err, m.ran)
	}
}

func TestFailuresToInstall(t *testing.T) {
	broken := errors.New("E: broken")
	for name, c := range map[string]struct {
		update, install error
		brings          []string
		err             string
		notes           int
	}{
		"lists are stale, packages are there":  {update: broken, brings: complete, notes: 1},
		"lists are stale, packages are not":    {update: broken, install: errors.New("E: no such package"), err: "E: no such package\nE: broken"},
		"packages are not there":               {install: broken, err: "E: broken"},
		"packages do not have what they ought": {brings: complete[:1], err: "qemu-"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, debian, "/usr/bin/apt-get")
			m.run = func(_ context.Context, argv ...string) error {
				if argv[len(argv)-1] == "update" {
					return c.update
				}
				m.put(c.brings...)
				return c.install
			}
			done, err := m.Prepare(t.Context(), vms)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v, want %q", err, c.err)
			}
			if len(done.Notes) != c.notes {
				t.Errorf("notes %q, want %d", done.Notes, c.notes)
			}
		})
	}
}

func TestCancelDoesNotBeginToInstall(t *testing.T) {
	m := newMachine(t, debian, "/usr/bin/apt-get")
	ctx, cancel := context.WithCancel(t.Context())
	m.run = func(_ context.Context, argv ...string) error {
		m.ran = append(m.ran, argv[len(argv)-1])
		cancel()
		return context.Canceled
	}
	_, err := m.Prepare(ctx, vms)
	if !errors.Is(err, hostapi.ErrCanceled) || len(m.ran) != 1 {
		t.Errorf("%v after %q, want ErrCanceled after the update", err, m.ran)
	}
}

func TestCancelDoesNotEndAnInstallation(t *testing.T) {
	m := newMachine(t, debian, "/usr/bin/apt-get")
	ctx, cancel := context.WithCancel(t.Context())
	m.run = func(ctx context.Context, argv ...string) error {
		if argv[len(argv)-1] == "update" {
			return nil
		}
		cancel()
		m.put(complete...)
		return ctx.Err()
	}
	if done, err := m.Prepare(ctx, vms); err != nil || len(done.Packages) != 3 {
		t.Errorf("%+v, %v; want the packages installed", done, err)
	}
}
