package hosttest

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"vxorch/remote/hostapi"
)

// Guests says how the operating systems in a machine's VMs behave.
type Guests int

// Behaviours of guests.
const (
	GuestsAnswer      Guests = iota // they have their addresses as soon as they run
	GuestsNeedConsole               // they have to be told them on the console
	GuestsSilent                    // they come up without a network or a console
)

// virt is a machine's libvirt, guarded by the fabric's lock.
type virt struct {
	unusable *hostapi.Error
	free     int64
	images   map[string]*image // by SHA-256
	files    map[string]bool   // images by path
	networks map[string]*hostapi.VirtNetworkFacts
	domains  map[string]*domain
	guests   Guests
	silent   map[string]bool // domains whose guests never answer, whatever guests says
	ahead    []string        // domains whose consoles were opened ahead
	lacks    installable
}

// keeps tells whether a domain of the lab's stands.
func (v *virt) keeps(lab string) bool {
	for _, d := range v.domains {
		if ours(d.Mark, lab) {
			return true
		}
	}
	return false
}

// domain is one as seen, with its guest.
type domain struct {
	hostapi.DomainFacts
	want   hostapi.Domain
	inside *namespace // the guest's network; its devices are there while it runs
}

func newVirt(o MachineOptions) virt {
	v := virt{
		free:     o.Free,
		lacks:    o.lacks(),
		images:   map[string]*image{},
		files:    map[string]bool{},
		networks: map[string]*hostapi.VirtNetworkFacts{},
		domains:  map[string]*domain{},
		silent:   map[string]bool{},
	}
	if o.NoLibvirt {
		v.unusable = noLibvirt()
	}
	return v
}

func noLibvirt() *hostapi.Error {
	return &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "libvirt does not answer", Hint: "run: vxorch prepare"}
}

// StopLibvirt ends the machine's libvirt for good.
func (m *Machine) StopLibvirt() {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.virt.unusable = noLibvirt()
}

// SetGuests has guests behave like g from now on; what they have learnt stays.
func (m *Machine) SetGuests(g Guests) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.virt.guests = g
}

// SilenceGuest has the guest of the domain of that name never answer.
func (m *Machine) SilenceGuest(domain string) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.virt.silent[domain] = true
}

// OpenedAhead gives the domains whose consoles sessions have opened ahead, in order.
func (m *Machine) OpenedAhead() []string {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	return slices.Clone(m.virt.ahead)
}

// openAhead opens the consoles of lab's running domains among names.
func (v *virt) openAhead(lab string, names []string) {
	for _, name := range names {
		if d, err := v.running(name); err == nil && ours(d.Mark, lab) {
			v.ahead = append(v.ahead, name)
		}
	}
}

// PlantVirtNetwork defines a libvirt network as if another had.
func (m *Machine) PlantVirtNetwork(n hostapi.VirtNetworkFacts) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.virt.networks[n.Name] = &n
}

// PlantDomain defines a domain as if another had. It has no devices.
func (m *Machine) PlantDomain(d hostapi.DomainFacts) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.virt.domains[d.Name] = &domain{DomainFacts: d}
}

// EditVirtNetwork changes a libvirt network behind the lab's back. It panics if
// there is none of that name.
func (m *Machine) EditVirtNetwork(name string, edit func(*hostapi.VirtNetworkFacts)) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	n := m.virt.networks[name]
	if n == nil {
		panic(fmt.Sprintf("hosttest: machine %s has no libvirt network %q", m.name, name))
	}
	edit(n)
}

// EditDomain changes a domain behind the lab's back: one whose state is no
// longer running is off, and gone if libvirt keeps nothing of it. It panics if
// there is no domain of that name.
func (m *Machine) EditDomain(name string, edit func(*hostapi.DomainFacts)) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	d := m.virt.domains[name]
	if d == nil {
		panic(fmt.Sprintf("hosttest: machine %s has no domain %q", m.name, name))
	}
	edit(&d.DomainFacts)
	switch {
	case d.State != "running" && d.Kept == hostapi.KeptNone:
		m.undefine(d)
	case d.State != "running":
		m.halt(d)
	}
}

// Virsh is the machine's.
func (m *Machine) Virsh() Virsh {
	edit := func(edit func(*hostapi.DomainFacts)) func(*testing.T, string) {
		return func(_ *testing.T, name string) { m.EditDomain(name, edit) }
	}
	return Virsh{
		Plant: func(_ *testing.T, name string) {
			m.PlantVirtNetwork(hostapi.VirtNetworkFacts{Name: name, Forward: "nat", Active: true})
			m.PlantDomain(hostapi.DomainFacts{Name: name, State: "running"})
		},
		Stop:     edit(func(d *hostapi.DomainFacts) { d.State = "shutoff" }),
		Undefine: edit(func(d *hostapi.DomainFacts) { d.Kept = hostapi.KeptNone }),
		Redefine: edit(func(d *hostapi.DomainFacts) {
			if d.Kept = hostapi.KeptOther; d.State != "running" {
				d.Memory *= 2
			}
		}),
		Disown: edit(func(d *hostapi.DomainFacts) { d.Mark = nil }),
	}
}

func (m *Machine) virtFacts(q hostapi.VirtQuery, lab string) *hostapi.VirtFacts {
	v := &m.virt
	if v.unusable != nil {
		return &hostapi.VirtFacts{Unusable: v.unusable}
	}
	out := &hostapi.VirtFacts{Version: "9.0.0", Free: v.left()}
	for _, name := range slices.Sorted(maps.Keys(v.networks)) {
		n := *v.networks[name]
		n.Mark = seen(n.Mark, lab)
		if ours(n.Mark, lab) || slices.Contains(q.Networks, name) {
			out.Networks = append(out.Networks, n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.domains)) {
		d := m.asSeen(v.domains[name])
		d.Mark = seen(d.Mark, lab)
		if ours(d.Mark, lab) || slices.Contains(q.Domains, name) {
			out.Domains = append(out.Domains, d)
		}
	}
	for _, i := range q.Images {
		out.Images = append(out.Images, v.image(i))
	}
	return out
}

// asSeen gives d as it is seen: one that runs with a tap that is not a port of its
// network's bridge is cut off.
func (m *Machine) asSeen(d *domain) hostapi.DomainFacts {
	facts := d.DomainFacts
	facts.Interfaces = slices.Clone(d.Interfaces)
	for _, i := range d.want.Interfaces {
		network, tap := m.virt.networks[i.Network], m.links[i.Tap]
		if d.State == "running" && network != nil && (tap == nil || tap.Master != network.Bridge) {
			facts.State = "cut off"
		}
	}
	return facts
}

func (w work) virtNetwork(want hostapi.VirtNetwork) (changed bool, err error) {
	v := &w.Machine.virt
	switch {
	case v.unusable != nil:
		return false, v.unusable
	case want.Name == "" || want.Bridge == "":
		return false, invalid("a libvirt network has a name and a bridge")
	}
	if n := v.networks[want.Name]; n != nil {
		if !ours(n.Mark, w.batch.Lab) {
			return false, foreign("libvirt network", want.Name)
		}
		if changes, _ := want.Diff(*n); len(changes) == 0 {
			return false, nil
		}
	}
	v.networks[want.Name] = &hostapi.VirtNetworkFacts{
		Name: want.Name, Mark: w.mark(want.For), Forward: "bridge", Bridge: want.Bridge, Active: true, Autostart: true,
	}
	return true, nil
}

func (w work) removeVirtNetwork(name string) (changed bool, err error) {
	v := &w.Machine.virt
	n := v.networks[name]
	switch {
	case v.unusable != nil:
		return false, v.unusable
	case n == nil:
		return false, nil
	case !ours(n.Mark, w.batch.Lab):
		return false, foreign("libvirt network", name)
	}
	delete(v.networks, name)
	return true, nil
}

func (w work) domain(want hostapi.Domain) (changed bool, err error) {
	v := &w.Machine.virt
	switch {
	case v.unusable != nil:
		return false, v.unusable
	case want.Name == "" || want.Memory < 1 || want.VCPUs < 1:
		return false, invalid("a domain has a name, memory and virtual CPUs")
	case (want.Image.Path == "") == (want.Image.SHA256 == ""):
		return false, invalid("a domain has one image")
	}
	for _, i := range want.Interfaces {
		if err := check(i.Tap, i.MAC); err != nil {
			return false, err
		}
	}
	d := v.domains[want.Name]
	if d != nil {
		if !ours(d.Mark, w.batch.Lab) {
			return false, foreign("domain", want.Name)
		}
		changes, rebuild := want.Diff(w.asSeen(d))
		if len(changes) == 0 {
			return false, nil
		}
		if rebuild {
			w.undefine(d)
			changed, d = true, nil
		}
	}
	if d != nil {
		goesOn := w.asSeen(d).State == "running" && want.RunsAs(d.DomainFacts)
		d.Kept, d.Memory, d.VCPUs, d.Interfaces = hostapi.KeptOurs, want.Memory, want.VCPUs, legs(want)
		if goesOn {
			return true, nil
		}
	}
	if !v.image(want.Image).Whole {
		return changed, invalid("image %v is not here", want.Image)
	}
	if d == nil {
		d = &domain{want: want, inside: &namespace{name: "guest of " + want.Name, links: map[string]*link{}}}
		d.DomainFacts = hostapi.DomainFacts{
			Name: want.Name, Mark: w.mark(want.For), Spec: want.Spec(), State: "shutoff",
			Memory: want.Memory, VCPUs: want.VCPUs, Interfaces: legs(want), Whole: true,
		}
		v.domains[want.Name] = d
	}
	return true, w.start(d)
}

// legs are a domain's interfaces as libvirt knows them.
func legs(want hostapi.Domain) []hostapi.DomainInterface {
	all := slices.Clone(want.Interfaces)
	for n := range all {
		all[n].Addresses = nil
	}
	return all
}

// start gives d its taps. One that cannot start stays off.
func (w work) start(d *domain) error {
	w.halt(d)
	for n, i := range d.want.Interfaces {
		network := w.Machine.virt.networks[i.Network]
		if network == nil || !network.Active {
			return errOff(w, d, invalid("libvirt network %q is not active", i.Network))
		}
		if w.links[i.Tap] != nil {
			return errOff(w, d, foreign("link", i.Tap))
		}
		tap := &link{Link: hostapi.Link{Name: i.Tap, Kind: "tun", MAC: "fe" + i.MAC[2:], MTU: i.MTU, Up: true}}
		if err := w.join(tap, network.Bridge); err != nil {
			return errOff(w, d, err)
		}
		device := &link{Link: hostapi.Link{Name: fmt.Sprintf("eth%d", n), MAC: i.MAC, MTU: i.MTU, Up: true}, peer: tap}
		tap.peer = device
		if w.Machine.virt.guests == GuestsAnswer {
			device.setAddresses(i.Addresses)
		}
		w.add(nil, tap)
		w.add(d.inside, device)
	}
	w.add(d.inside, &link{Link: hostapi.Link{Name: "lo", MTU: 65536, Up: true}})
	d.State = "running"
	return nil
}

func errOff(w work, d *domain, err error) error {
	w.halt(d)
	return fmt.Errorf("start: %w", err)
}

func (w work) removeDomain(name string) (changed bool, err error) {
	v := &w.Machine.virt
	d := v.domains[name]
	switch {
	case v.unusable != nil:
		return false, v.unusable
	case d == nil:
		return false, nil
	case !ours(d.Mark, w.batch.Lab):
		return false, foreign("domain", name)
	}
	w.undefine(d)
	return true, nil
}

func (m *Machine) undefine(d *domain) {
	m.halt(d)
	delete(m.virt.domains, d.Name)
}

// halt takes away what is there only while d runs.
func (m *Machine) halt(d *domain) {
	if d.State == "running" {
		d.State = "shutoff"
	}
	if d.inside != nil {
		for _, l := range slices.Collect(maps.Values(d.inside.links)) {
			m.remove(l)
		}
	}
}
