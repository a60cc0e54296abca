package inventory

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const dual = `
lab: lu
hosts: {a: {address: 10.0.0.1}, b: {address: 10.0.0.2}}
networks: {n: {subnet: [192.168.100.0/24, 'fd00:100::/64']}, m: {subnet: ['fd00:200::/64', 10.9.0.0/16]}}
containers:
  auto: {host: a, network: n}
  both: {host: a, network: n, address: ['fd00:100::77', 192.168.100.77]}
  four: {host: b, network: n, address: 192.168.100.78}
  six: {host: b, interfaces: [{network: n, address: 'fd00:100::79'}, {network: m}]}
`

func TestTwoSubnetsGiveTwoAddresses(t *testing.T) {
	lab, err := Parse("lab.yaml", []byte(dual))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]netip.Prefix{}
	for _, c := range lab.Containers {
		for _, leg := range c.Interfaces {
			got[c.Name+" "+leg.Network] = lab.Network(leg.Network).Prefixes(leg)
		}
	}
	want := map[string][]netip.Prefix{}
	for name, text := range map[string]string{
		"auto n": "192.168.100.11/24 fd00:100::b/64",
		"both n": "192.168.100.77/24 fd00:100::77/64",
		"four n": "192.168.100.78/24 fd00:100::c/64",
		"six n":  "192.168.100.12/24 fd00:100::79/64",
		"six m":  "fd00:200::b/64 10.9.0.11/16",
	} {
		for _, p := range strings.Fields(text) {
			want[name] = append(want[name], netip.MustParsePrefix(p))
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if vtep := lab.Network("n").VTEPs["a"]; vtep != netip.MustParseAddr("192.168.100.1") {
		t.Errorf("the VTEP's proof takes %s, want an address of the first subnet", vtep)
	}
}

func TestMistakesWithTwoSubnets(t *testing.T) {
	for name, c := range map[string]struct{ edit, with, want string }{
		"two of one version": {"'fd00:100::/64'", "10.1.0.0/24", "subnets 192.168.100.0/24 and 10.1.0.0/24 are both IPv4"},
		"three":              {"[192.168.100.0/24,", "[192.168.100.0/24, 10.1.0.0/24,", "subnet is a list of 3"},
		"overlap":            {"'fd00:200::/64'", "'fd00:100::/48'", "overlaps"},
		"two IPv4 addresses": {"'fd00:100::77'", "192.168.100.76", "a second IPv4 address"},
		"outside":            {"'fd00:100::79'", "'fd00:300::79'", "outside subnet fd00:100::/64"},
		"taken":              {"'fd00:100::79'", "'fd00:100::77'", "already that of"},
		"small mtu":          {"n: {", "n: {mtu: 1000, ", "mtu 1000 is below 1280"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("lab.yaml", []byte(strings.Replace(dual, c.edit, c.with, 1)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	_, err := Parse("lab.yaml", []byte("lab: x\nhosts: {a: {address: 10.0.0.1}}\nnetworks: {n: {}}\ncontainers: {c: {host: a, address: [192.168.100.20, 192.168.100.21]}}\n"))
	if err == nil || !strings.Contains(err.Error(), "has one subnet") {
		t.Errorf("two addresses in one subnet: %v", err)
	}
}
