package inventory

import (
	"fmt"
	"net/netip"
	"slices"

	"gopkg.in/yaml.v3"
)

// What BGP has that says nothing else.
const (
	defaultASN    = 65000     // of those for private use, 64512…65534 (RFC 6996 §5)
	maxASN        = 1<<32 - 2 // RFC 7300
	lastASN16     = 65535     // reserved, too
	transitionASN = 23456     // stands for numbers of 32 bits where only 16 fit (RFC 6793 §9)
	bgpPort       = 179       // IANA
	maxReflectors = 16
	fewReflectors = 2 // where nobody names them
	maxClients    = 100
)

// readEVPN reads what the networks with flood: evpn have in common: a host has one
// control plane, however many they are.
func (p *parser) readEVPN(e entry, given bool) {
	first := slices.IndexFunc(p.segments, func(s *segment) bool { return s.Flood == FloodEVPN })
	if first < 0 {
		if given {
			p.errorf(e.key, "evpn is given, and no network has flood: evpn").Hint = "give one `flood: evpn`, or leave evpn out"
		}
		return
	}
	evpn := &EVPN{ASN: defaultASN, Port: bgpPort}
	p.lab.EVPN = evpn
	if given {
		f := p.fields(e.value, "evpn", "reflectors", "asn", "port", "password_file", "clients", "frr")
		if x, found := f["reflectors"]; found {
			evpn.Reflectors = p.readReflectors(x.value)
		}
		if x, found := f["asn"]; found {
			evpn.ASN = p.readASN(x.value)
		}
		if x, found := f["port"]; found {
			evpn.Port, _ = p.integer(x.value, "port", 1, 65535)
		}
		if x, found := f["password_file"]; found {
			evpn.PasswordFile, _ = p.str(x.value, "password_file")
		}
		if x, found := f["clients"]; found {
			evpn.Clients = p.readClients(x.value)
		}
		evpn.Existing = p.choice(f, "frr", []string{"own", "existing"}) == "existing"
	}
	if len(evpn.Reflectors) == 0 {
		evpn.Reflectors = slices.Clone(p.hostNames[:min(fewReflectors, len(p.hostNames))])
	}
	for _, host := range p.lab.Hosts {
		if host.VTEP.Is6() {
			p.errorf(p.segments[first].node("flood"), "flood: evpn needs an IPv4 underlay, and the vtep of host %q is %s (%s)", host.Name, host.VTEP, p.at(p.hosts[host.Name].key)).Hint =
				"FRR knows no IPv6 tunnel ends: give the hosts IPv4 ones, or take flood: static"
			return
		}
	}
}

func (p *parser) readReflectors(n *yaml.Node) []string {
	all := items(n)
	if len(all) == 0 || len(all) > maxReflectors {
		p.errorf(n, "reflectors is a list of %d", len(all)).Hint = fmt.Sprintf("name one to %d hosts, or leave it out for the first %d", maxReflectors, fewReflectors)
		return nil
	}
	var hosts []string
	for _, item := range all {
		switch host, ok := p.knownHost(item, "a reflector"); {
		case !ok:
		case slices.Contains(hosts, host):
			p.errorf(item, "host %q is already a reflector", host)
		default:
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// readASN refuses the numbers that mean something else.
func (p *parser) readASN(n *yaml.Node) int {
	asn, ok := p.integer(n, "asn", 1, maxASN)
	if ok && (asn == transitionASN || asn == lastASN16) {
		p.errorf(n, "asn %d is reserved", asn).Hint = "take one for private use: 64512 to 65534"
	}
	return asn
}

func (p *parser) readClients(n *yaml.Node) []netip.Prefix {
	all := items(n)
	if len(all) > maxClients {
		p.errorf(n, "there are more than %d clients", maxClients)
		return nil
	}
	var prefixes []netip.Prefix
	for _, item := range all {
		text, ok := p.str(item, "clients")
		if !ok {
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			p.errorf(item, "clients %q is not an address with a prefix length", text).Hint = "write it as in 10.0.0.0/16"
		case !prefix.Addr().Is4():
			p.errorf(item, "clients %s is IPv6", prefix).Hint = "sessions are between the tunnel ends, which are IPv4"
		case prefix != prefix.Masked():
			p.errorf(item, "clients %s is the address of a machine in it", prefix).Hint = fmt.Sprintf("write %s", prefix.Masked())
		default:
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes
}
