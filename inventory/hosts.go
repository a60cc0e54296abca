package inventory

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// hostSource is where a host stands in the file.
type hostSource struct {
	key     *yaml.Node
	address *yaml.Node // nil: missing
	vtep    *yaml.Node // nil: not given
}

func (p *parser) readHosts(n *yaml.Node, defaults SSH) {
	list, ok := p.entries(n, "hosts")
	if ok && len(n.Content) == 0 {
		p.errorf(n, "hosts is empty").Hint = "a lab needs a machine: `hosts: {NAME: {address: ADDRESS}}`"
	}
	for _, e := range list {
		if !p.readHost(e, defaults) {
			break
		}
	}
	p.checkMachines()
	p.checkTunnelEnds()
}

// readHost makes a host of each name that the key stands for. It gives false
// when no more fit.
func (p *parser) readHost(e entry, defaults SSH) bool {
	what := fmt.Sprintf("host %q", e.key.Value)
	f := p.fields(e.value, what, "address", "underlay", "vtep", "ssh")
	names, err := parsePattern(e.key.Value)
	if err != nil {
		p.errorf(e.key, "%s %v", what, err)
		return true
	}
	if len(p.lab.Hosts)+names.count() > maxHosts {
		p.errorf(e.key, "with %s there are more than %d hosts", what, maxHosts)
		return false
	}

	common := Host{SSH: defaults}
	if underlay, found := f["underlay"]; found {
		common.Underlay = p.readUnderlay(underlay.value)
	}
	if ssh, found := f["ssh"]; found {
		common.SSH = p.readSSH(ssh.value, defaults)
	}
	source := &hostSource{key: e.key}
	var addresses, vteps []string
	if address, found := f["address"]; found {
		source.address = address.value
		addresses = p.expand(address.value, "address", names.count())
	} else if f != nil {
		p.errorf(e.key, "address of %s is missing", what).Hint = "say where SSH reaches it: `address: ADDRESS`"
	}
	if vtep, found := f["vtep"]; found {
		source.vtep = vtep.value
		vteps = p.expand(vtep.value, "vtep", names.count())
	}

	for i := range names.count() {
		host := common
		host.Name = names.nth(i)
		if problem := nameProblem(host.Name, maxName); problem != "" {
			p.errorf(e.key, "host name %q %s", host.Name, problem).Hint = "host names have letters, digits, '.', '-' and '_'"
		}
		if first, found := p.hosts[host.Name]; found {
			p.errorf(e.key, "host %q is already given (%s)", host.Name, p.at(first.key)).Hint = "keep one of them"
			continue
		}
		if addresses != nil {
			host.Address = p.sshAddress(source.address, addresses[i])
		}
		if vteps != nil {
			host.VTEP = p.tunnelAddress(source.vtep, vteps[i])
		}
		p.hosts[host.Name] = source
		p.lab.Hosts = append(p.lab.Hosts, host)
		p.hostNames = append(p.hostNames, host.Name)
	}
	return !p.full()
}

// expand reads an address that belongs to count hosts; nil if it cannot.
func (p *parser) expand(n *yaml.Node, what string, count int) []string {
	text, ok := p.str(n, what)
	if !ok {
		return nil
	}
	if inside, found := strings.CutPrefix(text, "["); found {
		inside, _, _ = strings.Cut(inside, "]")
		if _, err := netip.ParseAddr(inside); err == nil {
			p.errorf(n, "%s %q is in brackets", what, text).Hint = "write an IPv6 address without brackets; a port goes into `ssh: {port: PORT}`"
			return nil
		}
	}
	pattern, err := parsePattern(text)
	switch {
	case err != nil:
		p.errorf(n, "%s %q %v", what, text, err)
		return nil
	case pattern.count() != count && len(pattern.ranges) == 0:
		p.errorf(n, "%s %q would be that of %d hosts", what, text, count).Hint = "give it a range as long as the name's, as in 192.0.2.[101-116]"
		return nil
	case pattern.count() != count:
		p.errorf(n, "%s %q is a range of %d, but there are %d hosts", what, text, pattern.count(), count).Hint = "make both ranges equally long"
		return nil
	}
	list := make([]string, count)
	for i := range list {
		list[i] = pattern.nth(i)
	}
	return list
}

// sshAddress checks what SSH is to dial: a name, an IPv4 or an IPv6 address.
func (p *parser) sshAddress(n *yaml.Node, text string) string {
	if addr, err := netip.ParseAddr(text); err == nil {
		if addr.IsUnspecified() || addr.IsMulticast() {
			p.errorf(n, "address %s is no machine's", text)
		}
		return text
	}
	if _, host, found := strings.Cut(text, "@"); found {
		p.errorf(n, "address %q has a user in it", text).Hint = fmt.Sprintf("write `address: %s` and `ssh: {user: USER}`", host)
		return text
	}
	if host, port, found := strings.Cut(text, ":"); found {
		if isDigits(port) {
			p.errorf(n, "address %q has a port in it", text).Hint = fmt.Sprintf("write `address: %s` and `ssh: {port: %s}`", host, port)
		} else {
			p.errorf(n, "address %q is neither a name nor an IP address", text)
		}
		return text
	}
	if strings.Trim(text, "0123456789.") == "" {
		p.errorf(n, "address %q is not an IPv4 address", text)
	} else if problem := nameProblem(text, 253); problem != "" { // 253: RFC 1035 §2.3.4
		p.errorf(n, "address %q %s", text, problem)
	}
	return text
}

func (p *parser) tunnelAddress(n *yaml.Node, text string) netip.Addr {
	addr, ok := p.plainAddr(n, "vtep", text)
	if ok && (addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback()) {
		p.errorf(n, "vtep %s cannot be a tunnel's end", text).Hint = "give an address of the underlay device"
	}
	return addr
}

func (p *parser) readUnderlay(n *yaml.Node) string {
	device, ok := p.str(n, "underlay")
	if !ok {
		return ""
	}
	if problem := deviceProblem(device); problem != "" {
		p.errorf(n, "underlay %q %s", device, problem)
	}
	return device
}

// checkMachines finds two hosts that are one machine.
func (p *parser) checkMachines() {
	seen := map[string]Host{}
	for _, host := range p.lab.Hosts {
		if host.Address == "" {
			continue
		}
		port := host.SSH.Port
		if port == 0 {
			port = 22
		}
		machine := strings.ToLower(strings.TrimSuffix(host.Address, "."))
		if addr, err := netip.ParseAddr(host.Address); err == nil {
			machine = addr.Unmap().String()
		}
		machine += " port " + strconv.Itoa(port)
		if first, found := seen[machine]; found {
			n := p.hosts[host.Name].address
			p.errorf(n, "address %s is already that of host %q (%s)", host.Address, first.Name, p.at(p.hosts[first.Name].address)).Hint =
				"every host is a machine of its own: give it its own address or ssh port"
			continue
		}
		seen[machine] = host
	}
}

// checkTunnelEnds holds the given VTEPs against each other.
func (p *parser) checkTunnelEnds() {
	seen := map[netip.Addr]Host{}
	var family Host // the first that gives one
	for _, host := range p.lab.Hosts {
		if !host.VTEP.IsValid() {
			continue
		}
		n := p.hosts[host.Name].vtep
		if first, found := seen[host.VTEP]; found {
			p.errorf(n, "vtep %s is already that of host %q (%s)", host.VTEP, first.Name, p.at(p.hosts[first.Name].vtep)).Hint =
				"give each host its own"
			continue
		}
		seen[host.VTEP] = host
		if family.Name == "" {
			family = host
		}
		if host.VTEP.Is4() != family.VTEP.Is4() {
			p.errorf(n, "vtep %s is %s, but that of host %q is %s (%s)", host.VTEP, familyOf(host.VTEP),
				family.Name, familyOf(family.VTEP), p.at(p.hosts[family.Name].vtep)).Hint = "all ends of a tunnel need the same IP version"
		}
	}
}

// knownHost reads the name of one of the lab's hosts.
func (p *parser) knownHost(n *yaml.Node, what string) (string, bool) {
	name, ok := p.str(n, what)
	if !ok {
		return "", false
	}
	if _, found := p.hosts[name]; !found {
		p.errorf(n, "there is no host %q", name).Hint = p.suggest(name, p.hostNames)
		return "", false
	}
	return name, true
}
