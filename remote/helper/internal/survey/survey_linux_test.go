package survey

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func links(t *testing.T) []string {
	t.Helper()
	all, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range all {
		names = append(names, l.Attrs().Name)
	}
	return names
}

func TestKernelThatMakesAllKindsLacksNothing(t *testing.T) {
	before := links(t)
	if got := lacks(); len(got) > 0 {
		t.Errorf("lacks %+v", got)
	}
	if diff := cmp.Diff(before, links(t)); diff != "" {
		t.Errorf("links (-before +after):\n%s", diff)
	}
}

// A kind that no kernel has is refused as one is that this kernel was built
// without.
func TestKindThatTheKernelLacksIsTold(t *testing.T) {
	a := netlink.NewLinkAttrs()
	a.Name = "x"
	got := lacking([]netlink.Link{&netlink.GenericLink{LinkAttrs: a, LinkType: "vxorch-none"}})
	if len(got) != 1 || got[0].Kind != "vxorch-none" || got[0].Error.Kind != hostapi.KindUnsupported || got[0].Error.Hint != "modprobe vxorch-none" {
		t.Errorf("lacking: %+v, want the kind, unsupported, with the module to load", got)
	}
}

func TestNetworkdTakesOver(t *testing.T) {
	const running = "run/systemd/netif/leases"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"everything":                       {map[string]string{running: "", "etc/systemd/network/50-all.network": "[Match]\nName=*\n"}, "/etc/systemd/network/50-all.network"},
		"everything, but it does not run":  {map[string]string{"etc/systemd/network/50-all.network": "[Match]\nName=*\n"}, ""},
		"by type":                          {map[string]string{running: "", "usr/lib/systemd/network/89-ethernet.network": "[Match]\nType=ether\n[Network]\nDHCP=yes\n"}, "/usr/lib/systemd/network/89-ethernet.network"},
		"other names":                      {map[string]string{running: "", "etc/systemd/network/a.network": "[Match]\nName=en* eth*\n"}, ""},
		"all but some names":               {map[string]string{running: "", "etc/systemd/network/a.network": "[Match]\nName=!en*\n"}, "/etc/systemd/network/a.network"},
		"only what is also something else": {map[string]string{running: "", "usr/lib/systemd/network/80-container-ve.network": "[Match]\nKind=veth\nName=*\n"}, ""},
		"no match at all":                  {map[string]string{running: "", "etc/systemd/network/a.network": "[Match]\n# Name=*\n[Network]\nName=*\n"}, ""},
		"left unmanaged before": {map[string]string{
			running: "", "etc/systemd/network/10-vx.network": "[Match]\nName=vx*\n[Link]\nUnmanaged=yes\n", "etc/systemd/network/50-all.network": "[Match]\nName=*\n",
		}, ""},
		"hidden by one of its name": {map[string]string{
			running: "", "etc/systemd/network/all.network": "[Match]\nName=eth0\n", "usr/lib/systemd/network/all.network": "[Match]\nName=*\n",
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, content := range c.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := (networkd{root}).takesOver([]string{"vx100"}); got != c.want {
				t.Errorf("takesOver: %q, want %q", got, c.want)
			}
		})
	}
}

func TestReadTellsWhatAHostIs(t *testing.T) {
	f, err := Read(context.Background(), hostapi.CheckRequest{Lab: "lu", Device: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	if f.Time.IsZero() || f.Memory <= 0 || f.Files <= 0 || f.Networkd != "" || len(f.Filters) > 0 {
		t.Errorf("Read: %+v", f)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	const token = "0123456789abcdef"
	local := netip.MustParseAddr("127.0.0.1")
	for name, l := range map[string]hostapi.Listen{
		"a short token":             {Token: "01", Device: "lo", Local: local},
		"no device":                 {Token: token, Device: "nosuch", Local: local},
		"no group":                  {Token: token, Device: "lo", Local: local, Groups: []netip.Addr{local}},
		"a group of another family": {Token: token, Device: "lo", Local: local, Groups: []netip.Addr{netip.MustParseAddr("ff05::1")}},
	} {
		if got, err := Listen(l); err == nil {
			got.Close()
			t.Errorf("Listen with %s: no error", name)
		}
	}
	for name, d := range map[string]hostapi.Datagram{
		"no address":         {Port: 4789},
		"another family":     {Port: 4789, To: netip.MustParseAddr("::1")},
		"no port":            {Port: 1 << 16, To: local},
		"too small a packet": {Port: 4789, To: local, Size: 30},
		"too large a packet": {Port: 4789, To: local, Size: 1 << 16},
	} {
		_, err := Send(context.Background(), hostapi.SendRequest{Token: token, Device: "lo", Local: local, Datagrams: []hostapi.Datagram{d}})
		if hostapi.AsError(err) == nil || hostapi.AsError(err).Kind != hostapi.KindInvalid {
			t.Errorf("Send with %s: %v, want it invalid", name, err)
		}
	}
}

func TestPacketTooLargeForTheDeviceIsNotSent(t *testing.T) {
	const token = "0123456789abcdef"
	local := netip.MustParseAddr("127.0.0.1")
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetMTU(lo, 1400); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkSetMTU(lo, lo.Attrs().MTU)
	unsent, err := Send(context.Background(), hostapi.SendRequest{Token: token, Device: "lo", Local: local, Datagrams: []hostapi.Datagram{
		{ID: 1, Port: 4789, To: local, Size: 1400}, {ID: 2, Port: 4789, To: local, Size: 1401},
	}})
	if err != nil || len(unsent) != 1 || unsent[0].ID != 2 || unsent[0].Error.Kind != hostapi.KindInvalid {
		t.Errorf("Send: %+v, %v; want the second one unsent, for its size", unsent, err)
	}
}

func TestAvailableMemory(t *testing.T) {
	if got := availableMemory("MemTotal:       100 kB\nMemAvailable:    42 kB\n"); got != 42<<10 {
		t.Errorf("availableMemory: %d, want 42 KiB", got)
	}
	if got := availableMemory(strings.Repeat("x", 10)); got != 0 {
		t.Errorf("availableMemory of nonsense: %d", got)
	}
}
