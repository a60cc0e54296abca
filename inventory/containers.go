package inventory

import "gopkg.in/yaml.v3"

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
	d := definition{kind: container, key: root, legs: []leg{{segment: p.segments[0]}}}
	for _, placed := range spread("cn", p.hostNames, 1) {
		p.addContainer(d, placed, "", root)
	}
}

// readContainer makes the containers of one definition. It gives false when no
// more fit.
func (p *parser) readContainer(e entry) bool {
	f := p.fields(e.value, container.what(e.key.Value), append([]string{"netns"}, workloadKeys...)...)
	d, ok, full := p.readDefinition(container, e, f)
	netns, at := "", e.key
	if ns, found := f["netns"]; found {
		netns, at = p.name(ns.value, "netns", maxNetnsName, "a namespace's name has letters, digits, '.', '-' and '_'"), ns.value
	}
	if !ok {
		return !full
	}
	for _, placed := range d.placements {
		p.addContainer(d, placed, netns, at)
	}
	return true
}

// addContainer makes one container of a definition. An empty netns is derived;
// at is where it stands, or the definition.
func (p *parser) addContainer(d definition, placed placement, netns string, at *yaml.Node) {
	if !p.claim(d, placed.name) {
		return
	}
	who := container.what(placed.name)
	if netns == "" {
		netns = shorten(maxNetnsName, p.lab.Name, placed.name)
	}
	place := [2]string{placed.host, netns}
	if first, found := p.netns[place]; found {
		p.errorf(at, "netns %q of %s is already that of %s on host %q (%s)", netns, who, first.who, placed.host, p.at(first.at)).Hint =
			"give each its own netns, or leave it out"
	}
	p.netns[place] = use{who: who, at: at}
	p.lab.Containers = append(p.lab.Containers, Container{
		Name: placed.name, Host: placed.host, Netns: netns, Interfaces: p.interfaces(d, placed.name),
	})
}
