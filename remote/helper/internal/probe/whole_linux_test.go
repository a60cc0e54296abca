package probe_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"vxorch/remote/helper/internal/probe"
	"vxorch/remote/hostapi"
)

func setMTU(t *testing.T, i, mtu int, where ...string) {
	t.Helper()
	for _, side := range where {
		if side == "inner" {
			inside(t, name(i), func() error {
				l, err := netlink.LinkByName("eth0")
				return errors.Join(err, netlink.LinkSetMTU(l, mtu))
			})
			continue
		}
		l, err := netlink.LinkByName("v" + name(i)[1:])
		must(t, err)
		must(t, netlink.LinkSetMTU(l, mtu))
	}
}

func TestWholePacketsPassOrNot(t *testing.T) {
	segment(t, 3)
	setMTU(t, 1, 1400, "inner", "outer") // p1 sends less and gets less
	both := func(from string, to int) []hostapi.Probe {
		return []hostapi.Probe{{Netns: from, Target: v4(to), Whole: true}, {Netns: from, Target: v6(to), Whole: true}}
	}
	for what, c := range map[string]struct {
		probes []hostapi.Probe
		bytes  [2]int
		passes bool
	}{
		"between equals":          {both("p0", 2), [2]int{1472, 1452}, true},
		"from the smaller":        {both("p1", 0), [2]int{1372, 1352}, true},
		"to one that takes less":  {both("p0", 1), [2]int{1472, 1452}, false},
		"beside an ordinary ping": {append(both("p0", 2), hostapi.Probe{Netns: "p0", Target: v4(1)}), [2]int{1472, 1452}, true},
	} {
		t.Run(what, func(t *testing.T) {
			results, err := probe.Run(t.Context(), c.probes)
			must(t, err)
			for i, r := range results {
				if i < 2 && r.Bytes != c.bytes[i] {
					t.Errorf("probe %d: %d bytes, want %d", i, r.Bytes, c.bytes[i])
				}
				if passed := r.Received > 0; passed != c.passes || r.Error != nil {
					t.Errorf("probe %d: %+v, want an answer: %t", i, r, c.passes)
				}
			}
		})
	}
}

func TestWholePacketWithoutARoute(t *testing.T) {
	segment(t, 1)
	results, err := probe.Run(t.Context(), []hostapi.Probe{{Netns: "p0", Target: netip.MustParseAddr("10.200.0.1"), Whole: true}})
	must(t, err)
	if results[0].Error == nil || results[0].Sent != 0 {
		t.Errorf("%+v, want an error that says so", results[0])
	}
}
