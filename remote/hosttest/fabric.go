// Package hosttest has what tests of Hosts need: machines that exist in memory
// only, on a Fabric that carries their packets, with faults on demand; and
// Contract, which every Host has to pass, these and the real ones alike.
//
// A fake machine behaves as hostapi documents, not as a kernel does: it knows no
// packet sizes, no timing of replies and no links but those of a lab. What
// depends on a kernel is tested on a kernel, and what depends on a guest with one.
package hosttest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vxorch/remote/hostapi"
)

// Fabric is an underlay that joins machines.
type Fabric struct {
	mu       sync.Mutex // guards the fabric and all that stands on its machines
	machines []*Machine
	apart    map[[2]*Machine]bool
	pathMTU  int  // of what is between the machines, bytes; 0: any
	noGroups bool // no multicast
}

// NewFabric gives an underlay without machines.
func NewFabric() *Fabric {
	return &Fabric{apart: map[[2]*Machine]bool{}}
}

// Separate drops every packet between a and b from now on, in both directions.
// Their sessions go on.
func (f *Fabric) Separate(a, b *Machine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apart[[2]*Machine{a, b}] = true
	f.apart[[2]*Machine{b, a}] = true
}

// MachineOptions say what a machine is like; the zero value works.
type MachineOptions struct {
	Underlay string        // device; empty: eth0
	Address  netip.Prefix  // of the underlay; zero: 192.0.2.11/24 on the first machine of a fabric, .12 on the second, …
	MTU      int           // of the underlay, bytes; 0: 1500
	Latency  time.Duration // that every call takes on top: a round trip
	// NoLibvirt: the machine can run no VM until it is prepared.
	NoLibvirt bool
	// NoSystemd: what Prepare installs has to be started by hand.
	NoSystemd bool
	// NoFRR: the machine has no FRR until it is prepared.
	NoFRR bool
	Free  int64 // bytes for images; 0: 100 GiB
}

// Machine keeps what was built on it, whichever session did it.
type Machine struct {
	fabric   *Fabric
	name     string
	underlay string
	local    netip.Addr
	latency  time.Duration

	// Guarded by fabric.mu.
	links      map[string]*link // in the machine's own namespace
	namespaces map[string]*namespace
	locks      map[string]lock // by lab
	sessions   map[*Session]bool
	index      int // of the newest link
	boots      int // after the first
	fault      Fault
	virt       virt
	frrs       map[string]*frr // by lab
	noFRR      bool
	zebra      bool                // one that is none of vxorch's runs
	bgpd       *hostapi.HostBGP    // and a bgpd beside it; nil: none
	leftovers  map[string][]string // by lab
	holders    []hostapi.PortHolder
	routes     []hostapi.HostRoute // without the subnets that they overlap
	check      hostapi.CheckFacts
	inspection hostapi.Inspection
	firewall   Firewall
	ahead      time.Duration // that the clock is
}

type link struct {
	hostapi.Link // as it is, but Addresses and PeerIndex, which facts fills in
	addresses    []address
	netns        *namespace         // nil: the machine's own
	peer         *link              // of a veth, or of a tap: the guest's device
	forwarding   hostapi.Forwarding // of a VTEP: what it was told
}

type address struct {
	prefix  netip.Prefix
	expires time.Time // zero: never
}

type namespace struct {
	name  string
	mark  *hostapi.Mark
	links map[string]*link
}

type lock struct {
	session *Session
	holder  hostapi.Holder
}

// NewMachine adds a machine with nothing on it but its underlay device.
func (f *Fabric) NewMachine(name string, o MachineOptions) *Machine {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.Underlay == "" {
		o.Underlay = "eth0"
	}
	number := len(f.machines) + 1
	if !o.Address.IsValid() {
		o.Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + number)}), 24)
	}
	if o.MTU == 0 {
		o.MTU = 1500
	}
	if o.Free == 0 {
		o.Free = 100 << 30
	}
	m := &Machine{
		fabric: f, name: name, underlay: o.Underlay, local: o.Address.Addr(), latency: o.Latency,
		links:      map[string]*link{},
		namespaces: map[string]*namespace{},
		locks:      map[string]lock{},
		sessions:   map[*Session]bool{},
		leftovers:  map[string][]string{},
		virt:       newVirt(o),
		frrs:       map[string]*frr{},
		noFRR:      o.NoFRR,
	}
	f.machines = append(f.machines, m)
	m.add(nil, &link{
		Link:      hostapi.Link{Name: "lo", MTU: 65536, Up: true},
		addresses: []address{{prefix: netip.MustParsePrefix("127.0.0.1/8")}},
	})
	m.add(nil, &link{
		Link:      hostapi.Link{Name: o.Underlay, MAC: fmt.Sprintf("02:ff:00:00:00:%02x", number), MTU: o.MTU, Up: true},
		addresses: []address{{prefix: o.Address}},
	})
	return m
}

// Underlay is the device that Local is on.
func (m *Machine) Underlay() string { return m.underlay }

// Local is the machine's address on the underlay.
func (m *Machine) Local() netip.Addr { return m.local }

// PlantLink puts a link without a mark into the machine's own namespace, as if
// another had made it. Its index is given to it; without a kind it is a bridge.
func (m *Machine) PlantLink(l hostapi.Link) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	if l.Kind == "" {
		l.Kind = "bridge"
	}
	planted := &link{Link: l}
	planted.setAddresses(l.Addresses)
	m.add(nil, planted)
}

// PlantNamespace makes a named namespace without a mark.
func (m *Machine) PlantNamespace(name string) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.addNamespace(name)
}

// PlantLeftover has a thorough look find something of a lab's where its links and
// workloads are not; nothing takes it away.
func (m *Machine) PlantLeftover(lab, what string) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.leftovers[lab] = append(m.leftovers[lab], what)
}

// Edit changes a link behind the lab's back. netns is empty for the machine's
// own namespace. It panics if there is no such link.
func (m *Machine) Edit(netns, name string, edit func(*hostapi.Link)) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	l := m.find(netns, name)
	l.Addresses = l.prefixes()
	edit(&l.Link)
	l.setAddresses(l.Addresses)
}

// RemoveLink removes a link behind the lab's back, whoever's it is, and what
// depends on it. netns is empty for the machine's own namespace. It panics if
// there is no such link.
func (m *Machine) RemoveLink(netns, name string) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.remove(m.find(netns, name))
}

// RemoveNamespace removes a namespace behind the lab's back, whoever's it is, with
// all that is in it. It panics if there is none of that name.
func (m *Machine) RemoveNamespace(name string) {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	n := m.namespaces[name]
	if n == nil {
		panic(fmt.Sprintf("hosttest: machine %s has no namespace %q", m.name, name))
	}
	m.removeNamespace(n)
}

// Reboot ends all sessions, stops the VMs and takes away what a kernel forgets:
// every link but the underlay, and every namespace.
func (m *Machine) Reboot() {
	m.Cut()
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	m.boots++
	clear(m.frrs)
	for _, d := range m.virt.domains {
		m.halt(d)
	}
	for _, n := range m.namespaces {
		m.removeNamespace(n)
	}
	for _, l := range slices.Collect(maps.Values(m.links)) {
		if l.Name != "lo" && l.Name != m.underlay && m.links[l.Name] == l {
			m.remove(l)
		}
	}
}

// Objects lists everything that stands on the machine but base images, which
// outlive labs, for a comparison of before and after.
func (m *Machine) Objects() []string {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	var all []string
	list := func(where string, links map[string]*link) {
		for _, l := range links {
			all = append(all, where+"link "+l.Name)
			for _, p := range l.prefixes() {
				all = append(all, where+"address "+p.String()+" on "+l.Name)
			}
		}
	}
	list("", m.links)
	for _, n := range m.namespaces {
		all = append(all, "namespace "+n.name)
		list("namespace "+n.name+" ", n.links)
	}
	for lab := range m.frrs {
		all = append(all, "control plane of "+lab)
	}
	for name := range m.virt.networks {
		all = append(all, "libvirt network "+name)
	}
	for name := range m.virt.domains {
		all = append(all, "domain "+name)
	}
	slices.Sort(all)
	return all
}

// Locked tells whether a session holds lab's lock.
func (m *Machine) Locked(lab string) bool {
	m.fabric.mu.Lock()
	defer m.fabric.mu.Unlock()
	_, ok := m.locks[lab]
	return ok
}

func (m *Machine) find(netns, name string) *link {
	links := m.links
	if netns != "" {
		n := m.namespaces[netns]
		if n == nil {
			panic(fmt.Sprintf("hosttest: machine %s has no namespace %q", m.name, netns))
		}
		links = n.links
	}
	l := links[name]
	if l == nil {
		panic(fmt.Sprintf("hosttest: machine %s has no link %q in namespace %q", m.name, name, netns))
	}
	return l
}

// add gives l an index and puts it into n, or into m's own namespace.
func (m *Machine) add(n *namespace, l *link) {
	m.index++
	l.Index = m.index
	l.netns = n
	m.beside(l)[l.Name] = l
}

// beside gives the links of the namespace that l is in.
func (m *Machine) beside(l *link) map[string]*link {
	if l.netns != nil {
		return l.netns.links
	}
	return m.links
}

func (m *Machine) addNamespace(name string) *namespace {
	n := &namespace{name: name, links: map[string]*link{}}
	m.namespaces[name] = n
	m.add(n, &link{Link: hostapi.Link{Name: "lo", MTU: 65536}})
	return n
}

// remove takes l away with what the kernel takes away with it.
func (m *Machine) remove(l *link) {
	beside := m.beside(l)
	delete(beside, l.Name)
	for _, other := range slices.Collect(maps.Values(beside)) {
		if other.Master == l.Name {
			other.Master = ""
		}
		if other.VXLAN != nil && other.VXLAN.Device == l.Name {
			m.remove(other)
		}
	}
	if l.peer != nil {
		peer := l.peer
		l.peer, peer.peer = nil, nil
		m.remove(peer)
	}
}

func (m *Machine) removeNamespace(n *namespace) {
	delete(m.namespaces, n.name)
	for _, l := range slices.Collect(maps.Values(n.links)) {
		m.remove(l)
	}
}

// prefixes are l's addresses now.
func (l *link) prefixes() []netip.Prefix {
	var ps []netip.Prefix
	for _, a := range l.addresses {
		if a.expires.IsZero() || time.Now().Before(a.expires) {
			ps = append(ps, a.prefix)
		}
	}
	return ps
}

func (l *link) setAddresses(ps []netip.Prefix) {
	l.addresses = nil
	for _, p := range ps {
		l.addresses = append(l.addresses, address{prefix: p})
	}
}

// facts is l as lab sees it.
func (l *link) facts(lab string) hostapi.Link {
	out := l.Link
	out.Mark = seen(l.Mark, lab)
	out.Addresses = l.prefixes()
	if l.VXLAN != nil {
		v := *l.VXLAN
		v.Forwarding = hostapi.SummarizeForwarding(l.forwarding.Entries())
		out.VXLAN = &v
	}
	if l.Kind == "veth" {
		out.PeerIndex = l.peer.Index
	}
	return out
}

// seen is mark as lab sees it: intents are read by their own lab only.
func seen(mark *hostapi.Mark, lab string) *hostapi.Mark {
	if mark == nil || mark.Intended && mark.Lab != lab {
		return nil
	}
	m := *mark
	return &m
}
