package plan

import (
	"cmp"
	"fmt"
	"time"

	"vxorch/inventory"
	"vxorch/remote/hostapi"
)

const (
	// bootPatience is for how long a guest may be silent before its console is
	// tried: a small one answers within ten seconds even where it is emulated, and
	// has twice the time then.
	bootPatience = 25 * time.Second
	// bootDeadline is when a guest is given up: CirrOS alone waits 180 s for DHCP
	// where nobody answers, then 40 s for metadata. An emulated one has twice that.
	bootDeadline = 5 * time.Minute
)

// Inputs is what the controller knows of a lab beyond its inventory.
type Inputs struct {
	Images map[string]hostapi.Image // by name: file and url images by their SHA-256
	Sizes  map[string]int64         // bytes of those; by name
	Seeds  map[string][]byte        // NoCloud seeds by VM; none: no seed
	Part   []string                 // hosts that take part, the others being left alone; none: all
	Known  map[string]hostapi.Facts // by host: what was last known, for those that are not at hand
	Full   bool                     // prove every pair, however many there are
	// Multicast tells whether multicast passes between all hosts, by the networks
	// of MulticastQuestions.
	Multicast map[string]bool
	Password  string // of EVPN's sessions; empty: there is none
}

// Upload is an image that a host lacks.
type Upload struct {
	Host  string `json:"host"`
	Image string `json:"image"` // its name
	Have  int64  `json:"have"`  // bytes that the host has already
	Size  int64  `json:"size"`
}

// legs are a VM's interfaces as its domain has them.
func (d *deployment) legs(vm inventory.VM) []hostapi.DomainInterface {
	var all []hostapi.DomainInterface
	for _, leg := range vm.Interfaces {
		network := d.network(leg.Network)
		all = append(all, hostapi.DomainInterface{
			Network: network.Name, Tap: leg.Link, Model: vm.NIC, MAC: leg.MAC, MTU: network.mtu,
			Addresses: network.Prefixes(leg),
		})
	}
	return all
}

// domain is what the inventory asks for.
func (d *deployment) domain(vm inventory.VM) hostapi.Domain {
	domain := hostapi.Domain{
		Name: vm.Domain, For: vm.Name, Image: d.inputs.Images[vm.Image],
		Memory: vm.Memory, VCPUs: vm.VCPUs, DiskBus: vm.DiskBus, Machine: vm.Machine,
		Interfaces: d.legs(vm), Seed: d.inputs.Seeds[vm.Name],
		Lease: vm.Provision == inventory.ProvisionAuto || vm.Provision == inventory.ProvisionDHCP,
	}
	if vm.VNC != nil {
		domain.VNC = &hostapi.VNC{Listen: vm.VNC.Listen.String(), Port: vm.VNC.Port, Password: vm.VNC.Password}
	}
	return domain
}

// virtNetworks plans the libvirt networks that a host's VMs need.
func (d *deployment) virtNetworks(host string) []hostapi.Step {
	var steps []hostapi.Step
	planned := map[string]bool{}
	for _, vm := range d.vmsOn(host) {
		for _, leg := range vm.Interfaces {
			if planned[leg.Network] {
				continue
			}
			planned[leg.Network] = true
			network := hostapi.VirtNetwork{Name: leg.Network, For: leg.Network, Bridge: leg.Network}
			s := step(findVirtNetwork(d.facts[host].Virt, network.Name), network.Diff)
			if s.Op != "" {
				s.VirtNetwork = &network
				steps = append(steps, s)
			}
		}
	}
	return steps
}

// vms plans a host's VMs: the steps that make them, those that wait until their
// guests answer, and which of them lose their disks.
func (d *deployment) vms(host string) (make, wait []hostapi.Step, anew []Removal) {
	for _, vm := range d.vmsOn(host) {
		domain := d.domain(vm)
		seen := findDomain(d.facts[host].Virt, domain.Name)
		s := step(seen, domain.Diff)
		if seen != nil && s.Op != hostapi.Rebuild && d.losesBridge(host, domain) {
			// libvirt joins a tap to its bridge when the domain starts, and only then.
			s.Op = hostapi.Update
			s.Changes = append(s.Changes, hostapi.Change{Property: "bridge", From: "another", To: "new"})
		}
		if s.Op != "" {
			s.Domain = &domain
			make = append(make, s)
		}
		if s.Op == hostapi.Rebuild && seen.State != hostapi.DomainUndefined && seen.Mark != nil {
			anew = append(anew, Removal{Host: host, Kind: hostapi.KindDomain, Name: domain.Name, Mark: *seen.Mark, Anew: true})
		}
		if vm.Provision == inventory.ProvisionNone {
			continue
		}
		guest := hostapi.Guest{
			Domain: domain.Name, For: vm.Name, Interfaces: domain.Interfaces, Lease: domain.Lease,
			Deadline: cmp.Or(vm.Timeout, bootDeadline), Patience: min(bootPatience, cmp.Or(vm.Timeout, bootDeadline)/2),
			Login: hostapi.Login(d.lab.Image(vm.Image).Login),
		}
		switch vm.Provision {
		case inventory.ProvisionConsole:
			guest.Console, guest.Patience = true, 0
		case inventory.ProvisionAuto:
			guest.Console = guest.Login.User != ""
		}
		wait = append(wait, hostapi.Step{Op: hostapi.Await, Guest: &guest})
	}
	return make, wait, anew
}

// losesBridge tells whether a bridge that the domain is on is made anew.
func (d *deployment) losesBridge(host string, domain hostapi.Domain) bool {
	for _, leg := range domain.Interfaces {
		if d.newBridges[hostNetwork{host, leg.Network}] {
			return true
		}
	}
	return false
}

// uploads lists the images that the hosts' new domains stand on and the hosts
// lack.
func (d *deployment) uploads(makes map[string][]hostapi.Step) []Upload {
	var all []Upload
	for _, host := range d.hosts { // of one that cannot run VMs there is nothing in makes
		listed := map[string]bool{}
		for _, vm := range d.vmsOn(host) {
			image := d.inputs.Images[vm.Image]
			if image.SHA256 == "" || listed[vm.Image] || !makesDomain(makes[host], vm.Domain) {
				continue
			}
			listed[vm.Image] = true
			seen := findImage(d.facts[host].Virt, image)
			if !seen.Whole {
				all = append(all, Upload{Host: host, Image: vm.Image, Have: seen.Have, Size: d.inputs.Sizes[vm.Image]})
			}
		}
	}
	return all
}

// makesDomain tells whether one of steps makes that domain anew.
func makesDomain(steps []hostapi.Step, name string) bool {
	for _, s := range steps {
		if s.Domain != nil && s.Domain.Name == name && s.Op != hostapi.Update {
			return true
		}
	}
	return false
}

// refuseForeignVirt finds libvirt's objects of wanted names that are not the lab's.
func (d *deployment) refuseForeignVirt(host string) {
	virt := d.facts[host].Virt
	for _, vm := range d.vmsOn(host) {
		if seen := findDomain(virt, vm.Domain); seen != nil {
			d.refuse(host, hostapi.KindDomain, vm.Domain, seen.Mark)
		}
		for _, leg := range vm.Interfaces {
			if seen := findVirtNetwork(virt, leg.Network); seen != nil {
				d.refuse(host, hostapi.KindVirtNetwork, leg.Network, seen.Mark)
			}
		}
	}
}

// lacksForVMs is what keeps a host from running its VMs; nil: nothing. It costs
// the host these and the lab nothing else.
func (d *deployment) lacksForVMs(host string) *hostapi.Error {
	vms := d.vmsOn(host)
	if len(vms) == 0 {
		return nil
	}
	virt := d.facts[host].Virt
	if virt == nil || virt.Unusable != nil {
		why := &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "cannot run VMs", Hint: "vxorch prepare installs what a host lacks"}
		if virt != nil {
			why.Kind, why.Message = virt.Unusable.Kind, why.Message+": "+virt.Unusable.Message
			why.Hint = cmp.Or(virt.Unusable.Hint, why.Hint)
		}
		return why
	}
	for _, vm := range vms {
		if image := d.inputs.Images[vm.Image]; image.Path != "" && !findImage(virt, image).Whole {
			return &hostapi.Error{
				Kind: hostapi.KindInvalid, Message: fmt.Sprintf("image %s is not there: %s", vm.Image, image.Path),
				Hint: fmt.Sprintf("correct images.%s.path, or name it by file to have it uploaded", vm.Image),
			}
		}
	}
	return nil
}

func (d *deployment) vmsOn(host string) []inventory.VM {
	var vms []inventory.VM
	for _, vm := range d.lab.VMs {
		if vm.Host == host {
			vms = append(vms, vm)
		}
	}
	return vms
}

// virtQuery is what the plan needs to know of a host's libvirt; nil without VMs
// there.
func virtQuery(lab *inventory.Lab, host string, in Inputs) *hostapi.VirtQuery {
	var query *hostapi.VirtQuery
	for _, vm := range lab.VMs {
		if vm.Host != host {
			continue
		}
		if query == nil {
			query = &hostapi.VirtQuery{}
		}
		query.Domains = append(query.Domains, vm.Domain)
		query.Images = append(query.Images, in.Images[vm.Image])
		if lab.Image(vm.Image).Login.User != "" { // else nothing is sent from inside
			query.Consoles = append(query.Consoles, vm.Domain)
		}
		for _, leg := range vm.Interfaces {
			query.Networks = append(query.Networks, leg.Network)
		}
	}
	return query
}

func findVirtNetwork(facts *hostapi.VirtFacts, name string) *hostapi.VirtNetworkFacts {
	if facts == nil {
		return nil
	}
	return find(facts.Networks, func(n *hostapi.VirtNetworkFacts) bool { return n.Name == name })
}

func findDomain(facts *hostapi.VirtFacts, name string) *hostapi.DomainFacts {
	if facts == nil {
		return nil
	}
	return find(facts.Domains, func(d *hostapi.DomainFacts) bool { return d.Name == name })
}

// findImage gives what the host has of an image, nothing if it was not asked.
func findImage(facts *hostapi.VirtFacts, image hostapi.Image) hostapi.ImageFacts {
	if facts != nil {
		if seen := find(facts.Images, func(i *hostapi.ImageFacts) bool { return i.Image == image }); seen != nil {
			return *seen
		}
	}
	return hostapi.ImageFacts{}
}
