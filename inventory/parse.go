package inventory

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// Bounds of an inventory: far above any lab, low enough that a slip of the pen
// (a range up to 99999999) or a hostile file ends in a message.
const (
	maxBytes    = 4 << 20
	maxNodes    = 1_000_000
	maxHosts    = 10_000 // ranges expanded
	maxNetworks = 1_000
	maxImages   = 1_000
	maxLegs     = 100_000 // interfaces of all workloads, counts expanded
	maxVTEPs    = 100_000 // hosts × networks
	maxChecks   = 10_000
)

// parser is one reading of one inventory: the problems so far, the lab so far,
// and where in the file what it refers to stands.
type parser struct {
	file string
	errs Errors
	lab  *Lab

	hosts     map[string]*hostSource
	hostNames []string // in the order of the lab
	segments  []*segment
	segmentOf map[string]*segment
	links     map[string]use // names in the hosts' own namespaces, the same on each
	legs      int
	names     map[string]*yaml.Node // of workloads
	netns     map[[2]string]use     // by host and name
	domains   map[[2]string]use     // by host and name
	screens   map[vncPort][]screen
	images    map[string]*yaml.Node
}

// use says who has an address or a name, for the one who wants it too.
type use struct {
	who  string
	kind kind // of the workload; empty: it is none
	at   *yaml.Node
	auto bool // chosen, not written
}

// Parse reads an inventory and gives the lab it asks for. All problems are
// reported at once, as Errors; name stands for the file in their text.
//
// Bounds: 4 MiB, a million YAML values with aliases expanded, 10,000 hosts,
// 1,000 networks, 1,000 images, 100,000 VTEPs, 100,000 interfaces of workloads,
// 10,000 checks.
func Parse(name string, data []byte) (*Lab, error) {
	p := &parser{
		file:      name,
		lab:       &Lab{File: name},
		hosts:     map[string]*hostSource{},
		segmentOf: map[string]*segment{},
		links:     map[string]use{},
		names:     map[string]*yaml.Node{},
		netns:     map[[2]string]use{},
		domains:   map[[2]string]use{},
		screens:   map[vncPort][]screen{},
		images:    map[string]*yaml.Node{},
	}
	if root := p.document(data); root != nil {
		p.readLab(root)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return p.lab, nil
}

// Load parses a file, or stdin if file is "-". Relative paths of keys, of
// known_hosts, of images and of EVPN's password become relative to the file's
// folder; those that begin with ~/ stay as they are, for those who open them to
// expand.
func Load(file string, stdin io.Reader) (*Lab, error) {
	name, input := file, stdin
	if file == "-" {
		name = "stdin"
	} else {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read inventory: %w", err)
		}
		defer f.Close()
		input = f
	}
	data, err := io.ReadAll(io.LimitReader(input, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read inventory %s: %w", name, err)
	}
	lab, err := Parse(name, data)
	if err != nil || file == "-" {
		return lab, err
	}
	folder := filepath.Dir(file)
	for i := range lab.Hosts {
		ssh := &lab.Hosts[i].SSH
		ssh.Identity = beside(folder, ssh.Identity)
		ssh.KnownHosts = beside(folder, ssh.KnownHosts)
	}
	for i := range lab.Images {
		if image := &lab.Images[i]; image.File != "" {
			image.File = beside(folder, []string{image.File})[0]
		}
	}
	if lab.EVPN != nil && lab.EVPN.PasswordFile != "" {
		lab.EVPN.PasswordFile = beside(folder, []string{lab.EVPN.PasswordFile})[0]
	}
	return lab, nil
}

// beside gives a new list, since hosts may share one.
func beside(folder string, paths []string) []string {
	var moved []string
	for _, path := range paths {
		if !filepath.IsAbs(path) && path != "~" && !strings.HasPrefix(path, "~/") {
			path = filepath.Join(folder, path)
		}
		moved = append(moved, path)
	}
	return moved
}

// readLab reads the sections in the order in which they build on each other,
// whatever their order in the file.
func (p *parser) readLab(root *yaml.Node) {
	const what = "the inventory"
	if root.Kind != yaml.MappingNode {
		p.wrongType(root, what, "a mapping")
		return
	}
	top := p.fields(root, what, "lab", "ssh", "hosts", "networks", "evpn", "containers", "images", "vms", "checks")
	if e, found := top["lab"]; found {
		p.readName(e.value)
	} else {
		p.errorf(root, "lab is missing").Hint = "name the lab: `lab: NAME`"
	}
	var defaults SSH
	if e, found := top["ssh"]; found {
		defaults = p.readSSH(e.value, SSH{})
	}
	if e, found := top["hosts"]; found {
		p.readHosts(e.value, defaults)
	} else {
		p.errorf(root, "hosts is missing").Hint = "list the machines: `hosts: {NAME: {address: ADDRESS}}`"
	}

	networks, networksGiven := top["networks"]
	containers, containersGiven := top["containers"]
	vms, vmsGiven := top["vms"]
	if networksGiven {
		p.readNetworks(networks.value)
	} else {
		p.addSegment(&segment{Network: Network{Name: shortName(p.lab.Name, "br0")}, key: root})
	}
	p.completeNetworks()
	evpn, evpnGiven := top["evpn"]
	p.readEVPN(evpn, evpnGiven)
	switch {
	case containersGiven:
		p.readContainers(containers.value)
	case !networksGiven && !vmsGiven:
		p.defaultContainers(root)
	}
	if e, found := top["images"]; found {
		p.readImages(e.value)
	}
	if vmsGiven {
		p.readVMs(vms.value)
	}
	if e, found := top["checks"]; found {
		p.readChecks(e.value)
	}
	for _, s := range p.segments {
		p.completeVTEPs(s)
		p.lab.Networks = append(p.lab.Networks, s.Network)
	}
}

func (p *parser) readName(n *yaml.Node) {
	name, ok := p.str(n, "lab")
	if !ok {
		return
	}
	p.lab.Name = name
	if problem := labNameProblem(name); problem != "" {
		p.errorf(n, "lab name %q %s", name, problem).Hint = "a lab's name has small letters, digits and '-', at most 20"
	}
}
