package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// seat is one host of a new inventory.
type seat struct {
	name, user, address string
	port                int
}

// Template writes an inventory for a new lab on these hosts: the lab of the
// experiment that vxorch repeats, with one container a host. A host is an
// address or NAME=ADDRESS, where ADDRESS is a name or an IP address, with USER@
// before and :PORT behind it if need be. Bare IP addresses get the names host1,
// host2, … With an image, a file relative to the inventory or an http or https
// URL, there is a VM a host too.
func Template(lab string, hosts []string, image string) ([]byte, error) {
	if problem := labNameProblem(lab); problem != "" {
		return nil, fmt.Errorf("lab name %q %s", lab, problem)
	}
	if len(hosts) == 0 {
		return nil, errors.New("a lab needs at least one host")
	}
	seats, err := readSeats(hosts)
	if err != nil {
		return nil, err
	}
	if !utf8.ValidString(image) {
		return nil, fmt.Errorf("image %q is not UTF-8 text", image)
	}
	text := writeTemplate(lab, seats, image)
	if _, err := Parse("the new inventory", text); err != nil {
		return nil, err
	}
	return text, nil
}

func readSeats(hosts []string) ([]seat, error) {
	seats := make([]seat, len(hosts))
	taken := map[string]bool{}
	for i, host := range hosts {
		var err error
		if seats[i], err = readSeat(host); err != nil {
			return nil, fmt.Errorf("host %q: %w", host, err)
		}
		if name := seats[i].name; name != "" && taken[name] {
			return nil, fmt.Errorf("host name %q is given twice: tell the hosts apart as NAME=ADDRESS", name)
		}
		taken[seats[i].name] = true
	}
	number := 0
	for i := range seats {
		for seats[i].name == "" {
			number++
			if name := "host" + strconv.Itoa(number); !taken[name] {
				seats[i].name = name
			}
		}
	}
	return seats, nil
}

// readSeat leaves the name empty where only an IP address is known.
func readSeat(text string) (seat, error) {
	var s seat
	if name, rest, found := strings.Cut(text, "="); found {
		if problem := nameProblem(name, maxName); problem != "" {
			return seat{}, fmt.Errorf("name %q %s", name, problem)
		}
		s.name, text = name, rest
	}
	if i := strings.LastIndex(text, "@"); i >= 0 {
		s.user, text = text[:i], text[i+1:]
		if s.user == "" {
			return seat{}, errors.New("there is no user before the @")
		}
	}
	port := ""
	if inside, found := strings.CutPrefix(text, "["); found {
		address, rest, found := strings.Cut(inside, "]")
		if !found || rest != "" && rest[0] != ':' {
			return seat{}, errors.New("the brackets must hold an IPv6 address, before an optional :PORT")
		}
		text, port = address, rest
	} else if _, err := netip.ParseAddr(text); err != nil {
		if i := strings.LastIndex(text, ":"); i >= 0 {
			text, port = text[:i], text[i:]
		}
	}
	if port != "" {
		var err error
		if s.port, err = strconv.Atoi(port[1:]); err != nil || s.port < 1 || s.port > 65535 {
			return seat{}, fmt.Errorf("port %q is outside 1…65535", port[1:])
		}
	}
	s.address = text
	if _, err := netip.ParseAddr(text); err == nil {
		return s, nil
	}
	if problem := nameProblem(text, 253); problem != "" {
		return seat{}, fmt.Errorf("address %q %s", text, problem)
	}
	if s.name == "" && len(text) > maxName {
		return seat{}, fmt.Errorf("the name is %d characters long, more than %d: shorten it as NAME=%s", len(text), maxName, text)
	}
	if s.name == "" {
		s.name = text
	}
	return s, nil
}

func writeTemplate(lab string, seats []seat, image string) []byte {
	subnet, offset := templateSubnet(seats, image != "")
	var b bytes.Buffer
	each := "a container"
	if image != "" {
		each = "a container and a VM"
	}
	fmt.Fprintf(&b, `# A lab for vxorch: one layer-2 network over these hosts, %s on each.
lab: %s
ssh: {user: root, port: 22} # for every host; also: identity, known_hosts, host_key, accept_new
hosts: # underlay: DEVICE too, where the way to the other hosts does not tell it
`, each, plain(lab))
	for _, s := range seats {
		var ssh []string
		if s.user != "" {
			ssh = append(ssh, "user: "+plain(s.user))
		}
		if s.port != 0 {
			ssh = append(ssh, "port: "+strconv.Itoa(s.port))
		}
		fmt.Fprintf(&b, "  %s: {address: %s", plain(s.name), plain(s.address))
		if len(ssh) > 0 {
			fmt.Fprintf(&b, ", ssh: {%s}", strings.Join(ssh, ", "))
		}
		b.WriteString("}\n")
	}
	bridge := shortName(lab, "br0")
	group := "239.0.0.1"
	if allIPv6(seats) {
		group = `"ff05::1:1"`
	}
	fmt.Fprintf(&b, `networks:
  %s: # also the name of the bridge
    vni: 100
    port: 4789
    vxlan: vxlan0 # the VTEP device
    flood: multicast
    group: %s
    subnet: %s
    mtu: auto # what the smallest underlay leaves
    vteps: # for the proof that the tunnel works; gone after it
`, plain(bridge), group, subnet)
	for i, s := range seats {
		fmt.Fprintf(&b, "      %s: %s\n", plain(s.name), addressIn(subnet, uint64(i+1)))
	}
	b.WriteString("containers:\n")
	for i, s := range seats {
		fmt.Fprintf(&b, "  cn%d: {host: %s, network: %s, address: %s, netns: container0}\n",
			i+1, plain(s.name), plain(bridge), addressIn(subnet, uint64(offset+i+1)))
	}
	if image == "" {
		return b.Bytes()
	}
	name, source, login := templateImage(image)
	fmt.Fprintf(&b, `images:
  %s:
    %s: %s # sha256: SUM too, to have it checked
    login: %s # for the serial console, where nothing else sets the addresses
vms:
`, plain(name), source, strconv.Quote(image), login)
	for i, s := range seats {
		fmt.Fprintf(&b, "  vm%d: {host: %s, network: %s, address: %s, image: %s, domain: test%s-vm, memory: 512MiB, graphics: {vnc: {listen: 127.0.0.1}}, provision: auto}\n",
			i+1, plain(s.name), plain(bridge), addressIn(subnet, uint64(2*offset+i+1)), plain(name), lab)
	}
	return b.Bytes()
}

// templateImage names an image by its file's first word. Of CirrOS everyone
// knows how to log in.
func templateImage(image string) (name, source, login string) {
	source = "file"
	if strings.HasPrefix(image, "http://") || strings.HasPrefix(image, "https://") {
		source = "url"
	}
	base := path.Base(image)
	if strings.Contains(base, "cirros") {
		return "cirros", source, "{user: cirros, password: gocubsgo}"
	}
	if end := strings.IndexFunc(base, func(r rune) bool { return !isAlphanumeric(r) }); end >= 0 {
		base = base[:end]
	}
	if base == "" || len(base) > maxName {
		base = "image"
	}
	return base, source, "{user: root}"
}

// templateSubnet keeps the experiment's addresses where it can: VTEPs from .1,
// containers from .11, VMs from .21. More than ten hosts put the workloads
// further up, at .101 or beyond, and take a larger subnet where they do not fit.
// The offset is that of the containers; that of the VMs is twice as much.
func templateSubnet(seats []seat, vms bool) (netip.Prefix, int) {
	inUse := func(subnet netip.Prefix) bool {
		for _, s := range seats {
			if addr, err := netip.ParseAddr(s.address); err == nil && subnet.Contains(addr.Unmap()) {
				return true
			}
		}
		return false
	}
	offset := lowVTEPs
	for offset < len(seats) {
		offset *= 10
	}
	if offset <= lowVTEPs || offset <= 100 && !vms {
		if subnet, ok := freeSubnet(inUse); ok {
			return subnet, offset
		}
	}
	for second := 100; second < 255; second++ {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second), 0, 0}), 16)
		if !inUse(subnet) {
			return subnet, offset
		}
	}
	return netip.MustParsePrefix("172.16.0.0/16"), offset // Parse says it if that is taken too
}

// allIPv6 tells whether the underlay is IPv6, as far as the addresses for SSH
// let one guess.
func allIPv6(seats []seat) bool {
	for _, s := range seats {
		if addr, err := netip.ParseAddr(s.address); err != nil || addr.Unmap().Is4() {
			return false
		}
	}
	return true
}

// plain writes a text as YAML, in quotes where it would be read as something else.
func plain(text string) string {
	node := yaml.Node{Kind: yaml.ScalarNode, Value: text}
	if node.ShortTag() != "!!str" || nameProblem(text, len(text)) != "" {
		return strconv.Quote(text)
	}
	return text
}
