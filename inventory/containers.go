package inventory

import (
	"fmt"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"
)

// definition is what one key of containers says of the containers it makes.
type definition struct {
	key     *yaml.Node
	legs    []leg
	netns   string     // empty: derived
	netnsAt *yaml.Node // key, where derived
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
	d := definition{key: root, netnsAt: root, legs: []leg{{segment: p.segments[0]}}}
	for _, placed := range spread("cn", p.hostNames, 1) {
		p.addContainer(d, placed)
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
	if f == nil {
		return true
	}
	placements := p.readPlacements(e, f)
	d := definition{key: e.key, netnsAt: e.key, legs: p.readLegs(e, f, what)}
	if ns, found := f["netns"]; found {
		d.netns, d.netnsAt = p.readNetns(ns.value), ns.value
	}
	if p.legs += len(placements) * max(len(d.legs), 1); p.legs > maxLegs {
		p.errorf(e.key, "with %s the workloads have more than %d interfaces", what, maxLegs)
		return false
	}
	if len(placements) > 1 {
		for _, l := range d.legs {
			if l.address != nil {
				p.errorf(l.address, "this address would be that of %d containers", len(placements)).Hint = "leave it out: each gets a free one"
			}
			if l.mac != nil {
				p.errorf(l.mac, "this mac would be that of %d containers", len(placements)).Hint = "leave it out: each gets its own"
			}
		}
		if slices.ContainsFunc(d.legs, func(l leg) bool { return l.address != nil || l.mac != nil }) {
			return true
		}
	}
	for _, placed := range placements {
		p.addContainer(d, placed)
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

// addContainer makes one container of a definition.
func (p *parser) addContainer(d definition, placed placement) {
	who := fmt.Sprintf("container %q", placed.name)
	if first, found := p.names[placed.name]; found {
		p.errorf(d.key, "%s is already made by another definition (%s)", who, p.at(first)).Hint = "rename one of them"
		return
	}
	p.names[placed.name] = d.key
	netns := d.netns
	if netns == "" {
		netns = shorten(maxNetnsName, p.lab.Name, placed.name)
	}
	place := [2]string{placed.host, netns}
	if first, found := p.netns[place]; found {
		p.errorf(d.netnsAt, "netns %q of %s is already that of %s on host %q (%s)", netns, who, first.who, placed.host, p.at(first.at)).Hint =
			"give each its own netns, or leave it out"
	}
	p.netns[place] = use{who: who, at: d.netnsAt}

	container := Container{Name: placed.name, Host: placed.host, Netns: netns}
	for i, l := range d.legs {
		inner := "eth" + strconv.Itoa(i)
		container.Interfaces = append(container.Interfaces, Interface{
			Network: l.segment.Name,
			Inner:   inner,
			Link:    p.nameLeg(d.key, placed.name, inner),
			Address: p.addressOf(d.key, l, who),
			MAC:     p.macOf(d.key, l, placed.name),
		})
	}
	p.lab.Containers = append(p.lab.Containers, container)
}
