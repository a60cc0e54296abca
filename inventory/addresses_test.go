package inventory

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// workloads gives the addresses of all legs by workload and network.
func workloads(lab *Lab) map[string]netip.Addr {
	addresses := map[string]netip.Addr{}
	for _, c := range lab.Containers {
		for _, i := range c.Interfaces {
			addresses[c.Name+" "+i.Network] = i.Address
		}
	}
	for _, vm := range lab.VMs {
		for _, i := range vm.Interfaces {
			addresses[vm.Name+" "+i.Network] = i.Address
		}
	}
	return addresses
}

func TestAppendedWorkloadsRenumberNobody(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 100 {
		bits := 26 + random.IntN(3)
		hosts := 1 + random.IntN(13)
		head := fmt.Sprintf("lab: try\nhosts: {\"h[1-%d]\": {address: \"x[1-%[1]d]\"}}\nnetworks: {n: {subnet: 10.0.0.0/%d, vteps: {h1: 10.0.0.12}}}\nimages: {i: {path: /i}}\n", hosts, bits)
		home := mustParse(t, head).Networks[0].VTEPs
		var before *Lab
		sections := map[string]string{"containers": "", "vms": ""}
		for i := range 20 {
			section := []string{"containers", "vms"}[random.IntN(2)]
			line := fmt.Sprintf("  w%d: {host: h1}\n", i)
			if random.IntN(3) == 0 {
				line = fmt.Sprintf("  w%d: {host: h1, address: 10.0.0.%d}\n", i, 1+random.IntN(1<<(32-bits)-2))
			}
			old := sections[section]
			sections[section] += line
			text := head + "containers:\n" + sections["containers"] + "vms:\n" + sections["vms"]
			after, err := Parse("f", []byte(text))
			if err != nil { // taken already, or the subnet is full
				refused++
				sections[section] = old
				continue
			}
			checkInvariants(t, after)
			if before != nil {
				got := workloads(after)
				delete(got, fmt.Sprintf("w%d n", i))
				if diff := cmp.Diff(workloads(before), got, sameAddr); diff != "" {
					t.Fatalf("%s\nrenumbered by %s: %s (-before +after):\n%s", text, section, line, diff)
				}
				checkVTEPsStay(t, text, home, before, after)
			}
			before = after
		}
	}
	if refused == 0 || refused > 1500 {
		t.Errorf("%d of 2000 workloads were refused, want some", refused)
	}
}

// checkVTEPsStay allows a VTEP to leave its home only where a workload sits there now.
func checkVTEPsStay(t *testing.T, text string, home map[string]netip.Addr, before, after *Lab) {
	t.Helper()
	taken := map[netip.Addr]bool{}
	for _, addr := range workloads(after) {
		taken[addr] = true
	}
	for host, was := range before.Networks[0].VTEPs {
		if is := after.Networks[0].VTEPs[host]; was == home[host] && is != was && !taken[was] {
			t.Fatalf("%s\nmoved the VTEP of %s from %s to %s, though %[3]s is free", text, host, was, is)
		}
	}
}

func TestAutoAddressesKeepClearOfVTEPs(t *testing.T) {
	for name, c := range map[string]struct {
		hosts  int
		subnet string
		more   string // of the network
		count  int
		vteps  string // of h1 and the last host
		first  string // workload
		last   string // workload
	}{
		"seed":                    {2, "192.168.100.0/24", "", 3, "192.168.100.1 192.168.100.2", "192.168.100.11", "192.168.100.13"},
		"more than ten hosts":     {12, "192.168.100.0/24", "", 242, "192.168.100.1 192.168.100.253", "192.168.100.11", "192.168.100.101"},
		"goes all round":          {2, "10.0.0.0/28", "", 12, "10.0.0.1 10.0.0.2", "10.0.0.11", "10.0.0.13"},
		"too small for ten VTEPs": {2, "10.0.0.0/29", "", 4, "10.0.0.1 10.0.0.2", "10.0.0.3", "10.0.0.4"},
		"VTEPs in the way":        {2, "10.0.0.0/28", ", vteps: {h1: 10.0.0.11, h2: 10.0.0.12}", 4, "10.0.0.11 10.0.0.12", "10.0.0.1", "10.0.0.4"},
		"IPv6":                    {12, "fd00::/64", "", 2, "fd00::1 fd00::f:ffff", "fd00::b", "fd00::c"},
		"small IPv6":              {2, "fd00::/126", "", 1, "fd00::1 fd00::2", "fd00::3", "fd00::3"},
	} {
		t.Run(name, func(t *testing.T) {
			lab := mustParse(t, fmt.Sprintf("lab: try\nhosts: {\"h[1-%d]\": {address: \"x[1-%[1]d]\"}}\nnetworks: {n: {subnet: \"%s\"%s}}\ncontainers: {c: {hosts: [h1], count: %d}}\n",
				c.hosts, c.subnet, c.more, c.count))
			vteps := lab.Networks[0].VTEPs
			got := []string{
				fmt.Sprint(vteps["h1"], " ", vteps[fmt.Sprintf("h%d", c.hosts)]),
				lab.Containers[0].Interfaces[0].Address.String(),
				lab.Containers[c.count-1].Interfaces[0].Address.String(),
			}
			if diff := cmp.Diff([]string{c.vteps, c.first, c.last}, got); diff != "" {
				t.Errorf("VTEPs, first and last workload (-want +got):\n%s", diff)
			}
			checkInvariants(t, lab)
		})
	}
}

func TestAWorkloadOnAVTEPsPlaceMovesTheVTEP(t *testing.T) {
	lab := mustParse(t, head+"containers: {c: {host: a, address: 192.168.100.1}}\n")
	want := map[string]netip.Addr{"a": addr("192.168.100.254"), "b": addr("192.168.100.2")}
	if diff := cmp.Diff(want, lab.Networks[0].VTEPs, sameAddr); diff != "" {
		t.Errorf("VTEPs (-want +got):\n%s", diff)
	}
}

func TestSubnetsMayHaveAnySensibleSize(t *testing.T) {
	for _, subnet := range []string{"10.0.0.0/8", "10.0.0.0/30", "fd00::/16", "fd00::/107", "fd00::/108", "fd00::/109", "fd00::/126"} {
		lab := mustParse(t, head+"networks: {n: {subnet: \""+subnet+"\"}}\n")
		checkInvariants(t, lab)
	}
}

func TestInventoriesAreBounded(t *testing.T) {
	bomb := "lab: try\na: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		before := string(c - 1)
		bomb += fmt.Sprintf("%c: &%[1]c [%s]\n", c, strings.TrimSuffix(strings.Repeat("*"+before+",", 10), ","))
	}
	many := "lab: try\nhosts: {a: {address: x}}\nnetworks:\n"
	for i := range maxNetworks + 1 {
		many += fmt.Sprintf("  n%d:\n", i)
	}
	var unknown strings.Builder
	unknown.WriteString("lab: try\nhosts: {\"a[1-10000]\": {address: \"x[1-10000]\"}}\nnetworks: {n: {subnet: 10.0.0.0/8}}\ncontainers:\n")
	for i := range 20000 {
		fmt.Fprintf(&unknown, "  c%d: {host: a0%[1]d}\n", i)
	}
	for name, c := range map[string]struct{ text, want string }{
		"bytes":     {"lab: try\n#" + strings.Repeat("x", maxBytes), "the inventory is larger than 4 MiB"},
		"aliases":   {bomb, "the inventory has more than 1000000 values"},
		"networks":  {many, "there are more than 1000 networks"},
		"VTEPs":     {"lab: try\nhosts: {\"a[1-10000]\": {address: \"x[1-10000]\"}}\nnetworks:\n" + many[strings.Index(many, "  n0"):], "there are more than 100000 VTEPs"},
		"problems":  {unknown.String(), "too many problems"},
		"lone name": {"lab: try\nhosts: {a: {address: x}}\nnetworks: {n: {}}\ncontainers: {c: {hosts: all, count: 99999999}}\n", "count 99999999 is outside"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Parse gave %.300v, want %q", err, c.want)
			}
			if lines := strings.Count(fmt.Sprint(err), "\n"); lines > maxErrors+1 {
				t.Errorf("Parse gave %d problems, want at most %d", lines, maxErrors+1)
			}
		})
	}
}

func TestVMsAddressesBeginFarFromTheContainers(t *testing.T) {
	for name, c := range map[string]struct{ subnet, want string }{
		"/24":  {"192.168.100.0/24", "192.168.100.101 192.168.100.102"},
		"/25":  {"192.168.100.0/25", "192.168.100.101 192.168.100.102"},
		"/28":  {"192.168.100.0/28", "192.168.100.13 192.168.100.14"},
		"/29":  {"192.168.100.0/29", "192.168.100.4 192.168.100.5"},
		"/16":  {"10.1.0.0/16", "10.1.128.1 10.1.128.2"},
		"IPv6": {"fd00::/64", "fd00::8:1 fd00::8:2"},
	} {
		t.Run(name, func(t *testing.T) {
			lab := mustParse(t, head+"networks: {n: {subnet: \""+c.subnet+"\"}}\nimages: {i: {path: /i}}\nvms: {v: {hosts: all}}\n")
			got := fmt.Sprint(lab.VMs[0].Interfaces[0].Address, " ", lab.VMs[1].Interfaces[0].Address)
			if got != c.want {
				t.Errorf("VMs have %s, want %s", got, c.want)
			}
		})
	}
}

func TestContainersAndVMsShareASubnetToItsLastAddress(t *testing.T) {
	for _, bits := range []int{24, 25, 26, 27, 28, 29} {
		free := 1<<(32-bits) - 2 - 2 // VTEPs
		for containers := 1; containers < free; containers += 1 + free/16 {
			text := head + fmt.Sprintf("networks: {n: {subnet: 10.0.0.0/%d}}\nimages: {i: {path: /i}}\ncontainers: {c: {hosts: [a], count: %d}}\nvms: {v: {hosts: [b], count: %%d}}\n", bits, containers)
			checkInvariants(t, mustParse(t, fmt.Sprintf(text, free-containers)))
			if _, err := Parse("f", fmt.Appendf(nil, text, free-containers+1)); err == nil || !strings.Contains(err.Error(), "no address left") {
				t.Fatalf("one VM too many in a /%d gave %v", bits, err)
			}
		}
	}
}
