package inventory

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// checkInvariants holds what every reader of a Lab relies on.
func checkInvariants(t *testing.T, lab *Lab) {
	t.Helper()
	unique := map[string]bool{}
	once := func(kind string, parts ...string) {
		key := kind + "\x00" + strings.Join(parts, "\x00")
		if unique[key] {
			t.Errorf("%s %q is there twice", kind, parts)
		}
		unique[key] = true
	}
	link := func(name string) {
		once("link", name)
		if name == "" || len(name) > 15 {
			t.Errorf("link name %q has %d characters, want 1 to 15", name, len(name))
		}
	}
	if labNameProblem(lab.Name) != "" {
		t.Errorf("lab is called %q", lab.Name)
	}
	if len(lab.Hosts) == 0 || len(lab.Networks) == 0 {
		t.Errorf("lab has %d hosts and %d networks, want at least one of each", len(lab.Hosts), len(lab.Networks))
	}
	hosts := map[string]bool{}
	for _, h := range lab.Hosts {
		once("host", h.Name)
		hosts[h.Name] = true
		if h.Name == "" || h.Address == "" {
			t.Errorf("host %+v has no name or no address", h)
		}
	}
	networks := map[string]Network{}
	usable := func(n Network, addr netip.Addr) {
		if !n.Subnet.Contains(addr) || addr == n.Subnet.Addr() || addr.Is4() && !n.Subnet.Contains(addr.Next()) {
			t.Errorf("address %s is not usable in %s", addr, n.Subnet)
		}
		once("address", n.Name, addr.String())
	}
	for i, n := range lab.Networks {
		link(n.Name)
		link(n.VXLAN)
		networks[n.Name] = n
		if n.VNI < 1 || n.VNI > 1<<24-1 || n.Port < 1 || n.Port > 65535 || n.Flood != FloodMulticast || !n.Subnet.IsValid() || n.Subnet != n.Subnet.Masked() {
			t.Errorf("network %+v is incomplete", n)
		}
		for _, other := range lab.Networks[:i] {
			if other.VNI == n.VNI || other.Subnet.Overlaps(n.Subnet) {
				t.Errorf("networks %+v and %+v collide", other, n)
			}
		}
		if len(n.VTEPs) != len(lab.Hosts) {
			t.Errorf("network %s has %d VTEPs on %d hosts", n.Name, len(n.VTEPs), len(lab.Hosts))
		}
		for host, addr := range n.VTEPs {
			if !hosts[host] {
				t.Errorf("network %s has a VTEP on unknown host %q", n.Name, host)
			}
			usable(n, addr)
		}
	}
	for _, c := range lab.Containers {
		once("container", c.Name)
		once("netns", c.Host, c.Netns)
		if !hosts[c.Host] || c.Netns == "" || len(c.Netns) > maxNetnsName || len(c.Interfaces) == 0 {
			t.Errorf("container %+v is incomplete", c)
		}
		for _, i := range c.Interfaces {
			link(i.Link)
			once("mac", i.Network, i.MAC)
			n, found := networks[i.Network]
			if !found {
				t.Errorf("container %s is in unknown network %q", c.Name, i.Network)
				continue
			}
			usable(n, i.Address)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		contract,
		head,
		head + "networks: {n: {subnet: 10.0.0.0/29, mtu: 1400}, m: {vxlan: v, vteps: {a: 192.168.100.9}}}\ncontainers: {c: {hosts: all, count: 2, network: n}, d: {host: b, interfaces: [{network: m, mac: \"02:00:00:00:00:01\"}, {network: n}]}}\n",
		"lab: try\nhosts: {\"n[01-12]\": {address: \"192.0.2.[1-12]\", vtep: \"fd01::[1-12]\", ssh: &s {user: u}}, x: {address: y, ssh: *s}}\nnetworks: {n: {subnet: \"fd00::/120\", group: \"ff05::1\"}}\ncontainers:\n  c: {hosts: [x, n01], address: auto}\n",
		"lab: try\nhosts: &h {a: {address: x, ssh: *h}}\n",
		"a: b: c\n", "\ta", "--- x\n--- y\n", "? [a]\n: b\n", "{<<: *x}", "images: {}\nflood: !!binary x\n", "lab: |\n  x\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lab, err := Parse("f", data)
		if err == nil {
			checkInvariants(t, lab)
			return
		}
		var errs Errors
		if !errors.As(err, &errs) || len(errs) == 0 {
			t.Fatalf("Parse gave %T %v, want Errors", err, err)
		}
		for _, e := range errs {
			if e.File != "f" || e.Line < 1 || e.Column < 1 || e.Message == "" || strings.ContainsAny(e.Error()+e.Hint, "\n\x1b") {
				t.Errorf("problem %+v is incomplete or spoils a terminal", e)
			}
		}
	})
}

func FuzzTemplate(f *testing.F) {
	f.Add("lu", "host1", "192.0.2.1")
	f.Add("lu", "x=root@[2001:db8::1]:22", "me@host:2222")
	f.Add("a-b", "true", "1")
	f.Fuzz(func(t *testing.T, lab, one, two string) {
		text, err := Template(lab, []string{one, two})
		if err != nil {
			return
		}
		parsed, err := Parse("f", text)
		if err != nil {
			t.Fatalf("Template(%q, %q, %q) wrote\n%s\nwhich is wrong: %v", lab, one, two, text, err)
		}
		if parsed.Name != lab || len(parsed.Hosts) != 2 || len(parsed.Containers) != 2 {
			t.Errorf("Template(%q, %q, %q) wrote\n%s", lab, one, two, text)
		}
	})
}
