package inventory

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
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
		if n.VNI < 1 || n.VNI > 1<<24-1 || n.Port < 1 || n.Port > 65535 || n.Flood == "" || n.Flood == FloodEVPN && (lab.EVPN == nil || len(lab.EVPN.Reflectors) == 0) || !n.Subnet.IsValid() || n.Subnet != n.Subnet.Masked() {
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
	legs := func(who string, list []Interface) {
		if len(list) == 0 {
			t.Errorf("%s has no interface", who)
		}
		for _, i := range list {
			link(i.Link)
			once("mac", i.Network, i.MAC)
			n, found := networks[i.Network]
			if !found {
				t.Errorf("%s is in unknown network %q", who, i.Network)
				continue
			}
			usable(n, i.Address)
		}
	}
	for _, c := range lab.Containers {
		once("workload", c.Name)
		once("netns", c.Host, c.Netns)
		if !hosts[c.Host] || c.Netns == "" || len(c.Netns) > maxNetnsName {
			t.Errorf("container %+v is incomplete", c)
		}
		legs("container "+c.Name, c.Interfaces)
	}
	for _, i := range lab.Images {
		once("image", i.Name)
		sources := 0
		for _, source := range []string{i.File, i.URL, i.Path} {
			if source != "" {
				sources++
			}
		}
		if sources != 1 || i.SHA256 != "" && len(i.SHA256) != 64 || i.SHA256 != strings.ToLower(i.SHA256) || i.Login.User == "" && i.Login.Password != "" {
			t.Errorf("image %+v is incomplete", i)
		}
	}
	checkChecks(t, lab)
	for _, vm := range lab.VMs {
		once("workload", vm.Name)
		once("domain", vm.Host, vm.Domain)
		if !hosts[vm.Host] || vm.Domain == "" || len(vm.Domain) > maxDomainName || lab.Image(vm.Image).Name != vm.Image {
			t.Errorf("VM %+v is incomplete", vm)
		}
		if vm.Memory < minMemory || vm.Memory > maxMemory || vm.Memory%(1<<20) != 0 || vm.VCPUs < 1 {
			t.Errorf("VM %s has %d bytes and %d CPUs", vm.Name, vm.Memory, vm.VCPUs)
		}
		if !slices.Contains(diskBuses, vm.DiskBus) || !slices.Contains(nicModels, vm.NIC) || !slices.Contains(provisions, string(vm.Provision)) {
			t.Errorf("VM %+v has a word of its own", vm)
		}
		if v := vm.VNC; v != nil {
			if !v.Listen.IsValid() || len(v.Password) > 8 || !v.Listen.IsLoopback() && v.Password == "" && !v.Insecure {
				t.Errorf("VM %s has an open or incomplete screen: %+v", vm.Name, *v)
			}
			if v.Port != 0 {
				once("screen", vm.Host, v.Listen.String(), strconv.Itoa(v.Port))
			}
		}
		legs("VM "+vm.Name, vm.Interfaces)
		for _, i := range vm.Interfaces {
			if strings.HasPrefix(i.Link, "vnet") {
				t.Errorf("VM %s has a tap called %s, which libvirt drops", vm.Name, i.Link)
			}
		}
	}
}

// checkChecks looks at what a lab's checks refer to.
func checkChecks(t *testing.T, lab *Lab) {
	networks := map[string][]string{}
	for _, c := range lab.Containers {
		for _, leg := range c.Interfaces {
			networks[c.Name] = append(networks[c.Name], leg.Network)
		}
	}
	machines := map[string]bool{}
	for _, vm := range lab.VMs {
		machines[vm.Name] = true
		for _, leg := range vm.Interfaces {
			networks[vm.Name] = append(networks[vm.Name], leg.Network)
		}
	}
	for _, c := range lab.Checks {
		from, to := networks[c.From], networks[c.To]
		shared := slices.ContainsFunc(from, func(n string) bool { return slices.Contains(to, n) })
		if from == nil || to == nil || c.From == c.To || !shared && !c.Unreachable ||
			(c.TCP != 0 || c.MinThroughput != 0) && (machines[c.From] || machines[c.To]) || c.Unreachable && (c.MaxRTT != 0 || c.MinThroughput != 0) ||
			c.MinThroughput != 0 && (c.MinThroughput < minThroughput || c.MinThroughput > maxThroughput) {
			t.Errorf("check %+v makes no sense", c)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		contract,
		head,
		head + machines,
		head + "networks: {n: {subnet: 10.0.0.0/28}, m: {subnet: \"fd00::/64\"}}\ncontainers: {c: {hosts: all, network: n}}\nimages: {i: {url: \"https://u:p@x/y\", login: {user: u, password: p}}, j: {path: /x}}\nvms: {v: {hosts: all, count: 2, image: i, network: n, graphics: none}, vnet0: {host: b, image: j, domain: d, memory: 3GB, vcpus: 2, disk_bus: sata, nic: e1000, machine: q35, graphics: {vnc: {listen: \"::\", password: p, port: 5900}}, provision: console, interfaces: [{network: m}, {network: n, address: 10.0.0.3, mac: \"52:54:00:00:00:01\"}]}}\n",
		head + "networks: {n: {subnet: 10.0.0.0/29, mtu: 1400}, m: {vxlan: v, vteps: {a: 192.168.100.9}}}\ncontainers: {c: {hosts: all, count: 2, network: n}, d: {host: b, interfaces: [{network: m, mac: \"02:00:00:00:00:01\"}, {network: n}]}}\n",
		"lab: try\nhosts: {\"n[01-12]\": {address: \"192.0.2.[1-12]\", vtep: \"fd01::[1-12]\", ssh: &s {user: u}}, x: {address: y, ssh: *s}}\nnetworks: {n: {subnet: \"fd00::/120\", group: \"ff05::1\"}}\ncontainers:\n  c: {hosts: [x, n01], address: auto}\n",
		"lab: try\nhosts: &h {a: {address: x, ssh: *h}}\n",
		checked + "checks: [{from: one, to: web-a-1, tcp: 80, max_rtt: 5ms}, {from: one, to: web-a-1, min_throughput: 1.5 Gbit/s}, {from: one, to: red, expect: unreachable}]\n",
		dual, "a: b: c\n", "\ta", "--- x\n--- y\n", "? [a]\n: b\n", "{<<: *x}", "checks: {}\nflood: !!binary x\n", "lab: |\n  x\n",
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
	f.Add("lu", "host1", "192.0.2.1", "")
	f.Add("lu", "x=root@[2001:db8::1]:22", "me@host:2222", "cirros-0.5.2-x86_64-disk.img")
	f.Add("a-b", "true", "1", "https://x/y.img")
	f.Fuzz(func(t *testing.T, lab, one, two, image string) {
		text, err := Template(lab, []string{one, two}, image)
		if err != nil {
			return
		}
		parsed, err := Parse("f", text)
		if err != nil {
			t.Fatalf("Template(%q, %q, %q, %q) wrote\n%s\nwhich is wrong: %v", lab, one, two, image, text, err)
		}
		checkInvariants(t, parsed)
		if parsed.Name != lab || len(parsed.Hosts) != 2 || len(parsed.Containers) != 2 || len(parsed.VMs) != 2*len(parsed.Images) {
			t.Errorf("Template(%q, %q, %q, %q) wrote\n%s", lab, one, two, image, text)
		}
		if image != "" && (len(parsed.Images) != 1 || parsed.Images[0].File+parsed.Images[0].URL != image) {
			t.Errorf("Template with image %q wrote\n%s", image, text)
		}
	})
}
