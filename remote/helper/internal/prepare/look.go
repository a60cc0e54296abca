package prepare

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"vxorch/remote/helper/internal/program"
	"vxorch/remote/hostapi"
)

// The package managers.
const (
	apt = "apt"
	dnf = "dnf" // written by its documentation, not tried
)

// state is what is to be known of a machine.
type state struct {
	system    string // its name, for people
	manager   string // apt or dnf; empty: none that is known
	arch      string // as Go names it
	programs  map[string]bool
	systemd   bool // runs
	answering bool // libvirt
}

// need is something that one of several programs fulfils.
type need struct {
	programs []string
	packages map[string]string // by manager
}

// needs are libvirt's and QEMU's. libvirt itself needs qemu-img.
func needs(arch string) []need {
	emulator := need{[]string{"qemu-system-x86_64", "qemu-kvm"}, map[string]string{apt: "qemu-system-x86", dnf: "qemu-kvm"}}
	if arch == "arm64" {
		emulator = need{[]string{"qemu-system-aarch64", "qemu-kvm"}, map[string]string{apt: "qemu-system-arm", dnf: "qemu-kvm"}}
	}
	return []need{
		{[]string{"libvirtd", "virtqemud"}, map[string]string{apt: "libvirt-daemon-system", dnf: "libvirt-daemon-kvm"}},
		emulator,
		{[]string{"qemu-img"}, map[string]string{apt: "qemu-utils", dnf: "qemu-img"}},
	}
}

// frrNeeds are FRR's, which starts nothing: labs start their own daemons.
var frrNeeds = []need{
	{[]string{"zebra"}, map[string]string{apt: "frr", dnf: "frr"}},
	{[]string{"bgpd"}, map[string]string{apt: "frr", dnf: "frr"}},
}

// look reads the machine.
func (m Machine) look(ctx context.Context) state {
	s := state{arch: runtime.GOARCH, programs: map[string]bool{}, systemd: m.exists("/run/systemd/system")}
	release := m.release()
	s.system = release["PRETTY_NAME"]
	family := strings.Fields(release["ID"] + " " + release["ID_LIKE"])
	is := func(ids ...string) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(family, id) })
	}
	switch {
	case is("debian", "ubuntu") && m.exists("/usr/bin/apt-get"):
		s.manager = apt
	case is("fedora", "rhel", "centos") && m.exists("/usr/bin/dnf"):
		s.manager = dnf
	}
	for _, n := range needs(s.arch) {
		m.find(n, s.programs, append(slices.Clone(program.Path), "/usr/libexec"))
	}
	for _, n := range frrNeeds {
		m.find(n, s.programs, program.FRR) // elsewhere a lab would not find them
	}
	s.answering = m.libvirtAnswers(ctx)
	return s
}

// find tells which programs of a need are in one of dirs.
func (m Machine) find(n need, there map[string]bool, dirs []string) {
	for _, name := range n.programs {
		there[name] = slices.ContainsFunc(dirs, func(dir string) bool { return m.exists(dir + "/" + name) })
	}
}

// hasFRR tells whether there is one of FRR's programs.
func (m Machine) hasFRR() bool {
	there := map[string]bool{}
	for _, n := range frrNeeds {
		m.find(n, there, program.FRR)
	}
	return there["zebra"] || there["bgpd"]
}

// release is what the machine says of itself, empty if it says nothing
// (os-release(5)).
func (m Machine) release() map[string]string {
	values := map[string]string{}
	text, err := os.ReadFile(m.path("/etc/os-release"))
	if err != nil {
		text, err = os.ReadFile(m.path("/usr/lib/os-release"))
	}
	if err != nil {
		return values
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[name] = strings.Trim(value, `"'`)
		}
	}
	return values
}

// missing is what a machine in that state lacks.
func (s state) missing(req hostapi.PrepareRequest) (p hostapi.Preparation, err error) {
	var wanted []need
	if req.Libvirt {
		wanted = needs(s.arch)
	}
	if req.FRR {
		wanted = append(wanted, frrNeeds...)
	}
	var programs []string
	for _, n := range wanted {
		if slices.ContainsFunc(n.programs, func(name string) bool { return s.programs[name] }) {
			continue
		}
		programs = append(programs, n.programs[0])
		if name := n.packages[s.manager]; !slices.Contains(p.Packages, name) {
			p.Packages = append(p.Packages, name)
		}
	}
	if len(programs) > 0 && s.manager == "" {
		system := s.system
		if system == "" {
			system = "this system"
		}
		return hostapi.Preparation{}, &hostapi.Error{
			Kind:    hostapi.KindUnsupported,
			Message: fmt.Sprintf("%s lacks %s, and vxorch can install only where apt or dnf does", system, strings.Join(programs, ", ")),
			Hint:    "install on the host by hand what has them: for VMs libvirt, which is to be started, and QEMU; for EVPN FRR",
		}
	}
	if len(programs) > 0 {
		p.Manager = s.manager
		if s.manager == dnf {
			p.Notes = append(p.Notes, "installing by dnf has not been tried by vxorch's makers")
		}
	}
	if s.answering || !req.Libvirt {
		return p, nil
	}
	// Either one libvirtd, or a daemon a driver: what is there, else what the
	// packages bring.
	split := s.programs["virtqemud"] || s.manager == dnf
	if s.programs["libvirtd"] {
		split = false
	}
	switch {
	case s.systemd && split:
		p.Units = []string{"virtqemud.socket", "virtnetworkd.socket", "virtstoraged.socket"}
	case s.systemd:
		p.Units = []string{"libvirtd.socket"}
	case split:
		p.Daemons = []string{"virtlogd -d", "virtnetworkd -d", "virtqemud -d"}
	default:
		p.Daemons = []string{"virtlogd -d", "libvirtd -d"}
	}
	return p, nil
}
