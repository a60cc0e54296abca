package dhcp_test

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vxorch/remote/helper/internal/dhcp"
	"vxorch/remote/hostapi"
)

// ask asks from inside guest1 who has addr, for an answer of mac.
func ask(t *testing.T, link, mac string, addr netip.Addr) hostapi.ProbeResult {
	t.Helper()
	var r hostapi.ProbeResult
	p := hostapi.Probe{Netns: "guest1", Target: addr, Solicit: &hostapi.Solicitation{Link: link, MAC: mac}}
	dhcp.Ask([]hostapi.Probe{p}, []*hostapi.ProbeResult{&r}).Answers(t.Context(), 50*time.Millisecond)
	return r
}

// Whoever is on the segment answers, whatever its subnet, also where it filters
// reverse paths; who is not does not.
func TestAQuestionIsHeardOnItsSegmentAlone(t *testing.T) {
	bridge(t, mac1, mac2)
	inside(t, "guest2", func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0o600),
			os.WriteFile("/proc/sys/net/ipv4/conf/eth0/rp_filter", []byte("1"), 0o600))
	})
	address(t, "guest1", "10.0.0.1/24")
	tap2, err := netlink.LinkByName("tap2")
	must(t, err)
	br0, err := netlink.LinkByName("br0")
	must(t, err)
	for _, prefix := range []string{"10.9.0.2/24", "fd00:9::2/64"} {
		address(t, "guest2", prefix)
		addr := netip.MustParsePrefix(prefix).Addr()
		await(t, func() bool { return ask(t, "eth0", mac2, addr).Received == 1 }) // an IPv6 address is tentative first
		if r := ask(t, "eth0", mac1, addr); r.Received != 0 || r.Sent != 2 || r.Error != nil {
			t.Errorf("%s of another MAC: %+v, want no answer", addr, r)
		}
		must(t, netlink.LinkSetNoMaster(tap2))
		if r := ask(t, "eth0", mac2, addr); r.Received != 0 || r.Sent != 2 || r.Error != nil {
			t.Errorf("%s on another segment: %+v, want no answer", addr, r)
		}
		must(t, netlink.LinkSetMasterByIndex(tap2, br0.Attrs().Index))
	}
}

func TestWhatCannotBeAskedSaysWhy(t *testing.T) {
	bridge(t, mac1)
	addr := netip.MustParseAddr("10.9.0.2")
	for _, r := range []hostapi.ProbeResult{ask(t, "none0", mac1, addr), ask(t, "eth0", mac1, netip.MustParseAddr("224.0.0.1"))} {
		if r.Error == nil || r.Error.Kind != hostapi.KindInvalid || r.Sent != 0 {
			t.Errorf("asked: %+v, want an error of kind invalid", r)
		}
	}
}
