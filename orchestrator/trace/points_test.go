package trace_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"vxorch/orchestrator/packets"
	"vxorch/orchestrator/trace"
)

func TestPoints(t *testing.T) {
	l := lab(t)
	link := func(place int) string { return l.Containers[place].Interfaces[0].Link }
	for word, want := range map[string][]string{
		"cn1":             {"cn1:eth0 host1 lu-cn1/eth0"},
		"cn1:eth0":        {"cn1:eth0 host1 lu-cn1/eth0"},
		"vm1":             {"vm1:eth0 host2 /" + l.VMs[1].Interfaces[0].Link},
		"port@cn2":        {"host2:" + link(1) + " host2 /" + link(1)},
		"vtep@host1":      {"host1:vxlan0 host1 /vxlan0", "host1:vx101 host1 /vx101"},
		"bridge@host2":    {"host2:lu-br0 host2 /lu-br0", "host2:other host2 /other"},
		"underlay@host2":  {"underlay@host2 host2 /"},
		"host1:bond0":     {"host1:bond0 host1 /bond0"},
		"host1:blue/eth7": {"host1:blue/eth7 host1 blue/eth7"},
	} {
		points, err := trace.Points(l, []string{word, word}) // twice is once
		if err != nil {
			t.Errorf("Points(%s): %v", word, err)
		}
		var got []string
		for _, p := range points {
			got = append(got, fmt.Sprintf("%s %s %s/%s", p.Name, p.Host, p.At.Netns, p.At.Link))
			if p.Underlay != (p.At.Link == "") {
				t.Errorf("Points(%s): %+v", word, p)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("Points(%s): %q, want %q", word, got, want)
		}
	}
	for _, word := range []string{"", "cn9", "cn1:eth1", "host1", "host1:", "host9:eth0", "vtep@cn1", "port@host1", "under@host1", "underlay@host9"} {
		if points, err := trace.Points(l, []string{word}); err == nil {
			t.Errorf("Points(%q): %+v, want an error", word, points)
		}
	}
}

func TestFilterOfWords(t *testing.T) {
	l := lab(t)
	want := packets.Want{
		Protocols: []string{"icmp", "arp"}, Tunnelled: true, Ports: []int{53},
		Addresses: []netip.Addr{l.Containers[3].Interfaces[0].Address, netip.MustParseAddr("10.0.0.1")},
	}
	got, err := trace.Filter(l, " icmp arp and vxlan far  10.0.0.1 port 53")
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Filter: %+v, %v; want %+v", got, err, want)
	}
	if got, err := trace.Filter(l, ""); err != nil || fmt.Sprint(got) != fmt.Sprint(packets.Want{}) {
		t.Errorf("Filter of nothing: %+v, %v", got, err)
	}
	for _, text := range []string{"or", "port", "port x", "port 70000", "cn9", "not icmp", "cn1"} { // cn1 has two addresses
		if got, err := trace.Filter(l, text); err == nil {
			t.Errorf("Filter(%q): %+v, want an error", text, got)
		}
	}
}
