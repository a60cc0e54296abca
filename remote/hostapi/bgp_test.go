package hostapi_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vxorch/remote/hostapi"
)

// theirs is a bgpd's configuration as FRR 8.4.4 shows it; joined the same with lab lu
// in it.
const theirs = `
Current configuration:
!
frr version 8.4.4
!
router bgp 65000
 bgp router-id 10.0.0.9
 neighbor fabric peer-group
 neighbor fabric remote-as internal
 neighbor 10.9.0.2 remote-as 65010
 neighbor 10.9.0.1 peer-group fabric
 bgp listen range 10.99.0.0/24 peer-group fabric
 !
 address-family l2vpn evpn
  neighbor 10.9.0.2 activate
 exit-address-family
exit
!
router bgp 65077 vrf blue
 neighbor 10.8.0.1 remote-as 65001
exit
!
bgp extcommunity-list standard theirs seq 5 permit rt 1:1
!
route-map keep permit 10
 match extcommunity theirs
exit
!
end
`

var joined = strings.NewReplacer(
	" bgp listen range", ` neighbor vxorch-lu-clients peer-group
 neighbor vxorch-lu-reflectors peer-group
 neighbor vxorch-lu-reflectors remote-as 65000
 neighbor 10.0.0.2 peer-group vxorch-lu-reflectors
 neighbor 10.0.0.2 port 1179
 bgp listen range 10.0.0.0/24 peer-group vxorch-lu-clients
 bgp listen range`,
	" address-family l2vpn", ` address-family ipv4 unicast
  no neighbor vxorch-lu-reflectors activate
 exit-address-family
 !
 address-family l2vpn`,
	"  neighbor 10.9.0.2 activate", `  neighbor 10.9.0.2 activate
  neighbor vxorch-lu-reflectors activate
  advertise-all-vni`,
	"!\nroute-map keep", `bgp extcommunity-list standard vxorch-lu seq 5 permit rt 65000:100
!
route-map vxorch-lu permit 1
 match extcommunity vxorch-lu
exit
!
route-map keep`).Replace(theirs)

func read(text string) hostapi.BGPText { return hostapi.ReadBGP(text, "lu") }

func TestReadBGP(t *testing.T) {
	compare := cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})
	host := hostapi.HostBGP{
		ASN: 65000, Neighbors: []netip.Addr{netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.9.0.1")}, Ranges: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/24")},
	}
	if d := cmp.Diff(hostapi.BGPText{HostBGP: host}, read(theirs), compare); d != "" {
		t.Errorf("of the host's own alone: -want +got:\n%s", d)
	}
	host.Advertises = true
	got := read(joined)
	for _, line := range []string{
		" neighbor vxorch-lu-reflectors remote-as 65000", " neighbor 10.0.0.2 port 1179", "  no neighbor vxorch-lu-reflectors activate", "  advertise-all-vni",
		" match extcommunity vxorch-lu", "bgp extcommunity-list standard vxorch-lu seq 5 permit rt 65000:100",
	} {
		if !strings.Contains(got.Part, line) {
			t.Errorf("the lab's part lacks %q:\n%s", line, got.Part)
		}
	}
	if strings.Contains(got.Part, "10.9.0") || strings.Contains(got.Part, "theirs") {
		t.Errorf("the lab's part has what is the host's:\n%s", got.Part)
	}
	got.Part = ""
	if d := cmp.Diff(hostapi.BGPText{
		HostBGP: host, Peers: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
		Groups: []string{"vxorch-lu-clients", "vxorch-lu-reflectors"}, Map: true, List: true,
	}, got, compare); d != "" {
		t.Errorf("with the lab's: -want +got:\n%s", d)
	}
	if other := hostapi.ReadBGP(joined, "lu2"); other.Owns() || len(other.Neighbors) != 3 {
		t.Errorf("another lab's part is taken for its own: %+v", other)
	}
}

// What a host says may be anything.
func FuzzReadBGP(f *testing.F) {
	for _, seed := range []string{theirs, joined, "router bgp x\n router\n no neighbor\n neighbor\n bgp listen range\n", " neighbor 10.0.0.1\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := read(text)
		if undo := got.Undo("lu", hostapi.BGPShared{}); !got.Owns() && len(undo) > 0 {
			t.Errorf("nothing bears the lab's name, and there is something to undo: %q", undo)
		}
	})
}

func TestUndoOfALabsPart(t *testing.T) {
	members := "router bgp 65000\nno bgp listen range 10.0.0.0/24 peer-group vxorch-lu-clients\nno neighbor 10.0.0.2 peer-group vxorch-lu-reflectors\n" +
		"no neighbor vxorch-lu-clients peer-group\nno neighbor vxorch-lu-reflectors peer-group\n"
	named := "no route-map vxorch-lu\nno bgp extcommunity-list standard vxorch-lu"
	advertised := "address-family l2vpn evpn\nno advertise-all-vni\nexit-address-family\n"
	alone := "router bgp 65000\n bgp router-id 10.0.0.1\n neighbor vxorch-lu-reflectors peer-group\n !\n address-family l2vpn evpn\n  advertise-all-vni\n exit-address-family\nexit\n"
	for name, c := range map[string]struct {
		text   string
		shared hostapi.BGPShared
		want   string
	}{
		"there is none":                         {theirs, hostapi.BGPShared{Router: true, Advertises: true}, ""},
		"what bears no name was there before":   {joined, hostapi.BGPShared{}, members + "exit\n" + named},
		"it came with the lab":                  {joined, hostapi.BGPShared{Router: true, Advertises: true}, members + advertised + "exit\n" + named},
		"the instance came with it, too":        {alone, hostapi.BGPShared{Router: true, Advertises: true}, "router bgp 65000\nno neighbor vxorch-lu-reflectors peer-group\n" + advertised + "exit\nno router bgp 65000"},
		"and by now has something of another's": {alone + "router bgp 65000\n neighbor 10.9.0.1 remote-as 1\n", hostapi.BGPShared{Router: true}, "router bgp 65000\nno neighbor vxorch-lu-reflectors peer-group\nexit"},
		"half of it was told":                   {"route-map vxorch-lu permit 1\nexit\n", hostapi.BGPShared{Router: true, Advertises: true}, "no route-map vxorch-lu"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(read(c.text).Undo("lu", c.shared), "\n"); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestClashOfALabsPart(t *testing.T) {
	w := hostapi.FRR{Existing: true, Config: joined}
	for name, c := range map[string]struct {
		host hostapi.HostBGP
		want string // empty: there is none
	}{
		"nothing is there":           {hostapi.HostBGP{}, ""},
		"the same number":            {hostapi.HostBGP{ASN: 65000, Neighbors: []netip.Addr{netip.MustParseAddr("10.9.0.1")}}, ""},
		"another number":             {hostapi.HostBGP{ASN: 64512}, "of AS 64512, and the lab's hosts are of AS 65000"},
		"a number with a dot":        {hostapi.HostBGP{ASN: -1}, "with a dot"},
		"a session with a reflector": {hostapi.HostBGP{ASN: 65000, Neighbors: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}, "a neighbour 10.0.0.2"},
		"sessions of the same range": {hostapi.HostBGP{ASN: 65000, Ranges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}, "takes sessions from 10.0.0.0/16"},
		"other VTEPs":                {hostapi.HostBGP{VNIs: []int{7, 9}}, "(VNI 7 9)"},
		"other VTEPs told of before": {hostapi.HostBGP{Advertises: true, VNIs: []int{7}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cause, hint := w.Clash("lu", c.host)
			if c.want == "" && cause != "" || !strings.Contains(cause, c.want) || (cause == "") != (hint == "") {
				t.Errorf("%q, hint %q; want %q", cause, hint, c.want)
			}
		})
	}
}
