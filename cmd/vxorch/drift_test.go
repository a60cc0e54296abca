package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// drift is something that happens to host1 of the seed's lab.
type drift struct {
	script string
	// odd is what status says of it: "KIND NAME STATE DEPLOY PROPERTY…", where V is
	// the veth's name. Of an object changed the properties are all that differ.
	odd []string
	// mend is what somebody does by hand who made a thing that is foreign; deploy
	// refuses until then and changes nothing. after undoes what is no matter of the
	// lab's.
	mend, after string
}

// anew makes the VTEP again with other settings and puts its mark back.
const anew = `
anew() {
	A=$(ip -d -o link show vxlan0 | sed 's/.*alias //; s/ *$//') M=$(ip -o link show vxlan0 | sed 's/.*ether //; s/ .*//')
	ip link del vxlan0
	ip link add vxlan0 mtu 1450 address $M type vxlan "$@"
	ip link set vxlan0 addrgenmode none
	echo 0 >/proc/sys/net/ipv6/conf/vxlan0/accept_ra
	echo 1 >/proc/sys/net/ipv4/conf/vxlan0/arp_ignore
	ip link set vxlan0 alias "$A" master lu-br0 up
}
L=$(ip -o -4 addr show eth0 | sed 's/.*inet //; s,/.*,,')
V=$(ip -o link show master lu-br0 type veth | sed 's/^[0-9]*: //; s/@.*//')
`

var drifts = map[string]drift{
	"veth deleted":      {script: "ip link del $V", odd: []string{"veth V absent create"}},
	"namespace emptied": {script: "ip -n container0 link del eth0", odd: []string{"veth V absent create"}},
	"namespace deleted": {script: "ip netns del container0", odd: []string{"namespace container0 absent create", "veth V absent create"}},
	"namespace made by hand": {
		script: "ip netns del container0; ip netns add container0",
		odd:    []string{"namespace container0 foreign refuse", "veth V absent create"}, mend: "ip netns del container0",
	},
	"loopback down": {script: "ip -n container0 link set lo down", odd: []string{"namespace container0 changed change lo up"}},

	"VTEP deleted":        {script: "ip link del vxlan0", odd: []string{"vtep vxlan0 absent create"}},
	"VTEP off its bridge": {script: "ip link set vxlan0 nomaster", odd: []string{"vtep vxlan0 changed change bridge"}},
	"VTEP down":           {script: "ip link set vxlan0 down", odd: []string{"vtep vxlan0 changed change up"}},
	"VTEP mtu":            {script: "ip link set vxlan0 mtu 1400", odd: []string{"vtep vxlan0 changed change mtu"}},
	"VTEP mac":            {script: "ip link set vxlan0 address 02:00:00:00:00:07", odd: []string{"vtep vxlan0 changed change mac"}},
	"VTEP speaks":         {script: "ip link set vxlan0 addrgenmode eui64", odd: []string{"vtep vxlan0 changed change quiet"}},
	"VTEP renamed": {
		script: "ip link set vxlan0 down; ip link set vxlan0 name other",
		odd:    []string{"vtep vxlan0 absent create", "vtep other stale remove"},
	},
	"VTEP vni":           {script: "anew id 7 group 239.0.0.1 local $L dev eth0 dstport 4789", odd: []string{"vtep vxlan0 changed rebuild vni"}},
	"VTEP port":          {script: "anew id 100 group 239.0.0.1 local $L dev eth0 dstport 4790", odd: []string{"vtep vxlan0 changed rebuild port"}},
	"VTEP without group": {script: "anew id 100 local $L dev eth0 dstport 4789", odd: []string{"vtep vxlan0 changed rebuild group"}},
	"VTEP group":         {script: "ip link set vxlan0 type vxlan group 239.0.0.9 dev eth0", odd: []string{"vtep vxlan0 changed rebuild group"}},
	"VTEP local":         {script: "ip link set vxlan0 type vxlan local 10.83.0.9", odd: []string{"vtep vxlan0 changed rebuild local"}},
	"VTEP device":        {script: "ip link set vxlan0 type vxlan dev lo", odd: []string{"vtep vxlan0 changed rebuild device"}},
	"VTEP learning off":  {script: "ip link set vxlan0 type vxlan nolearning", odd: []string{"vtep vxlan0 changed rebuild learning"}},

	"bridge deleted": {
		script: "ip link del lu-br0",
		odd:    []string{"vtep vxlan0 changed change bridge", "bridge lu-br0 absent create", "veth V changed change bridge"},
	},
	"bridge down":   {script: "ip link set lu-br0 down", odd: []string{"bridge lu-br0 changed change up"}},
	"bridge mtu":    {script: "ip link set lu-br0 mtu 1400", odd: []string{"bridge lu-br0 changed change mtu"}},
	"bridge mac":    {script: "ip link set lu-br0 address 02:00:00:00:00:07", odd: []string{"bridge lu-br0 changed change mac"}},
	"bridge stp":    {script: "ip link set lu-br0 type bridge stp_state 1", odd: []string{"bridge lu-br0 changed change stp"}},
	"bridge speaks": {script: "ip link set lu-br0 addrgenmode eui64", odd: []string{"bridge lu-br0 changed change quiet"}},

	"container with another address":    {script: "ip -n container0 addr add 10.1.2.3/8 dev eth0", odd: []string{"veth V changed change eth0 addresses"}},
	"container with two of the subnet":  {script: "ip -n container0 addr add 192.168.100.99/24 dev eth0", odd: []string{"veth V changed change eth0 addresses"}},
	"container with a wrong address":    {script: "ip -4 -n container0 addr flush dev eth0; ip -n container0 addr add 192.168.100.99/24 dev eth0", odd: []string{"veth V changed change eth0 addresses"}},
	"container without an address":      {script: "ip -4 -n container0 addr flush dev eth0", odd: []string{"veth V changed change eth0 addresses"}},
	"container's address, other prefix": {script: "ip -4 -n container0 addr flush dev eth0; ip -n container0 addr add 192.168.100.11/16 dev eth0", odd: []string{"veth V changed change eth0 addresses"}},
	"inner end down":                    {script: "ip -n container0 link set eth0 down", odd: []string{"veth V changed change eth0 up"}},
	"inner end renamed":                 {script: "ip -n container0 link set eth0 down; ip -n container0 link set eth0 name other", odd: []string{"veth V changed rebuild eth0"}},
	"inner end elsewhere":               {script: "ip -n container0 link set eth0 netns 1 name other", odd: []string{"veth V changed rebuild eth0"}},
	"inner end mac":                     {script: "ip -n container0 link set eth0 address 02:00:00:00:00:07", odd: []string{"veth V changed change eth0 mac"}},
	"inner end mtu":                     {script: "ip -n container0 link set eth0 mtu 1400", odd: []string{"veth V changed change eth0 mtu"}},
	"outer end down":                    {script: "ip link set $V down", odd: []string{"veth V changed change up"}},
	"outer end out of its bridge":       {script: "ip link set $V nomaster", odd: []string{"veth V changed change bridge"}},
	"outer end in another's bridge":     {script: "ip link add other type bridge; ip link set $V master other", odd: []string{"veth V changed change bridge"}, after: "ip link del other"},
	"outer end mac and mtu":             {script: "ip link set $V address 02:00:00:00:00:07 mtu 1400", odd: []string{"veth V changed change mac mtu"}},
	"outer end renamed":                 {script: "ip link set $V down; ip link set $V name other", odd: []string{"veth V absent create", "veth other stale remove"}},

	"mark of the bridge removed": {
		script: `ip -o link show lu-br0 | sed 's/.*alias //; s/ *$//' >/tmp/alias; ip link set lu-br0 alias ""`,
		odd:    []string{"bridge lu-br0 foreign refuse"}, mend: `ip link set lu-br0 alias "$(cat /tmp/alias)"; rm /tmp/alias`,
	},
	"mark of the VTEP removed": {script: `ip link set vxlan0 alias ""`, odd: []string{"vtep vxlan0 foreign refuse"}, mend: "ip link del vxlan0"},
	"mark of the veth another lab's": {
		script: `ip link set $V alias "vxorch lab=other for=cn1 by=bob@ci"`, odd: []string{"veth V foreign refuse"},
		mend: "ip link del $V",
	},
	"mark of the namespace removed": {script: `ip -n container0 link set lo alias ""`, odd: []string{"namespace container0 foreign refuse", "veth V changed rebuild eth0"}, mend: "ip netns del container0"},
	"another's VTEP with our vni": {
		script: "ip link del vxlan0; ip link add theirs type vxlan id 100 dstport 4789 dev eth0",
		odd:    []string{"vtep vxlan0 absent create", "clash  foreign refuse"}, mend: "ip link del theirs",
	},

	"intent left": {
		script: "install -d -m 700 /run/vxorch /run/vxorch/lu /run/vxorch/lu/intents; touch /run/vxorch/lu/intents/veth=gone=02:00:00:00:00:07",
		odd:    []string{"file /run/vxorch/lu/intents/veth=gone=02:00:00:00:00:07 stale remove"},
	},
	"died before the bridge was marked": {
		script: `install -d -m 700 /run/vxorch /run/vxorch/lu /run/vxorch/lu/intents; touch /run/vxorch/lu/intents/bridge=lu-br0=$(ip -o link show lu-br0 | sed 's/.*ether //; s/ .*//'); ip link set lu-br0 alias ""`,
		odd:    []string{"bridge lu-br0 half-made change marked"},
	},
	"died before the namespace was bound": {
		script: "ip netns del container0; touch /run/netns/container0; install -d -m 700 /run/vxorch /run/vxorch/lu /run/vxorch/lu/intents; touch /run/vxorch/lu/intents/namespace=container0=",
		odd:    []string{"namespace container0 half-made rebuild namespace", "veth V absent create", "file /run/netns/container0 stale remove"},
	},
	"died in the proof":                  {script: "ip addr add 192.168.100.1/24 dev lu-br0", odd: []string{"address 192.168.100.1/24 on lu-br0 stale remove"}},
	"died in the proof, VTEP gone since": {script: "ip addr add 192.168.100.1/24 dev lu-br0; ip link del vxlan0", odd: []string{"vtep vxlan0 absent create", "address 192.168.100.1/24 on lu-br0 stale remove"}},
}

const seedLab = `
lab: lu
ssh: {user: root, identity: %s, known_hosts: %s}
hosts:
  host1: {address: %s, underlay: eth0}
  host2: {address: %s, underlay: eth0}
networks:
  lu-br0: {vxlan: vxlan0, vteps: {host1: 192.168.100.1, host2: 192.168.100.2}}
containers:
  cn1: {host: host1, network: lu-br0, address: 192.168.100.11, netns: container0}
  cn2: {host: host2, network: lu-br0, address: 192.168.100.12, netns: container0}
`

// TestDriftIsNamedPlannedAndMended lets one thing after the other happen to a
// host, with what the kernel makes of it. Status names it and changes nothing,
// the plan says what status said of it, deploy mends it so that the host is as
// after a fresh deploy, and a second one changes nothing.
func TestDriftIsNamedPlannedAndMended(t *testing.T) {
	tr := newTrial(t, "drift")
	hosts := tr.box.Hosts()
	file := filepath.Join(t.TempDir(), "lab.yaml")
	text := fmt.Sprintf(seedLab, tr.box.Identity(), tr.box.KnownHosts(), hosts[0].Address, hosts[1].Address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := driftTrial{trial: tr, file: file}
	if r := d.result(t, 0, "deploy"); r.Changed != 8 {
		t.Fatalf("fresh deploy changed %d objects, want 8", r.Changed)
	}
	d.fresh = d.standing(t)
	d.veth = regexp.MustCompile(`(?m)^cn1-\w+`).FindString(d.fresh)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range drifts {
			if !yield(name) {
				return
			}
		}
	}) {
		if !t.Run(name, func(t *testing.T) { d.happens(t, drifts[name]) }) {
			d.reset()
		}
	}
	t.Run("host rebooted", func(t *testing.T) {
		if err := tr.box.Reboot(t.Context(), "host1"); err != nil {
			t.Fatal(err)
		}
		r := d.result(t, 3, "status")
		if !r.Hosts[0].Rebooted || r.Hosts[1].Rebooted {
			t.Errorf("rebooted: %t and %t, want host1 alone", r.Hosts[0].Rebooted, r.Hosts[1].Rebooted)
		}
		d.mended(t, []string{"vtep vxlan0 absent create", "bridge lu-br0 absent create", "namespace container0 absent create", "veth V absent create"})
	})
}

type driftTrial struct {
	*trial
	file  string // inventory
	fresh string // host1 as after a fresh deploy
	veth  string // cn1's
}

func (d *driftTrial) happens(t *testing.T, c drift) {
	d.onHost(t, c.script)
	if c.mend == "" {
		d.mended(t, c.odd)
	} else {
		d.refused(t, c.odd)
		d.onHost(t, c.mend)
		d.result(t, 0, "deploy")
	}
	if c.after != "" {
		d.onHost(t, c.after)
	}
	if diff := cmp.Diff(strings.Split(d.fresh, "\n"), strings.Split(d.standing(t), "\n")); diff != "" {
		t.Errorf("host1 is not as after a fresh deploy (-fresh +now):\n%s", diff)
	}
	if r := d.result(t, 0, "deploy"); r.Changed != 0 {
		t.Errorf("a second deploy changed %d objects, want none", r.Changed)
	}
}

// mended holds that status and plan name what is odd and deploy mends it.
func (d *driftTrial) mended(t *testing.T, odd []string) {
	d.names(t, odd)
	var planned struct {
		Phases []struct {
			Hosts []struct {
				Name  string
				Steps []struct{ Op, Kind, Name string }
			}
		}
	}
	d.json(t, 0, "plan", &planned)
	ops := map[string]string{} // of an object the first
	for _, phase := range planned.Phases {
		for _, host := range phase.Hosts {
			for _, s := range host.Steps {
				if key := s.Kind + " " + s.Name; host.Name == "host1" && s.Kind != hostapi.KindAddress && ops[key] == "" {
					ops[key] = s.Op
				}
			}
		}
	}
	want := map[string]string{}
	for _, line := range odd {
		words := strings.Fields(strings.Replace(line, " V ", " "+d.veth+" ", 1))
		if words[0] != "file" && words[0] != hostapi.KindAddress {
			want[words[0]+" "+words[1]] = words[3]
		}
	}
	if diff := cmp.Diff(want, ops); diff != "" {
		t.Errorf("plan for host1 (-want +got):\n%s", diff)
	}
	d.result(t, 0, "deploy")
}

// refused holds that status names what is odd and deploy refuses.
func (d *driftTrial) refused(t *testing.T, odd []string) {
	d.names(t, odd)
	before := d.standing(t)
	if r := d.result(t, 1, "deploy"); r.Changed != 0 || r.Hosts[0].Result != report.Failed || r.Hosts[0].Hint == "" {
		t.Errorf("deploy changed %d, host1 %s, hint %q; want nothing changed, failed, a hint", r.Changed, r.Hosts[0].Result, r.Hosts[0].Hint)
	}
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(d.standing(t), "\n")); diff != "" {
		t.Errorf("a refused deploy changed host1 (-before +after):\n%s", diff)
	}
}

// names holds that status finds what is odd, and nothing else.
func (d *driftTrial) names(t *testing.T, odd []string) {
	var got, want []string
	for _, o := range d.result(t, 3, "status").Objects {
		if o.State == report.OK {
			continue
		}
		words := []string{o.Kind, o.Name, o.State, o.Deploy}
		for _, c := range o.Changes {
			words = append(words, c.Property)
		}
		if o.Host != "host1" {
			words = append(words, "on", o.Host)
		}
		got = append(got, strings.Join(words, " "))
	}
	for _, line := range odd {
		want = append(want, strings.Replace(line, " V ", " "+d.veth+" ", 1))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

// result runs a verb and gives its JSON.
func (d *driftTrial) result(t *testing.T, code int, verb string) report.Result {
	t.Helper()
	var r report.Result
	d.json(t, code, verb, &r)
	return r
}

func (d *driftTrial) json(t *testing.T, code int, verb string, into any) {
	t.Helper()
	file := filepath.Join(t.TempDir(), verb+".json")
	if got, out := d.run(d.bin, verb, "-f", "json", "-o", file, d.file); got != code {
		t.Fatalf("vxorch %s: exit %d, want %d\n%s", verb, got, code, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// reset brings the lab back after a case that failed, so that the next one tells
// of itself.
func (d *driftTrial) reset() {
	d.run(d.bin, "destroy", "--yes", d.file)
	var out bytes.Buffer
	_, _ = d.box.HostExec(d.t.Context(), "host1", []string{"sh", "-c",
		"for l in vxlan0 lu-br0 other theirs " + d.veth + "; do ip link del $l; done; ip netns del container0; rm -rf /run/vxorch /run/netns/container0"}, strings.NewReader(""), &out, &out)
	d.run(d.bin, "deploy", d.file)
}

func (d *driftTrial) onHost(t *testing.T, script string) string {
	t.Helper()
	var out bytes.Buffer
	code, err := d.box.HostExec(t.Context(), "host1", []string{"sh", "-ec", anew + script}, strings.NewReader(""), &out, &out)
	if code != 0 || err != nil {
		t.Fatalf("%s: exit %d, %v\n%s", script, code, err, out.String())
	}
	return out.String()
}

// passing is what of a standing lab's state comes and goes, or depends on the
// order in which things were made.
var passing = regexp.MustCompile(`(hello|tcn|topology_change|gc|message_age|forward_delay|hold|mcast_\w+)_timer +[\d.]+|@if\d+|link-netnsid \d+|fdb_n_learned \d+| tentative|(port_id|port_no|designated_port|designated_cost|root_port) +\S+`)

// standing is host1 with what is in its container, line by line, sorted.
func (d *driftTrial) standing(t *testing.T) string {
	t.Helper()
	inside := d.onHost(t, "ip -n container0 -d -o link | sed 's/^[0-9]*: //' 2>&1; ip -n container0 -o addr | sed 's/^[0-9]*: /inside /' 2>&1; ip -n container0 route; true")
	lines := strings.Split(passing.ReplaceAllString(d.snapshot("host1")+inside, ""), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
