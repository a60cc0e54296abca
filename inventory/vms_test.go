package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machines is what a case with one VM adds to head.
const machines = "images: {i: {path: /i, login: {user: u, password: p}}}\nvms: {v: {host: a}}\n"

// vmOf parses head, one image and a VM that says more of itself.
func vmOf(t *testing.T, more string) VM {
	t.Helper()
	return mustParse(t, head+"images: {i: {path: /i, login: {user: u}}}\nvms: {v: {host: a, "+more+"}}\n").VMs[0]
}

func TestAVMNeedsOnlyAHostAndAnImage(t *testing.T) {
	lab := mustParse(t, head+machines)
	want := []VM{{
		Name: "v", Host: "a", Domain: "try-v", Image: "i", Memory: 512 << 20, VCPUs: 1, DiskBus: "virtio", NIC: "virtio",
		VNC: &VNC{Listen: addr("127.0.0.1")}, Provision: ProvisionAuto,
		Interfaces: lab.VMs[0].Interfaces, // the addresses' tests are about these
	}}
	if diff := cmp.Diff(want, lab.VMs, sameAddr); diff != "" {
		t.Errorf("VMs (-want +got):\n%s", diff)
	}
	if len(lab.Containers) != 0 {
		t.Errorf("a lab of VMs got %d containers that nobody asked for", len(lab.Containers))
	}
	if got := lab.Image("i"); got.Path != "/i" || got.Login != (Login{"u", "p"}) {
		t.Errorf("Image(i) is %+v", got)
	}
	if got := lab.Image("none"); got != (Image{}) {
		t.Errorf("Image(none) is %+v, want nothing", got)
	}
}

func TestMemoryIsWholeMiBInAnyUnit(t *testing.T) {
	for text, want := range map[string]int64{
		"512MiB": 512 << 20, "2GiB": 2 << 30, "1 GiB": 1 << 30, "65536KiB": 64 << 20, "1TiB": 1 << 40,
		"512MB": 489 << 20, "1GB": 954 << 20, "16MiB": 16 << 20, "16385KiB": 17 << 20, "65536kB": 63 << 20,
	} {
		if got := vmOf(t, "memory: "+text).Memory; got != want {
			t.Errorf("memory %s is %d bytes, want %d", text, got, want)
		}
	}
}

func TestGraphics(t *testing.T) {
	for text, want := range map[string]*VNC{
		"graphics: none":                     nil,
		"graphics: ":                         {Listen: addr("127.0.0.1")},
		"graphics: vnc":                      {Listen: addr("127.0.0.1")},
		"graphics: {}":                       {Listen: addr("127.0.0.1")},
		"graphics: {vnc: }":                  {Listen: addr("127.0.0.1")},
		"graphics: {vnc: {port: 5900}}":      {Listen: addr("127.0.0.1"), Port: 5900},
		"graphics: {vnc: {listen: \"::1\"}}": {Listen: addr("::1")},
		"graphics: {vnc: {listen: 0.0.0.0, password: 123}}":    {Listen: addr("0.0.0.0"), Password: "123"},
		"graphics: {vnc: {listen: \"::\", insecure: true}}":    {Listen: addr("::"), Insecure: true},
		"graphics: {vnc: {listen: 10.0.0.1, password: true8}}": {Listen: addr("10.0.0.1"), Password: "true8"},
	} {
		if diff := cmp.Diff(want, vmOf(t, text).VNC, sameAddr); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestVMsOfADefinitionShareNothing(t *testing.T) {
	lab := mustParse(t, head+"images: {i: {path: /i}}\nvms: {v: {hosts: all, domain: d, graphics: {vnc: {port: 5900}}}}\n")
	lab.VMs[0].VNC.Port = 1
	if got := lab.VMs[1].VNC.Port; got != 5900 {
		t.Errorf("VNC port of the second VM changed to %d with the first", got)
	}
}

func TestTapsAreNotCalledAsLibvirtsOwn(t *testing.T) {
	lab := mustParse(t, head+"images: {i: {path: /i}}\nvms: {vnet0: {host: a}, tap-vnet0: {host: a}}\n")
	checkInvariants(t, lab)
	if got := lab.VMs[0].Interfaces[0].Link; !strings.HasPrefix(got, "tap-") {
		t.Errorf("tap is %s, want tap-…", got)
	}
}

func TestAVMKeepsItsMACWhateverStandsBesideIt(t *testing.T) {
	alone := mustParse(t, head+machines).VMs[0].Interfaces[0].MAC
	beside := mustParse(t, head+"containers: {c: {hosts: all}, d: {host: a}}\n"+machines).VMs[0].Interfaces[0].MAC
	if alone != beside {
		t.Errorf("mac is %s, and %s beside containers", alone, beside)
	}
}

func TestImageFilesAreRelativeToTheInventory(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "lab.yaml")
	text := head + "images: {a: {file: images/a}, b: {file: ~/b}, c: {file: /c}, d: {path: /d}, e: {url: \"http://example.org/e\"}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	lab, err := Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range lab.Images {
		got = append(got, i.File+i.Path+i.URL)
	}
	if want := []string{filepath.Join(folder, "images/a"), "~/b", "/c", "/d", "http://example.org/e"}; !slices.Equal(got, want) {
		t.Errorf("images are at %q, want %q", got, want)
	}
}

func TestProblemsOfImagesAndVMsAreReportedAtTheirPosition(t *testing.T) {
	const image = head + "images: {i: {path: /i}}\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"images as a list": {
			head + "images: [i]\n",
			[]string{
				"5:9: images must be a mapping, not a list",
			}},
		"image without source": {
			head + "images: {i: {}, j: }\n",
			[]string{
				"5:10: image \"i\" has neither file, url nor path | say where it is: `file:` on this machine, `url:` to fetch it from, or `path:` on the hosts",
				"5:17: image \"j\" has neither file, url nor path | say where it is: `file:` on this machine, `url:` to fetch it from, or `path:` on the hosts",
			}},
		"two sources": {
			head + "images: {i: {file: a, path: /b, url: \"http://x/y\"}}\n",
			[]string{
				`5:33: url and file of image "i" are both given (f:5:14) | keep one of them`,
			}},
		"unknown key": {
			head + "images: {i: {pth: /b}}\n",
			[]string{
				"5:10: image \"i\" has neither file, url nor path | say where it is: `file:` on this machine, `url:` to fetch it from, or `path:` on the hosts",
				`5:14: unknown key "pth" in image "i" | did you mean "path"?`,
			}},
		"image name": {
			head + "images: {a/b: {path: /b}}\n",
			[]string{
				`5:10: image name "a/b" must not have '/' | images' names have letters, digits, '.', '-' and '_'`,
			}},
		"paths": {
			head + "images: {i: {path: b}, j: {path: /a/../b}, k: {file: a/}, l: {file: \"http://x/y\"}, m: {path: [x]}}\n",
			[]string{
				"5:20: path \"b\" is not absolute and plain | it is on the hosts: begin with / and leave out . and .. (`file:` is for one on this machine)",
				"5:34: path \"/a/../b\" is not absolute and plain | it is on the hosts: begin with / and leave out . and .. (`file:` is for one on this machine)",
				`5:54: file "a/" is no path of a file`,
				"5:69: file is a URL | write `url:` in place of `file:`",
				"5:94: path must be text, not a list",
			}},
		"urls": {
			head + "images: {i: {url: \"ftp://x/y\"}, j: {url: x}, k: {url: \"http://x/\"}, l: {url: 1}, m: {url: \"http://u:s3cret@x:y/z\"}}\n",
			[]string{
				"5:19: url has scheme \"ftp\" | http and https are known; for a file on this machine there is `file:`",
				"5:42: url is not that of a file | write it as in https://example.org/image.qcow2",
				"5:55: url is not that of a file | write it as in https://example.org/image.qcow2",
				"5:78: url must be text | write it as in https://example.org/image.qcow2",
				"5:91: url is not that of a file | write it as in https://example.org/image.qcow2",
			}},
		"sums": {
			head + "images: {i: {path: /i, sha256: 12}, j: {path: /j, sha256: [x]}, k: {path: /k, sha256: " + strings.Repeat("g", 64) + "}}\n",
			[]string{
				"5:32: sha256 \"12\" is not 64 hexadecimal digits | `sha256sum FILE` tells it; leave it out if nobody does",
				"5:59: sha256 must be text, not a list",
				"5:87: sha256 \"gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg\" is not 64 hexadecimal digits | `sha256sum FILE` tells it; leave it out if nobody does",
			}},
		"login": {
			head + "images: {i: {path: /i, login: {password: s3cret}}, j: {path: /j, login: s3cret}, k: {path: /k, login: {user: u, s3cret: x}}}\n",
			[]string{
				"5:31: login has no user | write `login: {user: NAME, password: PASSWORD}`",
				"5:73: login must be a mapping | write `login: {user: NAME, password: PASSWORD}`",
				"5:113: unknown key in login | write `login: {user: NAME, password: PASSWORD}`",
			}},
		"no image": {
			head + "vms: {v: {host: a}, w: {host: a, image: i}}\n",
			[]string{
				"5:7: there is no image for VM \"v\" | add one: `images: {NAME: {file: FILE}}`",
				"5:41: there is no image \"i\" | add it: `images: {i: {file: FILE}}`",
			}},
		"unknown image": {
			head + "images: {cirros: {path: /i}}\nvms: {v: {host: a, image: ciros}, w: {host: a, image: [x]}}\n",
			[]string{
				`6:27: there is no image "ciros" | did you mean "cirros"?`,
				"6:55: image must be text, not a list",
			}},
		"image left open": {
			head + "images: {i: {path: /i}, j: {path: /j}}\nvms: {v: {host: a}}\n",
			[]string{
				"6:7: VM \"v\" does not say which of the 2 images it has | write `image: NAME`",
			}},
		"vm name": {
			image + "vms: {a b: {host: a}}\n",
			[]string{
				`6:7: VM name "a b" must not have ' ' | workloads' names have letters, digits, '.', '-' and '_'`,
			}},
		"vm key": {
			image + "vms: {v: {host: a, netns: x, memroy: 1GiB}}\n",
			[]string{
				`6:20: unknown key "netns" in VM "v"`,
				`6:30: unknown key "memroy" in VM "v" | did you mean "memory"?`,
			}},
		"vm without a host": {
			image + "vms: {v: {}, w: }\n",
			[]string{
				"6:7: VM \"v\" has neither host nor hosts | say where it runs: `host: NAME` or `hosts: all`",
				"6:14: VM \"w\" has neither host nor hosts | say where it runs: `host: NAME` or `hosts: all`",
			}},
		"vm is text": {
			image + "vms: {v: a}\n",
			[]string{
				`6:10: VM "v" must be a mapping, not "a"`,
			}},
		"names meet": {
			image + "containers: {x: {host: a}}\nvms: {x: {host: b}}\n",
			[]string{
				`7:7: VM "x" is already made by another definition (f:6:14) | rename one of them`,
			}},
		"domains meet": {
			image + "vms: {v: {hosts: [a], count: 2, domain: d}, w: {host: b, domain: d}, x: {host: b, domain: d}, y: {host: b}, z: {host: b, domain: try-y}}\n",
			[]string{
				`6:41: domain "d" of VM "v-a-2" is already that of VM "v-a-1" on host "a" (f:6:41) | give each its own domain, or leave it out`,
				`6:91: domain "d" of VM "x" is already that of VM "w" on host "b" (f:6:66) | give each its own domain, or leave it out`,
				`6:130: domain "try-y" of VM "z" is already that of VM "y" on host "b" (f:6:95) | give each its own domain, or leave it out`,
			}},
		"domain": {
			image + "vms: {v: {host: a, domain: x/y}, w: {host: a, domain: true}}\n",
			[]string{
				`6:28: domain "x/y" must not have '/' | a domain's name has letters, digits, '.', '-' and '_'`,
				`6:55: domain must be text, not true | put it into quotes: "true"`,
			}},
		"memory": {
			image + "vms: {v: {host: a, memory: 512}, w: {host: a, memory: 1M}, x: {host: a, memory: 1MiB}, y: {host: a, memory: 99999999999999GiB}, z: {host: a, memory: 0.5GiB}}\n",
			[]string{
				"6:28: memory 512 has no unit | write 512MiB, if that is what is meant",
				`6:55: memory "1M" is not a number with a unit | write it as in 512MiB or 2GiB`,
				"6:81: memory 1MiB is outside 16MiB…16TiB",
				"6:109: memory 99999999999999GiB is outside 16MiB…16TiB",
				`6:150: memory "0.5GiB" is not a number with a unit | write it as in 512MiB or 2GiB`,
			}},
		"vcpus": {
			image + "vms: {v: {host: a, vcpus: 0}}\n",
			[]string{
				"6:27: vcpus 0 is outside 1…512",
			}},
		"timeout": {
			image + "vms: {v: {host: a, timeout: 5}, w: {host: a, timeout: 10ms}, x: {host: a, timeout: 48h}, y: {host: a, timeout: -1m}}\n",
			[]string{
				`6:29: timeout "5" is not a time | write it as in 90s or 10m`,
				"6:55: timeout 10ms is outside 1s…24h",
				"6:84: timeout 48h0m0s is outside 1s…24h",
				"6:112: timeout -1m0s is outside 1s…24h",
			}},
		"words": {
			image + "vms: {v: {host: a, disk_bus: virtoi, nic: x, provision: cloudinit, machine: a b}}\n",
			[]string{
				`6:30: disk_bus "virtoi" is unknown | did you mean "virtio"?`,
				`6:43: nic "x" is unknown | known: virtio, e1000, e1000e, rtl8139, vmxnet3, pcnet, ne2k_pci`,
				`6:57: provision "cloudinit" is unknown | known: auto, console, nocloud, dhcp, none`,
				`6:77: machine "a b" must not have ' ' | it is a machine type of QEMU's, as in q35 or pc-i440fx-7.2`,
			}},
		"graphics": {
			image + "vms: {u: {host: a, graphics: spice}, v: {host: a, graphics: {spice: }}, w: {host: a, graphics: {vnc: s3cret}}}\n",
			[]string{
				"6:30: graphics must be none or a mapping | write `graphics: {vnc: {listen: 127.0.0.1}}`",
				`6:62: unknown key "spice" in graphics | known: vnc`,
				"6:102: vnc must be a mapping | write `vnc: {listen: 127.0.0.1}`",
			}},
		"open screen": {
			image + "vms: {u: {host: a, graphics: {vnc: {listen: 0.0.0.0}}}, v: {host: a, graphics: {vnc: {listen: \"::\", insecure: false}}}}\n",
			[]string{
				"6:45: vnc listens on 0.0.0.0 without a password | anyone there could take the VM over: write 127.0.0.1 and use an SSH tunnel, give a password, or say `insecure: true`",
				"6:95: vnc listens on :: without a password | anyone there could take the VM over: write 127.0.0.1 and use an SSH tunnel, give a password, or say `insecure: true`",
			}},
		"screen": {
			image + "vms: {u: {host: a, graphics: {vnc: {listen: localhost, port: 80}}}, v: {host: a, graphics: {vnc: {listen: 224.0.0.1, insecure: 1}}}}\n",
			[]string{
				`6:45: listen "localhost" is not an IP address`,
				"6:62: port 80 is outside 1024…65535",
				"6:107: listen 224.0.0.1 is no machine's address",
				"6:107: vnc listens on 224.0.0.1 without a password | anyone there could take the VM over: write 127.0.0.1 and use an SSH tunnel, give a password, or say `insecure: true`",
				`6:128: insecure must be true or false, not "1"`,
			}},
		"screens meet": {
			image + "vms: {u: {host: a, graphics: {vnc: {port: 5900}}}, v: {host: a, graphics: {vnc: {listen: 0.0.0.0, port: 5900, insecure: true}}}, w: {host: b, graphics: {vnc: {port: 5900}}}, x: {host: a, graphics: {vnc: {listen: 127.0.0.2, port: 5900}}}}\n",
			[]string{
				`6:81: vnc port 5900 of VM "v" is already that of VM "u" on host "a" (f:6:36) | give each its own port, or leave it out`,
			}},
		"vnc passwords": {
			image + "vms: {u: {host: a, graphics: {vnc: {password: s3cret-and-more}}}, v: {host: a, graphics: {vnc: {password: true}}}, w: {host: a, graphics: {vnc: {password: {s3cret: x}}}}, x: {host: a, graphics: {vnc: {listen: 0.0.0.0, password: \"\"}}}}\n",
			[]string{
				"6:47: password is longer than 8 characters | VNC uses no more than 8: choose a shorter one",
				"6:107: password must be text | put it into quotes",
				"6:156: password must be text | put it into quotes",
				"6:229: password must be text | put it into quotes",
			}},
		"console without login": {
			image + "vms: {v: {host: a, provision: console}}\n",
			[]string{
				"6:31: provision: console needs a login for image \"i\" (f:5:10) | give the image `login: {user: NAME, password: PASSWORD}`",
			}},
		"dhcp without IPv4": {
			head + "networks: {n: {subnet: \"fd00::/64\"}}\nimages: {i: {path: /i}}\nvms: {v: {host: a, provision: dhcp}}\n",
			[]string{
				`7:31: provision: dhcp gives IPv4 addresses, but network "n" is IPv6 | write auto, nocloud or console`,
			}},
		"address twice": {
			image + "containers:\n  c: {host: a}\nvms:\n  v: {host: a, address: 192.168.100.11}\n  w: {host: b, address: 192.168.100.30}\n  x: {host: b, address: 192.168.100.30}\n",
			[]string{
				`9:25: address 192.168.100.11 was given to container "c" (f:7:3) by auto | choose another, or write the address of the other down too`,
				`11:25: address 192.168.100.30 is already that of VM "w" (f:10:25) | choose another, or leave it to auto`,
			}},
		"auto of a VM is written for a container": {
			image + "containers:\n  c: {host: a, address: 192.168.100.101}\nvms:\n  v: {host: a}\n",
			[]string{
				`9:3: auto gives 192.168.100.101 to VM "v", but it is already the address of container "c" (f:7:25) | write another address for one of them`,
			}},
		"mac twice": {
			image + "containers:\n  c: {host: a, mac: \"02:00:00:00:00:01\"}\nvms:\n  v: {host: a, mac: \"02:00:00:00:00:01\"}\n",
			[]string{
				`9:21: mac 02:00:00:00:00:01 is already that of container "c" (f:7:21) | choose another, or leave it out`,
			}},
		"address for many": {
			image + "vms: {v: {hosts: all, address: 192.168.100.30}}\n",
			[]string{
				"6:32: this address would be that of 2 VMs | leave it out: each gets a free one",
			}},
		"interfaces": {
			image + "vms: {v: {host: a, interfaces: []}}\n",
			[]string{
				"6:32: interfaces is empty | a VM needs an interface: `interfaces: [{network: NAME}]`",
			}},
		"full": {
			image + "networks: {n: {subnet: 10.0.0.0/29}}\ncontainers: {c: {hosts: all}}\nvms: {v: {hosts: all, count: 2}}\n",
			[]string{
				`8:7: subnet 10.0.0.0/29 of network "n" has no address left for VM "v-b-1" | choose a larger subnet`,
			}},
		"too many": {
			image + "vms: {v: {hosts: all, count: 60000}}\n",
			[]string{
				`6:7: VM "v" would be more than 100000`,
			}},
	} {
		t.Run(name, func(t *testing.T) {
			got := problems(t, c.text)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems of %s (-want +got):\n%s", c.text, diff)
			}
			if strings.Contains(strings.Join(got, "\n"), "s3cret") {
				t.Errorf("a password is in %q", got)
			}
		})
	}
}

func TestAnUnquotedPasswordThatYAMLTakesForAnAliasIsNotShown(t *testing.T) {
	got := fmt.Sprint(problems(t, head+"images: {i: {path: /i, login: {user: u, password: *s3cret}}}\n"))
	if strings.Contains(got, "s3cret") || !strings.Contains(got, "5:") {
		t.Errorf("got %q, want the position and not the password", got)
	}
}
