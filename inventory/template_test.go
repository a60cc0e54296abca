package inventory

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTemplateIsTheContractsLab(t *testing.T) {
	text, err := Template("lu", []string{"192.0.2.11", "192.0.2.12"}, "cirros-0.5.2-x86_64-disk.img")
	if err != nil {
		t.Fatal(err)
	}
	want := mustParse(t, contract)
	for i := range want.Hosts {
		want.Hosts[i].Underlay = "" // nobody knows yet
	}
	want.Images[0].SHA256 = ""
	if diff := cmp.Diff(want, mustParse(t, string(text)), sameAddr); diff != "" {
		t.Errorf("Template wrote (-contract +template)\n%s\n%s", diff, text)
	}
}

func TestTemplateNamesHosts(t *testing.T) {
	text, err := Template("lu", []string{
		"host2", "192.0.2.1", "admin@192.0.2.2:2222", "[2001:db8::1]:23", "2001:db8::2", "x=root@web.example.org:24", "db.example.org", "true",
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range mustParse(t, string(text)).Hosts {
		got = append(got, fmt.Sprintf("%s: %s@%s:%d", h.Name, h.SSH.User, h.Address, h.SSH.Port))
	}
	want := []string{
		"host2: root@host2:22",
		"host1: root@192.0.2.1:22",
		"host3: admin@192.0.2.2:2222",
		"host4: root@2001:db8::1:23",
		"host5: root@2001:db8::2:22",
		"x: root@web.example.org:24",
		"db.example.org: root@db.example.org:22",
		"true: root@true:22",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hosts of\n%s(-want +got):\n%s", text, diff)
	}
}

func TestTemplateHasRoomForManyHosts(t *testing.T) {
	for _, n := range []int{1, 10, 11, 100, 101, 1000, 1001, maxHosts} {
		hosts := make([]string, n)
		for i := range hosts {
			hosts[i] = fmt.Sprintf("h%d", i)
		}
		for _, image := range []string{"", "x.img"} {
			if image != "" && n == maxHosts {
				continue // like 1001, and slow
			}
			text, err := Template("lu", hosts, image)
			if err != nil {
				t.Fatalf("Template for %d hosts with image %q: %v", n, image, err)
			}
			vms := 0
			if image != "" {
				vms = n
			}
			if lab := mustParse(t, string(text)); len(lab.Containers) != n || len(lab.VMs) != vms {
				t.Errorf("Template for %d hosts with image %q made %d containers and %d VMs", n, image, len(lab.Containers), len(lab.VMs))
			}
		}
	}
}

func TestTemplateKeepsClearOfTheHosts(t *testing.T) {
	text, err := Template("lu", []string{"192.168.100.5", "192.168.101.5"}, "")
	if err != nil {
		t.Fatal(err)
	}
	lab := mustParse(t, string(text))
	if got, want := lab.Networks[0].Subnet, netip.MustParsePrefix("192.168.102.0/24"); got != want {
		t.Errorf("subnet is %s, want %s", got, want)
	}
}

func TestTemplateOfIPv6HostsHasAnIPv6Group(t *testing.T) {
	text, err := Template("lu", []string{"2001:db8::1", "2001:db8::2"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := mustParse(t, string(text)).Networks[0].Group; !got.Is6() {
		t.Errorf("group is %s, want an IPv6 one", got)
	}
}

func TestTemplateTakesAnyImage(t *testing.T) {
	for image, want := range map[string]Image{
		"../a b/debian-12-genericcloud-amd64.qcow2": {Name: "debian", File: "../a b/debian-12-genericcloud-amd64.qcow2", Login: Login{User: "root"}},
		"/images/my-cirros.img":                     {Name: "cirros", File: "/images/my-cirros.img", Login: Login{"cirros", "gocubsgo"}},
		"https://example.org/noble.img":             {Name: "noble", URL: "https://example.org/noble.img", Login: Login{User: "root"}},
		"\"ü\\.img":                                 {Name: "image", File: "\"ü\\.img", Login: Login{User: "root"}},
		"12.img":                                    {Name: "12", File: "12.img", Login: Login{User: "root"}},
	} {
		text, err := Template("lu", []string{"a"}, image)
		if err != nil {
			t.Errorf("Template with image %q: %v", image, err)
			continue
		}
		if diff := cmp.Diff([]Image{want}, mustParse(t, string(text)).Images); diff != "" {
			t.Errorf("image of\n%s(-want +got):\n%s", text, diff)
		}
	}
}

func TestTemplateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		lab   string
		hosts []string
		image string
		want  string
	}{
		"no hosts":                {"lu", nil, "", "at least one host"},
		"bad lab":                 {"Lu", []string{"a"}, "", "lab name"},
		"bad name":                {"lu", []string{"a b=192.0.2.1"}, "", "name \"a b\""},
		"name twice":              {"lu", []string{"a", "a=192.0.2.1"}, "", "given twice"},
		"address twice":           {"lu", []string{"192.0.2.1", "a=192.0.2.1"}, "", "already that of host"},
		"bad port":                {"lu", []string{"a:x"}, "", "port \"x\""},
		"no user":                 {"lu", []string{"@a"}, "", "no user"},
		"bad address":             {"lu", []string{"192.0.2.300"}, "", "not an IPv4 address"},
		"brackets left":           {"lu", []string{"[2001:db8::1"}, "", "brackets"},
		"nothing":                 {"lu", []string{""}, "", "must begin"},
		"very long name":          {"lu", []string{strings.Repeat("a", 65)}, "", "shorten it"},
		"user with a space":       {"lu", []string{"a b@c"}, "", "login name"},
		"image that is not UTF-8": {"lu", []string{"a"}, "\xff", "not UTF-8"},
		"image that is a folder":  {"lu", []string{"a"}, "images/", "no path of a file"},
		"url of no file":          {"lu", []string{"a"}, "http://x/", "not that of a file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Template(c.lab, c.hosts, c.image)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Template(%q, %q, %q) gave %v, want %q in it", c.lab, c.hosts, c.image, err, c.want)
			}
		})
	}
}
