package inventory

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"
)

// leg is an interface as a container's definition has it.
type leg struct {
	segment *segment
	address *yaml.Node // nil: auto
	mac     *yaml.Node // nil: derived
}

// placement is one container that a definition makes.
type placement struct{ name, host string }

func (p *parser) readContainers(n *yaml.Node) {
	list, _ := p.entries(n, "containers")
	for _, e := range list {
		if !p.readContainer(e) {
			return
		}
	}
}

// defaultContainers is what `containers: {cn: {hosts: all}}` makes.
func (p *parser) defaultContainers(root *yaml.Node) {
	for _, placed := range spread("cn", p.hostNames, 1) {
		p.addContainer(root, placed, []leg{{segment: p.segments[0]}}, "")
	}
}

// readContainer makes the containers of one definition. It gives false when no
// more fit.
func (p *parser) readContainer(e entry) bool {
	name := e.key.Value
	what := fmt.Sprintf("container %q", name)
	f := p.fields(e.value, what, "host", "hosts", "count", "network", "address", "mac", "interfaces", "netns")
	if problem := nameProblem(name, maxName); problem != "" {
		p.errorf(e.key, "container name %q %s", name, problem).Hint = "workloads' names have letters, digits, '.', '-' and '_'"
	}
	placements := p.readPlacements(e, f)
	legs := p.readLegs(e, f, what)
	netns := ""
	if ns, found := f["netns"]; found {
		netns = p.readNetns(ns.value)
	}
	if p.legs += len(placements) * max(len(legs), 1); p.legs > maxLegs {
		p.errorf(e.key, "with %s the workloads have more than %d interfaces", what, maxLegs)
		return false
	}
	if len(placements) > 1 {
		for _, l := range legs {
			if l.address != nil {
				p.errorf(l.address, "this address would be that of %d containers", len(placements)).Hint = "leave it out: each gets a free one"
			}
			if l.mac != nil {
				p.errorf(l.mac, "this mac would be that of %d containers", len(placements)).Hint = "leave it out: each gets its own"
			}
		}
		if slices.ContainsFunc(legs, func(l leg) bool { return l.address != nil || l.mac != nil }) {
			return true
		}
	}
	for _, placed := range placements {
		p.addContainer(e.key, placed, legs, netns)
	}
	return true
}

// readPlacements reads on which hosts a definition's containers are to run.
func (p *parser) readPlacements(e entry, f fields) []placement {
	host, one := f["host"]
	hosts, many := f["hosts"]
	count, counted := f["count"]
	switch {
	case one && many:
		p.errorf(hosts.key, "host and hosts are both given (%s)", p.at(host.key)).Hint = "keep one of them"
		return nil
	case one:
		if counted {
			p.errorf(count.key, "count goes with hosts, not with host").Hint = fmt.Sprintf("write `hosts: [%s]`", host.value.Value)
		}
		if name, ok := p.knownHost(host.value, "host"); ok {
			return []placement{{name: e.key.Value, host: name}}
		}
		return nil
	case !many:
		p.errorf(e.key, "container %q has neither host nor hosts", e.key.Value).Hint = "say where it runs: `host: NAME` or `hosts: all`"
		return nil
	}
	n := 1
	if counted {
		n, _ = p.integer(count.value, "count", 1, maxLegs)
	}
	names := p.readHostList(hosts.value)
	if n*len(names) > maxLegs {
		p.errorf(e.key, "container %q would be more than %d", e.key.Value, maxLegs)
		return nil
	}
	return spread(e.key.Value, names, n)
}

// readHostList reads `all` or a list of hosts.
func (p *parser) readHostList(n *yaml.Node) []string {
	if n.Kind == yaml.ScalarNode && n.Value == "all" {
		return p.hostNames
	}
	if n.Kind != yaml.SequenceNode {
		p.wrongType(n, "hosts", "all or a list of hosts")
		return nil
	}
	if len(n.Content) == 0 {
		p.errorf(n, "hosts is empty").Hint = "write `hosts: all`, or take the container out"
	}
	var names []string
	seen := map[string]*yaml.Node{}
	for _, item := range n.Content {
		name, ok := p.knownHost(item, "host")
		if !ok {
			continue
		}
		if first, found := seen[name]; found {
			p.errorf(item, "host %q is already in the list (%s)", name, p.at(first)).Hint = "for several containers a host there is count"
			continue
		}
		seen[name] = item
		names = append(names, name)
	}
	return names
}

// spread names count containers a host NAME-HOST-1, NAME-HOST-2, …: the number
// also where there is one, so that a higher count renames nobody.
func spread(name string, hosts []string, count int) []placement {
	var placements []placement
	for _, host := range hosts {
		for i := range count {
			placements = append(placements, placement{name: fmt.Sprintf("%s-%s-%d", name, host, i+1), host: host})
		}
	}
	return placements
}

// readLegs reads one network and address, or a list of interfaces.
func (p *parser) readLegs(e entry, f fields, what string) []leg {
	list, several := f["interfaces"]
	if !several {
		if l, ok := p.readLeg(e.key, f, what); ok {
			return []leg{l}
		}
		return nil
	}
	for _, key := range []string{"network", "address", "mac"} {
		if single, found := f[key]; found {
			p.errorf(single.key, "%s and interfaces are both given (%s)", key, p.at(list.key)).Hint = "put it into the list of interfaces"
		}
	}
	if list.value.Kind != yaml.SequenceNode {
		p.wrongType(list.value, "interfaces", "a list")
		return nil
	}
	if len(list.value.Content) == 0 {
		p.errorf(list.value, "interfaces is empty").Hint = "a container needs an interface: `interfaces: [{network: NAME}]`"
	}
	var legs []leg
	seen := map[*segment]*yaml.Node{}
	for _, item := range list.value.Content {
		l, ok := p.readLeg(item, p.fields(item, "an interface", "network", "address", "mac"), what)
		if !ok {
			continue
		}
		if first, found := seen[l.segment]; found {
			// One namespace with two addresses of one subnet answers on either
			// interface, so no probe could tell them apart.
			p.errorf(item, "%s has an interface in %s already (%s)", what, l.segment.what(), p.at(first)).Hint = "one interface a network"
			continue
		}
		seen[l.segment] = item
		legs = append(legs, l)
	}
	return legs
}

// readLeg reads an interface that begins at n.
func (p *parser) readLeg(n *yaml.Node, f fields, what string) (leg, bool) {
	var l leg
	if e, found := f["address"]; found && !(e.value.Kind == yaml.ScalarNode && e.value.Value == "auto") {
		l.address = e.value
	}
	if e, found := f["mac"]; found {
		l.mac = e.value
	}
	e, found := f["network"]
	if !found {
		if len(p.segments) == 1 {
			l.segment = p.segments[0]
			return l, true
		}
		if len(p.segments) > 1 {
			p.errorf(n, "%s does not say in which of the %d networks it is", what, len(p.segments)).Hint = "write `network: NAME`"
		}
		return leg{}, false
	}
	name, ok := p.str(e.value, "network")
	if !ok {
		return leg{}, false
	}
	if l.segment, ok = p.segmentOf[name]; ok {
		return l, true
	}
	var known []string
	for _, s := range p.segments {
		known = append(known, s.Name)
	}
	p.errorf(e.value, "there is no network %q", name).Hint = p.suggest(name, known)
	return leg{}, false
}

func (p *parser) readNetns(n *yaml.Node) string {
	name, ok := p.str(n, "netns")
	if !ok {
		return ""
	}
	if problem := nameProblem(name, maxNetnsName); problem != "" {
		p.errorf(n, "netns %q %s", name, problem).Hint = "a namespace's name has letters, digits, '.', '-' and '_'"
	}
	return name
}

// addContainer makes one container. key is where its definition begins.
func (p *parser) addContainer(key *yaml.Node, placed placement, legs []leg, netns string) {
	who := fmt.Sprintf("container %q", placed.name)
	if first, found := p.names[placed.name]; found {
		p.errorf(key, "%s is already made by another definition (%s)", who, p.at(first)).Hint = "rename one of them"
		return
	}
	p.names[placed.name] = key
	if netns == "" {
		netns = shorten(maxNetnsName, p.lab.Name, placed.name)
	}
	place := [2]string{placed.host, netns}
	if first, found := p.netns[place]; found {
		p.errorf(key, "netns %q of %s is already that of %s on host %q (%s)", netns, who, first.who, placed.host, p.at(first.at)).Hint =
			"give each its own netns, or leave it out"
	}
	p.netns[place] = use{who: who, at: key}

	container := Container{Name: placed.name, Host: placed.host, Netns: netns}
	for i, l := range legs {
		inner := "eth" + strconv.Itoa(i)
		container.Interfaces = append(container.Interfaces, Interface{
			Network: l.segment.Name,
			Inner:   inner,
			Link:    p.nameLeg(key, placed.name, inner),
			Address: p.addressOf(key, l, who),
			MAC:     p.macOf(key, l, placed.name),
		})
	}
	p.lab.Containers = append(p.lab.Containers, container)
}

// nameLeg names the outer end, other than all links so far.
func (p *parser) nameLeg(key *yaml.Node, workload, inner string) string {
	for attempt := 0; ; attempt++ {
		name := linkName(p.lab.Name, workload, inner, attempt)
		if _, taken := p.links[name]; !taken {
			p.links[name] = use{who: fmt.Sprintf("container %q", workload), at: key}
			return name
		}
	}
}

func (p *parser) addressOf(key *yaml.Node, l leg, who string) netip.Addr {
	s := l.segment
	if l.address != nil {
		addr, ok := p.subnetAddr(l.address, "address", s)
		if ok {
			p.take(l.address, s, addr, who)
		}
		return addr
	}
	if !s.pool.subnet.IsValid() {
		return netip.Addr{}
	}
	addr, ok := s.pool.auto()
	if !ok && !s.full {
		s.full = true
		p.errorf(key, "subnet %s of %s has no address left for %s", s.Subnet, s.what(), who).Hint = "choose a larger subnet"
	}
	if ok {
		s.pool.used[addr] = use{who: who, at: key, auto: true}
	}
	return addr
}

func (p *parser) macOf(key *yaml.Node, l leg, workload string) string {
	who := fmt.Sprintf("container %q", workload)
	if l.mac != nil {
		mac, ok := p.readMAC(l.mac)
		if first, found := l.segment.macs[mac]; found && ok {
			p.errorf(l.mac, "mac %s is already that of %s (%s)", mac, first.who, p.at(first.at)).Hint = "choose another, or leave it out"
			return mac
		}
		l.segment.macs[mac] = use{who: who, at: l.mac}
		return mac
	}
	for attempt := 0; ; attempt++ {
		mac := DeriveMAC(p.lab.Name, "container", workload, l.segment.Name, strconv.Itoa(attempt))
		if _, taken := l.segment.macs[mac]; !taken {
			l.segment.macs[mac] = use{who: who, at: key}
			return mac
		}
	}
}

func (p *parser) readMAC(n *yaml.Node) (string, bool) {
	text, ok := p.str(n, "mac")
	if !ok {
		return "", false
	}
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != 6:
		p.errorf(n, "mac %q is not an Ethernet address", text).Hint = "write it as in 02:00:00:00:00:01"
	case mac[0]&1 != 0:
		p.errorf(n, "mac %s is a multicast address", mac).Hint = "the first byte must be even, as in 02:00:00:00:00:01"
	case mac.String() == "00:00:00:00:00:00":
		p.errorf(n, "mac %s is no interface's", mac)
	default:
		return mac.String(), true
	}
	return "", false
}
