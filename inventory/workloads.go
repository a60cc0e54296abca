package inventory

import (
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"
)

// kind is what a workload is, as messages call it.
type kind string

const (
	container kind = "container"
	machine   kind = "VM"
)

// what names a workload in a message.
func (k kind) what(name string) string { return fmt.Sprintf("%s %q", k, name) }

// definition is what one key of containers or vms says of the workloads that it
// makes.
type definition struct {
	kind       kind
	key        *yaml.Node
	placements []placement
	legs       []leg
}

// placement is one workload that a definition makes.
type placement struct{ name, host string }

// workloadKeys are those that every definition may have.
var workloadKeys = []string{"host", "hosts", "count", "network", "address", "mac", "interfaces"}

// readDefinition reads how many workloads there are to be, where, and in which
// networks. It gives ok false where none can be made of it, and full when no
// more fit.
func (p *parser) readDefinition(k kind, e entry, f fields) (d definition, ok, full bool) {
	name := e.key.Value
	if problem := nameProblem(name, maxName); problem != "" {
		p.errorf(e.key, "%s name %q %s", k, name, problem).Hint = "workloads' names have letters, digits, '.', '-' and '_'"
	}
	if f == nil {
		return definition{}, false, false
	}
	d = definition{kind: k, key: e.key, placements: p.readPlacements(k, e, f), legs: p.readLegs(k, e, f)}
	if p.legs += len(d.placements) * max(len(d.legs), 1); p.legs > maxLegs {
		p.errorf(e.key, "with %s the workloads have more than %d interfaces", k.what(name), maxLegs)
		return definition{}, false, true
	}
	if len(d.placements) > 1 {
		for _, l := range d.legs {
			if len(l.addresses) > 0 {
				p.errorf(l.addresses[0], "this address would be that of %d %ss", len(d.placements), k).Hint = "leave it out: each gets a free one"
			}
			if l.mac != nil {
				p.errorf(l.mac, "this mac would be that of %d %ss", len(d.placements), k).Hint = "leave it out: each gets its own"
			}
		}
		if slices.ContainsFunc(d.legs, func(l leg) bool { return len(l.addresses) > 0 || l.mac != nil }) {
			return definition{}, false, false
		}
	}
	return d, true, false
}

// claim takes a workload's name, unless another has it.
func (p *parser) claim(d definition, name string) bool {
	if first, found := p.names[name]; found {
		p.errorf(d.key, "%s is already made by another definition (%s)", d.kind.what(name), p.at(first)).Hint = "rename one of them"
		return false
	}
	p.names[name] = d.key
	return true
}

// readPlacements reads on which hosts a definition's workloads are to run.
func (p *parser) readPlacements(k kind, e entry, f fields) []placement {
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
		p.errorf(e.key, "%s has neither host nor hosts", k.what(e.key.Value)).Hint = "say where it runs: `host: NAME` or `hosts: all`"
		return nil
	}
	n := 1
	if counted {
		n, _ = p.integer(count.value, "count", 1, maxLegs)
	}
	names := p.readHostList(k, hosts.value)
	if n*len(names) > maxLegs {
		p.errorf(e.key, "%s would be more than %d", k.what(e.key.Value), maxLegs)
		return nil
	}
	return spread(e.key.Value, names, n)
}

// readHostList reads `all` or a list of hosts.
func (p *parser) readHostList(k kind, n *yaml.Node) []string {
	if n.Kind == yaml.ScalarNode && n.Value == "all" {
		return p.hostNames
	}
	if n.Kind != yaml.SequenceNode {
		p.wrongType(n, "hosts", "all or a list of hosts")
		return nil
	}
	if len(n.Content) == 0 {
		p.errorf(n, "hosts is empty").Hint = fmt.Sprintf("write `hosts: all`, or take the %s out", k)
	}
	var names []string
	seen := map[string]*yaml.Node{}
	for _, item := range n.Content {
		name, ok := p.knownHost(item, "host")
		if !ok {
			continue
		}
		if first, found := seen[name]; found {
			p.errorf(item, "host %q is already in the list (%s)", name, p.at(first)).Hint = fmt.Sprintf("for several %ss a host there is count", k)
			continue
		}
		seen[name] = item
		names = append(names, name)
	}
	return names
}

// spread names count workloads a host NAME-HOST-1, NAME-HOST-2, …: the number
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
