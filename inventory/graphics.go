package inventory

import (
	"net/netip"

	"gopkg.in/yaml.v3"
)

// vncPort is a TCP port of a host.
type vncPort struct {
	host string
	port int
}

// screen is who listens there, on which of the host's addresses.
type screen struct {
	listen netip.Addr
	use
}

// readGraphics reads a VM's screen: VNC on the host's loopback unless told
// otherwise. The node is where it stands, or the definition.
func (p *parser) readGraphics(e entry, f fields) (*VNC, *yaml.Node) {
	vnc := &VNC{Listen: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	g, found := f["graphics"]
	if !found || isNull(g.value) {
		return vnc, e.key
	}
	if g.value.Kind == yaml.ScalarNode {
		switch g.value.Value {
		case "none":
			return nil, g.value
		case "vnc":
			return vnc, g.value
		}
		p.errorf(g.value, "graphics must be none or a mapping").Hint = "write `graphics: {vnc: {listen: 127.0.0.1}}`"
		return nil, g.value
	}
	v, found := p.fields(g.value, "graphics", "vnc")["vnc"]
	if !found || isNull(v.value) {
		return vnc, g.value
	}
	if v.value.Kind != yaml.MappingNode {
		p.errorf(v.value, "vnc must be a mapping").Hint = "write `vnc: {listen: 127.0.0.1}`" // shows nothing: it may be the password
		return nil, v.value
	}
	p.readVNC(vnc, v.value)
	return vnc, v.value
}

func (p *parser) readVNC(vnc *VNC, n *yaml.Node) {
	f := p.fields(n, "vnc", "listen", "port", "password", "insecure")
	at := n
	if e, found := f["listen"]; found {
		at = e.value
		vnc.Listen = p.readListen(e.value)
	}
	if e, found := f["port"]; found {
		vnc.Port, _ = p.integer(e.value, "port", 1024, 65535)
	}
	password, found := f["password"]
	if found {
		vnc.Password = p.readPassword(password.value)
		if len(vnc.Password) > 8 {
			// RFC 6143 §7.2.2 makes a DES key of it: the rest would not protect.
			p.errorf(password.value, "password is longer than 8 characters").Hint = "VNC uses no more than 8: choose a shorter one"
		}
	}
	if e, found := f["insecure"]; found {
		vnc.Insecure = p.boolean(e.value, "insecure")
	}
	if vnc.Listen.IsValid() && !vnc.Listen.IsLoopback() && !found && !vnc.Insecure {
		p.errorf(at, "vnc listens on %s without a password", vnc.Listen).Hint =
			"anyone there could take the VM over: write 127.0.0.1 and use an SSH tunnel, give a password, or say `insecure: true`"
	}
}

func (p *parser) readListen(n *yaml.Node) netip.Addr {
	text, ok := p.str(n, "listen")
	if !ok {
		return netip.Addr{}
	}
	addr, ok := p.plainAddr(n, "listen", text)
	if ok && addr.IsMulticast() {
		p.errorf(n, "listen %s is no machine's address", addr)
	}
	return addr
}

// claimScreen finds two VMs of a host that would listen at one place.
func (p *parser) claimScreen(vm VM, n *yaml.Node) {
	place := vncPort{vm.Host, vm.VNC.Port}
	if place.port == 0 {
		return
	}
	own := screen{vm.VNC.Listen, use{who: machine.what(vm.Name), at: n}}
	for _, other := range p.screens[place] {
		if other.listen == own.listen || other.listen.IsUnspecified() || own.listen.IsUnspecified() {
			p.errorf(n, "vnc port %d of %s is already that of %s on host %q (%s)", place.port, own.who, other.who, place.host, p.at(other.at)).Hint =
				"give each its own port, or leave it out"
			return
		}
	}
	p.screens[place] = append(p.screens[place], own)
}
