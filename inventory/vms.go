package inventory

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// What a VM has that says nothing else: the experiment's.
const (
	defaultMemory = 512 << 20
	minMemory     = 16 << 20
	maxMemory     = 16 << 40
	maxVCPUs      = 512
	minTimeout    = time.Second
	maxTimeout    = 24 * time.Hour
)

// What libvirt and QEMU know, as far as it is of use here; the first is the default.
var (
	diskBuses  = []string{"virtio", "sata", "ide", "scsi"}
	nicModels  = []string{"virtio", "e1000", "e1000e", "rtl8139", "vmxnet3", "pcnet", "ne2k_pci"}
	provisions = []string{string(ProvisionAuto), string(ProvisionConsole), string(ProvisionNoCloud), string(ProvisionDHCP), string(ProvisionNone)}
)

func (p *parser) readVMs(n *yaml.Node) {
	list, _ := p.entries(n, "vms")
	for _, e := range list {
		if !p.readVM(e) {
			return
		}
	}
}

// readVM makes the VMs of one definition. It gives false when no more fit.
func (p *parser) readVM(e entry) bool {
	what := machine.what(e.key.Value)
	f := p.fields(e.value, what, append([]string{
		"image", "domain", "memory", "vcpus", "disk_bus", "nic", "machine", "graphics", "provision", "timeout"}, workloadKeys...)...)
	d, ok, full := p.readDefinition(machine, e, f)
	if f == nil {
		return true
	}
	vm := VM{Image: p.readImageOf(e, f), Memory: defaultMemory, VCPUs: 1}
	domain, at := "", e.key
	if v, found := f["domain"]; found {
		domain, at = p.name(v.value, "domain", maxDomainName, "a domain's name has letters, digits, '.', '-' and '_'"), v.value
	}
	if v, found := f["memory"]; found {
		vm.Memory = p.readMemory(v.value)
	}
	if v, found := f["vcpus"]; found {
		vm.VCPUs, _ = p.integer(v.value, "vcpus", 1, maxVCPUs)
	}
	vm.DiskBus = p.choice(f, "disk_bus", diskBuses)
	vm.NIC = p.choice(f, "nic", nicModels)
	if v, found := f["machine"]; found {
		vm.Machine = p.name(v.value, "machine", maxName, "it is a machine type of QEMU's, as in q35 or pc-i440fx-7.2")
	}
	var screenAt *yaml.Node
	vm.VNC, screenAt = p.readGraphics(e, f)
	vm.Provision = Provision(p.choice(f, "provision", provisions))
	p.checkProvision(f, vm, d)
	if v, found := f["timeout"]; found {
		vm.Timeout = p.readTimeout(v.value)
	}
	if !ok {
		return !full
	}
	for _, placed := range d.placements {
		p.addVM(d, placed, vm, domain, at, screenAt)
	}
	return true
}

// addVM makes one VM of a definition, like the others of it. An empty domain is
// derived; at is where it stands, or the definition.
func (p *parser) addVM(d definition, placed placement, vm VM, domain string, at, screenAt *yaml.Node) {
	if !p.claim(d, placed.name) {
		return
	}
	who := machine.what(placed.name)
	vm.Name, vm.Host, vm.Domain = placed.name, placed.host, domain
	if domain == "" {
		vm.Domain = shorten(maxDomainName, p.lab.Name, placed.name)
	}
	place := [2]string{vm.Host, vm.Domain}
	if first, found := p.domains[place]; found {
		p.errorf(at, "domain %q of %s is already that of %s on host %q (%s)", vm.Domain, who, first.who, vm.Host, p.at(first.at)).Hint =
			"give each its own domain, or leave it out"
	}
	p.domains[place] = use{who: who, at: at}
	if vm.VNC != nil {
		own := *vm.VNC // so that the VMs of a definition share nothing
		vm.VNC = &own
		p.claimScreen(vm, screenAt)
	}
	vm.Interfaces = p.interfaces(d, vm.Name)
	p.lab.VMs = append(p.lab.VMs, vm)
}

// readImageOf reads which image a VM has; it may be left open where there is one.
func (p *parser) readImageOf(e entry, f fields) string {
	v, found := f["image"]
	if !found {
		switch n := len(p.lab.Images); n {
		case 0:
			p.errorf(e.key, "there is no image for %s", machine.what(e.key.Value)).Hint = "add one: `images: {NAME: {file: FILE}}`"
		case 1:
			return p.lab.Images[0].Name
		default:
			p.errorf(e.key, "%s does not say which of the %d images it has", machine.what(e.key.Value), n).Hint = "write `image: NAME`"
		}
		return ""
	}
	name, ok := p.str(v.value, "image")
	if !ok || p.images[name] != nil {
		return name
	}
	var known []string
	for _, image := range p.lab.Images {
		known = append(known, image.Name)
	}
	problem := p.errorf(v.value, "there is no image %q", name)
	if problem.Hint = p.suggest(name, known); len(known) == 0 {
		problem.Hint = fmt.Sprintf("add it: `images: {%s: {file: FILE}}`", name)
	}
	return name
}

// readMemory gives bytes, rounded up to whole MiB as QEMU's memory is.
func (p *parser) readMemory(n *yaml.Node) int64 {
	text, ok := p.str(n, "memory")
	if !ok {
		return 0
	}
	const example = "write it as in 512MiB or 2GiB"
	digits := strings.TrimRight(text, "kKMGTiB ")
	number, err := strconv.ParseInt(digits, 10, 64)
	unit, known := map[string]int64{
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	}[strings.TrimSpace(text[len(digits):])]
	switch {
	case digits == text && err == nil:
		p.errorf(n, "memory %s has no unit", text).Hint = fmt.Sprintf("write %sMiB, if that is what is meant", text)
	case !known || !isDigits(digits):
		p.errorf(n, "memory %q is not a number with a unit", text).Hint = example
	case err != nil || number > math.MaxInt64/unit || number*unit < minMemory || number*unit > maxMemory:
		p.errorf(n, "memory %s is outside 16MiB…16TiB", text)
	default:
		return (number*unit + 1<<20 - 1) >> 20 << 20
	}
	return 0
}

func (p *parser) readTimeout(n *yaml.Node) time.Duration {
	timeout, ok := p.duration(n, "timeout", "90s or 10m")
	if ok && (timeout < minTimeout || timeout > maxTimeout) {
		p.errorf(n, "timeout %s is outside 1s…24h", timeout)
	}
	return timeout
}

// choice reads one of several words, of which the first is the default.
func (p *parser) choice(f fields, key string, words []string) string {
	e, found := f[key]
	if !found {
		return words[0]
	}
	word, ok := p.str(e.value, key)
	if ok && !slices.Contains(words, word) {
		p.errorf(e.value, "%s %q is unknown", key, word).Hint = p.suggest(word, words)
	}
	return word
}

// checkProvision finds ways of provisioning that cannot work.
func (p *parser) checkProvision(f fields, vm VM, d definition) {
	e, given := f["provision"]
	if !given {
		return
	}
	if _, known := p.images[vm.Image]; known && vm.Provision == ProvisionConsole && p.lab.Image(vm.Image).Login.User == "" {
		p.errorf(e.value, "provision: console needs a login for image %q (%s)", vm.Image, p.at(p.images[vm.Image])).Hint =
			"give the image `login: {user: NAME, password: PASSWORD}`"
	}
	if vm.Provision != ProvisionDHCP {
		return
	}
	for _, l := range d.legs {
		for _, s := range l.segment.subnets() {
			if s.Subnet.IsValid() && s.Subnet.Addr().Is6() {
				p.errorf(e.value, "provision: dhcp gives IPv4 addresses, but %s is IPv6", l.segment.what()).Hint = "write auto, nocloud or console"
			}
		}
	}
}
