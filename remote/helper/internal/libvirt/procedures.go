package libvirt

import "io"

// QEMUSystem is the machine's own QEMU.
const QEMUSystem = "qemu:///system"

const (
	authNone   = 0
	authPolkit = 2
)

// ConnectOpen opens the driver of that URI. It comes before everything else, and
// the question how to authenticate before it, even where that is not needed.
func (c *Conn) ConnectOpen(uri string) error {
	r, err := c.call(66, nil) // AUTH_LIST
	if err != nil {
		return err
	}
	for _, kind := range list(&r, (*result).uint32) {
		if kind == authPolkit {
			if _, err := c.call(70, nil); err != nil { // AUTH_POLKIT
				return err
			}
		}
		if kind == authPolkit || kind == authNone {
			break
		}
	}
	if r.err != nil {
		return r.err
	}
	_, err = c.call(1, args(nil).optional(&uri).uint32(0))
	return err
}

// ConnectGetLibVersion gives libvirt's version: 1_000_000 × major + 1000 × minor
// + release.
func (c *Conn) ConnectGetLibVersion() (uint64, error) {
	return get(c, 157, nil, (*result).uint64)
}

// ConnectGetDomainCapabilities gives as XML what the default emulator for this
// machine can do with that type of virtualisation.
func (c *Conn) ConnectGetDomainCapabilities(virtType string) (string, error) {
	a := args(nil).optional(nil).optional(nil).optional(nil) // emulator, architecture, machine
	return get(c, 342, a.optional(&virtType).uint32(0), (*result).string)
}

// ConnectListAllDomains gives all domains, running or not.
func (c *Conn) ConnectListAllDomains() ([]Domain, error) {
	return get(c, 273, args(nil).uint32(1).uint32(0), func(r *result) []Domain { return list(r, (*result).domain) })
}

// ConnectListAllNetworks gives all networks, active or not.
func (c *Conn) ConnectListAllNetworks() ([]Network, error) {
	return get(c, 283, args(nil).uint32(1).uint32(0), func(r *result) []Network { return list(r, (*result).network) })
}

// DomainDefineXML makes a domain, or changes one of that name and UUID.
func (c *Conn) DomainDefineXML(xml string) (Domain, error) {
	return get(c, 11, args(nil).string(xml), (*result).domain)
}

// DomainLookupByName gives the domain of that name.
func (c *Conn) DomainLookupByName(name string) (Domain, error) {
	return get(c, 23, args(nil).string(name), (*result).domain)
}

// DomainGetXMLDesc gives a domain's definition, the running one's if it runs.
func (c *Conn) DomainGetXMLDesc(d Domain) (string, error) {
	return get(c, 14, args(nil).domain(d).uint32(0), (*result).string)
}

// DomainGetState gives a domain's state.
func (c *Conn) DomainGetState(d Domain) (DomainState, error) {
	return get(c, 212, args(nil).domain(d).uint32(0), func(r *result) DomainState { return DomainState(r.uint32()) })
}

// DomainIsPersistent says whether a domain is defined, not only running.
func (c *Conn) DomainIsPersistent(d Domain) (bool, error) {
	return get(c, 151, args(nil).domain(d), (*result).bool)
}

// DomainCreateWithFlags starts a domain.
func (c *Conn) DomainCreateWithFlags(d Domain, flags uint32) error {
	return c.do(196, args(nil).domain(d).uint32(flags))
}

// DomainResume lets a paused domain run.
func (c *Conn) DomainResume(d Domain) error { return c.do(28, args(nil).domain(d)) }

// DomainDestroy takes a running domain's power away.
func (c *Conn) DomainDestroy(d Domain) error { return c.do(12, args(nil).domain(d)) }

// DomainUndefineFlags forgets a domain that does not run.
func (c *Conn) DomainUndefineFlags(d Domain, flags uint32) error {
	return c.do(231, args(nil).domain(d).uint32(flags))
}

// DomainOpenConsole joins a domain's first console: what it says goes to in, what
// out gives is typed. When out ends, the console is given back. It returns when
// the console has ended.
func (c *Conn) DomainOpenConsole(d Domain, flags uint32, out io.Reader, in io.Writer) error {
	return c.stream(201, args(nil).domain(d).optional(nil).uint32(flags), out, in)
}

// NetworkDefineXML makes a network, or changes one of that name and UUID.
func (c *Conn) NetworkDefineXML(xml string) (Network, error) {
	return get(c, 41, args(nil).string(xml), (*result).network)
}

// NetworkLookupByName gives the network of that name.
func (c *Conn) NetworkLookupByName(name string) (Network, error) {
	return get(c, 46, args(nil).string(name), (*result).network)
}

// NetworkGetXMLDesc gives a network's definition.
func (c *Conn) NetworkGetXMLDesc(n Network) (string, error) {
	return get(c, 43, args(nil).network(n).uint32(0), (*result).string)
}

// NetworkIsActive says whether a network can be used.
func (c *Conn) NetworkIsActive(n Network) (bool, error) {
	return get(c, 152, args(nil).network(n), (*result).bool)
}

// NetworkIsPersistent says whether a network is defined, not only active.
func (c *Conn) NetworkIsPersistent(n Network) (bool, error) {
	return get(c, 153, args(nil).network(n), (*result).bool)
}

// NetworkGetAutostart says whether a network starts with the daemon.
func (c *Conn) NetworkGetAutostart(n Network) (bool, error) {
	return get(c, 44, args(nil).network(n), (*result).bool)
}

// NetworkSetAutostart has a network start with the daemon.
func (c *Conn) NetworkSetAutostart(n Network) error { return c.do(48, args(nil).network(n).uint32(1)) }

// NetworkCreate makes a network active.
func (c *Conn) NetworkCreate(n Network) error { return c.do(39, args(nil).network(n)) }

// NetworkDestroy ends an active network.
func (c *Conn) NetworkDestroy(n Network) error { return c.do(42, args(nil).network(n)) }

// NetworkUndefine forgets a network.
func (c *Conn) NetworkUndefine(n Network) error { return c.do(49, args(nil).network(n)) }

func (r *result) bool() bool { return r.uint32() == 1 }

// do is a call whose result is of no use.
func (c *Conn) do(procedure uint32, a args) error {
	_, err := c.call(procedure, a)
	return err
}

// get is a call with the result that read gives.
func get[T any](c *Conn, procedure uint32, a args, read func(*result) T) (T, error) {
	var none T
	r, err := c.call(procedure, a)
	if err != nil {
		return none, err
	}
	v := read(&r)
	if r.err != nil {
		return none, r.err
	}
	return v, nil
}
