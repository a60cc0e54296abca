package sandbox

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
)

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
		want    string // in the error; empty: none
	}{
		{"zero", Options{}, ""},
		{"largest", Options{Name: "abcdefghij-123456789", Hosts: 200, MTU: 65535, Device: "enp0s31f6"}, ""},
		{"name with a slash", Options{Name: "../x"}, "cannot name a sandbox"},
		{"long name", Options{Name: strings.Repeat("a", 21)}, "cannot name a sandbox"},
		{"relative state", Options{State: "x"}, "not absolute"},
		{"state with a comma", Options{State: "/a,b"}, "must not contain"},
		{"no hosts", Options{Hosts: -1}, "1 to 200"},
		{"too many hosts", Options{Hosts: 201}, "1 to 200"},
		{"small MTU", Options{MTU: 575}, "576 to 65535"},
		{"small MTU for IPv6", Options{MTU: 1279, IPv6: true}, "1280 to 65535"},
		{"long device", Options{Device: "abcdefghijklmnop"}, "underlay device"},
		{"loopback as the device", Options{Device: "lo"}, "underlay device"},
		{"strange owner", Options{Owner: -1}, "not a process"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.options.complete()
			switch {
			case c.want == "" && err != nil:
				t.Errorf("complete() = %v, want no error", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("complete() = %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestHostsAreLaidOut(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
		want    record
	}{
		{"IPv4", Options{}, record{
			Name: "sandbox", MTU: 1500, Device: "eth0", Prefix: 24, Controller: netip.MustParseAddr("10.83.0.254"),
			Hosts: []HostInfo{
				{Name: "host1", Address: netip.MustParseAddr("10.83.0.1"), Port: 22, MAC: "02:76:78:00:00:01"},
				{Name: "host2", Address: netip.MustParseAddr("10.83.0.2"), Port: 22, MAC: "02:76:78:00:00:02"},
			},
		}},
		{"IPv6", Options{Name: "six", Hosts: 1, MTU: 9000, Device: "ens3", IPv6: true}, record{
			Name: "six", MTU: 9000, Device: "ens3", Prefix: 64, Controller: netip.MustParseAddr("fd83::fe"),
			Hosts: []HostInfo{{Name: "host1", Address: netip.MustParseAddr("fd83::1"), Port: 22, MAC: "02:76:78:00:00:01"}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := c.options.complete()
			if err != nil {
				t.Fatal(err)
			}
			byValue := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
			if diff := cmp.Diff(c.want, o.layOut(), byValue); diff != "" {
				t.Errorf("layOut() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInventoryIsRead(t *testing.T) {
	o, err := Options{State: `/tmp/a "quoted" #place`, Hosts: 3, IPv6: true}.complete()
	if err != nil {
		t.Fatal(err)
	}
	s := &Sandbox{dir: o.State + "/sandbox", record: o.layOut()}
	lab, err := inventory.Parse("inventory.yaml", s.inventory())
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, s.inventory())
	}
	var want []inventory.Host
	for _, h := range s.Hosts() {
		want = append(want, inventory.Host{
			Name:    h.Name,
			Address: h.Address.String(),
			SSH:     inventory.SSH{User: "root", Identity: []string{s.Identity()}, KnownHosts: []string{s.KnownHosts()}},
		})
	}
	for i := range lab.Hosts {
		lab.Hosts[i].SSH.Port = 0 // the default, filled in or not
	}
	byValue := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, lab.Hosts, byValue); diff != "" {
		t.Errorf("hosts of the inventory (-want +got):\n%s", diff)
	}
}

func TestExtraConfigurationWins(t *testing.T) {
	got := sshdConfig("MaxSessions 1\nMaxStartups 2")
	if extra, own := strings.Index(got, "MaxStartups 2\n"), strings.Index(got, "MaxStartups 200"); extra < 0 || own < extra {
		t.Errorf("sshdConfig: the extra lines do not come first:\n%s", got)
	}
}
