package inventory

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sameAddr lets cmp look at addresses and prefixes as values.
var sameAddr = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func mustParse(t *testing.T, text string) *Lab {
	t.Helper()
	lab, err := Parse("lab.yaml", []byte(text))
	if err != nil {
		t.Fatalf("Parse of\n%s\ngave\n%v", text, err)
	}
	return lab
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

const contract = `
lab: lu                                   # required, [a-z0-9-], at most 20 characters
ssh: {user: root, port: 22}               # defaults for every host
hosts:
  host1: {address: 192.0.2.11, underlay: eth0}
  host2: {address: 192.0.2.12, underlay: eth0}
networks:
  lu-br0:                                 # also the name of the bridge and of the libvirt network
    vni: 100
    port: 4789
    vxlan: vxlan0                         # the VTEP device
    flood: multicast                      # multicast | unicast | static | evpn | auto
    group: 239.0.0.1
    subnet: 192.168.100.0/24
    mtu: auto                             # smallest underlay MTU − 50 (IPv4 underlay) or − 70 (IPv6)
    vteps: {host1: 192.168.100.1, host2: 192.168.100.2}
containers:
  cn1: {host: host1, network: lu-br0, address: 192.168.100.11, netns: container0}
  cn2: {host: host2, network: lu-br0, address: 192.168.100.12, netns: container0}
images:
  cirros:
    file: cirros-0.5.2-x86_64-disk.img    # on the controller, relative to the inventory; or url:; or path: on the host
    sha256: 932fcae93574e242dc3d772d5235061747dfe537668443a1f0567d893614b464
    login: {user: cirros, password: gocubsgo}
vms:
  vm1: {host: host1, network: lu-br0, address: 192.168.100.21, image: cirros, domain: testlu-vm, memory: 512MiB, graphics: {vnc: {listen: 127.0.0.1}}, provision: auto}
  vm2: {host: host2, network: lu-br0, address: 192.168.100.22, image: cirros, domain: testlu-vm, memory: 512MiB, graphics: {vnc: {listen: 127.0.0.1}}, provision: auto}
`

func TestTheContractsLab(t *testing.T) {
	ssh := SSH{User: "root", Port: 22}
	want := &Lab{
		Name: "lu",
		File: "lab.yaml",
		Hosts: []Host{
			{Name: "host1", Address: "192.0.2.11", Underlay: "eth0", SSH: ssh},
			{Name: "host2", Address: "192.0.2.12", Underlay: "eth0", SSH: ssh},
		},
		Networks: []Network{{
			Name: "lu-br0", VNI: 100, Port: 4789, VXLAN: "vxlan0", Flood: FloodMulticast, Group: addr("239.0.0.1"),
			Subnet: netip.MustParsePrefix("192.168.100.0/24"),
			VTEPs:  map[string]netip.Addr{"host1": addr("192.168.100.1"), "host2": addr("192.168.100.2")},
		}},
		Containers: []Container{
			{Name: "cn1", Host: "host1", Netns: "container0", Interfaces: []Interface{
				{Network: "lu-br0", Inner: "eth0", Link: "cn1-caot6rqc", Address: addr("192.168.100.11"), MAC: "02:e8:8f:81:11:2d"}}},
			{Name: "cn2", Host: "host2", Netns: "container0", Interfaces: []Interface{
				{Network: "lu-br0", Inner: "eth0", Link: "cn2-yeihv2vj", Address: addr("192.168.100.12"), MAC: "02:a8:e0:ff:a3:db"}}},
		},
		Images: []Image{{
			Name: "cirros", File: "cirros-0.5.2-x86_64-disk.img", SHA256: "932fcae93574e242dc3d772d5235061747dfe537668443a1f0567d893614b464",
			Login: Login{User: "cirros", Password: "gocubsgo"},
		}},
		VMs: []VM{
			{Name: "vm1", Host: "host1", Domain: "testlu-vm", Image: "cirros", Memory: 512 << 20, VCPUs: 1, DiskBus: "virtio", NIC: "virtio",
				VNC: &VNC{Listen: addr("127.0.0.1")}, Provision: ProvisionAuto, Interfaces: []Interface{
					{Network: "lu-br0", Inner: "eth0", Link: "vm1-ympzlsly", Address: addr("192.168.100.21"), MAC: "02:1a:ee:e0:51:e7"}}},
			{Name: "vm2", Host: "host2", Domain: "testlu-vm", Image: "cirros", Memory: 512 << 20, VCPUs: 1, DiskBus: "virtio", NIC: "virtio",
				VNC: &VNC{Listen: addr("127.0.0.1")}, Provision: ProvisionAuto, Interfaces: []Interface{
					{Network: "lu-br0", Inner: "eth0", Link: "vm2-pzot2pqo", Address: addr("192.168.100.22"), MAC: "02:72:e2:07:8b:85"}}},
		},
	}
	if diff := cmp.Diff(want, mustParse(t, contract), sameAddr); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}

func TestFourLinesAreALab(t *testing.T) {
	short := mustParse(t, "lab: try\nhosts:\n  a: {address: 192.0.2.11}\n  b: {address: 192.0.2.12}\n")
	want := &Lab{
		Name:  "try",
		File:  "lab.yaml",
		Hosts: []Host{{Name: "a", Address: "192.0.2.11"}, {Name: "b", Address: "192.0.2.12"}},
		Networks: []Network{{
			Name: "try-br0", VNI: 100, Port: 4789, VXLAN: "vx100", Flood: FloodMulticast,
			Subnet: netip.MustParsePrefix("192.168.100.0/24"),
			VTEPs:  map[string]netip.Addr{"a": addr("192.168.100.1"), "b": addr("192.168.100.2")},
		}},
		Containers: []Container{
			{Name: "cn-a-1", Host: "a", Netns: "try-cn-a-1", Interfaces: []Interface{
				{Network: "try-br0", Inner: "eth0", Link: "cn-a-1-3syamavt", Address: addr("192.168.100.11"), MAC: "02:29:01:91:1e:81"}}},
			{Name: "cn-b-1", Host: "b", Netns: "try-cn-b-1", Interfaces: []Interface{
				{Network: "try-br0", Inner: "eth0", Link: "cn-b-1-753s4eph", Address: addr("192.168.100.12"), MAC: "02:a3:50:f2:63:c6"}}},
		},
	}
	if diff := cmp.Diff(want, short, sameAddr); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
	long := mustParse(t, head+"networks: {try-br0: {}}\ncontainers: {cn: {hosts: all}}\n")
	if diff := cmp.Diff(short, long, sameAddr); diff != "" {
		t.Errorf("the same lab in more words differs (-short +long):\n%s", diff)
	}
}

func TestDefaultsAreMadeOnlyWhereASectionIsLeftOut(t *testing.T) {
	for name, c := range map[string]struct {
		text                 string
		networks, containers int
	}{
		"neither":          {"", 1, 2},
		"networks only":    {"networks: {n: {}}\n", 1, 0},
		"containers only":  {"containers: {c: {host: a}}\n", 1, 1},
		"empty containers": {"containers: {}\n", 1, 0},
		"containers:":      {"containers:\n", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			lab := mustParse(t, head+c.text)
			if len(lab.Networks) != c.networks || len(lab.Containers) != c.containers {
				t.Errorf("got %d networks and %d containers, want %d and %d", len(lab.Networks), len(lab.Containers), c.networks, c.containers)
			}
		})
	}
}

func TestNetworksGetWhatTheOthersLeave(t *testing.T) {
	lab := mustParse(t, `lab: a-lab-with-long-name
hosts: {a: {address: 192.168.101.7}, b: {address: host-b}}
networks:
  one:
  two: {vni: 101, subnet: 192.168.100.0/25, mtu: 1400, port: 8472}
  three:
`)
	var got []string
	for _, n := range lab.Networks {
		got = append(got, fmt.Sprintln(n.Name, n.VNI, n.Port, n.VXLAN, n.Subnet, n.MTU, n.Group.IsValid()))
	}
	want := []string{
		fmt.Sprintln("one", 100, 4789, "vx100", "192.168.102.0/24", 0, false), // 100 is two's, 101 is around host a
		fmt.Sprintln("two", 101, 8472, "vx101", "192.168.100.0/25", 1400, false),
		fmt.Sprintln("three", 102, 4789, "vx102", "192.168.103.0/24", 0, false),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
}

func TestDefaultBridgeNameFitsTheKernel(t *testing.T) {
	lab := mustParse(t, "lab: a-lab-with-long-name\nhosts: {a: {address: x}}\n")
	if got := lab.Networks[0].Name; len(got) != 15 || !strings.HasPrefix(got, "a-lab-wi-") {
		t.Errorf("bridge is %q, want 15 characters that begin as the lab's name", got)
	}
}

func TestRangesMakeHosts(t *testing.T) {
	lab := mustParse(t, `lab: try
ssh: {user: root}
hosts:
  node[08-10]: {address: "192.0.2.[108-110]", vtep: "2001:db8::[9-11]", underlay: eth1, ssh: {port: 2222}}
  "r[1-2]n[3-4]x": {address: "10.[1-2].0.[7-8]"}
  single[5-5]: {address: somewhere}
`)
	var got []string
	for _, h := range lab.Hosts {
		got = append(got, fmt.Sprint(h.Name, " ", h.Address, " ", h.VTEP, " ", h.Underlay, " ", h.SSH.User, h.SSH.Port))
	}
	want := []string{
		"node08 192.0.2.108 2001:db8::9 eth1 root2222",
		"node09 192.0.2.109 2001:db8::10 eth1 root2222",
		"node10 192.0.2.110 2001:db8::11 eth1 root2222",
		"r1n3x 10.1.0.7 invalid IP  root0",
		"r2n4x 10.2.0.8 invalid IP  root0",
		"single5 somewhere invalid IP  root0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

func TestSSHOfAHostWinsKeyByKey(t *testing.T) {
	const key = "SHA256:uNiVztksCsDhcc0u9e8BrmXOdfbf5fG9hP7hPYHHXlw"
	lab := mustParse(t, `lab: try
ssh: {user: root, port: 2222, identity: id_lab, known_hosts: [one, two], accept_new: true}
hosts:
  a: {address: x}
  b: {address: y, ssh: {user: me, identity: [~/.ssh/id, /k], accept_new: false, host_key: "`+key+`", sudo: ask}}
`)
	yes, no := true, false
	want := []SSH{
		{User: "root", Port: 2222, Identity: []string{"id_lab"}, KnownHosts: []string{"one", "two"}, AcceptNew: &yes},
		{User: "me", Port: 2222, Identity: []string{"~/.ssh/id", "/k"}, KnownHosts: []string{"one", "two"}, AcceptNew: &no, HostKey: key, Sudo: "ask"},
	}
	if diff := cmp.Diff(want, []SSH{lab.Hosts[0].SSH, lab.Hosts[1].SSH}); diff != "" {
		t.Errorf("ssh (-want +got):\n%s", diff)
	}
}

func TestTransport(t *testing.T) {
	lab := mustParse(t, "lab: try\nssh: {transport: openssh, persist: 10m}\nhosts: {a: {address: x}, b: {address: y, ssh: {transport: native}}, c: {address: z, ssh: {persist: off}}}\n")
	var got []string
	for _, h := range lab.Hosts {
		got = append(got, fmt.Sprint(h.Name, " ", h.SSH.OpenSSH, " ", *h.SSH.Persist))
	}
	if diff := cmp.Diff([]string{"a true 10m0s", "b false 10m0s", "c true 0s"}, got); diff != "" {
		t.Errorf("transports (-want +got):\n%s", diff)
	}
}

func TestJumpHosts(t *testing.T) {
	for text, want := range map[string][]string{
		"bastion":                        {"bastion"},
		"none":                           {"none"},
		"me@bastion:2222, 192.0.2.1":     {"me@bastion:2222", "192.0.2.1"},
		`["a", "root@[2001:db8::1]:22"]`: {"a", "root@[2001:db8::1]:22"},
	} {
		lab := mustParse(t, "lab: try\nssh: {user: root}\nhosts: {a: {address: x, ssh: {jump: "+quoted(text)+"}}}\n")
		if diff := cmp.Diff(want, lab.Hosts[0].SSH.Jump); diff != "" {
			t.Errorf("jump: %s (-want +got):\n%s", text, diff)
		}
	}
}

// quoted gives text as a YAML value inside braces.
func quoted(text string) string {
	if strings.HasPrefix(text, "[") {
		return text
	}
	return `"` + text + `"`
}

func TestContainersGoWhereTheyAreSent(t *testing.T) {
	lab := mustParse(t, head+`networks:
  lan: {subnet: 10.0.0.0/24}
  six: {subnet: "fd00:0::/64"}
containers:
  cn: {hosts: [b, a], count: 2, network: six}
  gw:
    host: a
    netns: gateway
    interfaces:
      - {network: lan, address: 10.0.0.200/24, mac: "52-54-00-AB-CD-EF"}
      - {network: six, address: auto}
`)
	var got []string
	for _, c := range lab.Containers {
		for _, i := range c.Interfaces {
			got = append(got, fmt.Sprint(c.Name, " ", c.Host, " ", c.Netns, " ", i.Network, " ", i.Inner, " ", i.Address))
		}
	}
	want := []string{
		"cn-b-1 b try-cn-b-1 six eth0 fd00::b",
		"cn-b-2 b try-cn-b-2 six eth0 fd00::c",
		"cn-a-1 a try-cn-a-1 six eth0 fd00::d",
		"cn-a-2 a try-cn-a-2 six eth0 fd00::e",
		"gw a gateway lan eth0 10.0.0.200",
		"gw a gateway six eth1 fd00::f",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
	if got, want := lab.Containers[4].Interfaces[0].MAC, "52:54:00:ab:cd:ef"; got != want {
		t.Errorf("mac is %s, want %s", got, want)
	}
	checkInvariants(t, lab)
}

func TestNumbersAreNamesToo(t *testing.T) {
	lab := mustParse(t, "lab: 007\nhosts: {01: {address: 1host}}\ncontainers: {2: {host: 01}}\n")
	if got := []string{lab.Name, lab.Hosts[0].Name, lab.Containers[0].Name}; !slices.Equal(got, []string{"007", "01", "2"}) {
		t.Errorf("names are %q, want them as written", got)
	}
}

func TestAliasesStandForTheirValue(t *testing.T) {
	lab := mustParse(t, "lab: try\nhosts: {a: {address: x, ssh: &s {user: u}}, b: {address: y, ssh: *s}}\n")
	if got := lab.Hosts[1].SSH.User; got != "u" {
		t.Errorf("user is %q, want that of the anchor", got)
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "lab.yaml")
	text := "lab: try\nssh: {identity: [keys/id, ~/.ssh/id, /etc/id], known_hosts: known}\nhosts: {\"a[1-2]\": {address: \"x[1-2]\"}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	lab, err := Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := SSH{
		Identity:   []string{filepath.Join(folder, "keys/id"), "~/.ssh/id", "/etc/id"},
		KnownHosts: []string{filepath.Join(folder, "known")},
	}
	for _, host := range lab.Hosts {
		if diff := cmp.Diff(want, host.SSH); diff != "" {
			t.Errorf("ssh of %s (-want +got):\n%s", host.Name, diff)
		}
	}

	lab, err = Load("-", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := lab.Hosts[0].SSH.KnownHosts[0]; got != "known" {
		t.Errorf("known_hosts from standard input is %q, want it as written", got)
	}
}

func TestLoadTellsWhatItCannotRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "absent.yaml")
	if _, err := Load(file, nil); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Load of an absent file gave %v, want an error that names it", err)
	}
	_, err := Load("-", strings.NewReader("lab: Try"))
	if err == nil || !strings.HasPrefix(err.Error(), "stdin:1:1: ") {
		t.Errorf("Load of standard input gave %v, want problems in stdin", err)
	}
}
