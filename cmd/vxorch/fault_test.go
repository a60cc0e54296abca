package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/history"
	"vxorch/orchestrator/images"
	"vxorch/orchestrator/report"
	"vxorch/remote"
	"vxorch/remote/hostapi"
	"vxorch/remote/sandbox"
)

// faultLabText has three networks, one of each way of flooding, and a container on
// each of three hosts with a leg in each.
const faultLabText = `
lab: lu
ssh: {user: root, identity: %s, known_hosts: %s}
hosts:
  host1: {address: %s, underlay: eth0}
  host2: {address: %s, underlay: eth0}
  host3: {address: %s, underlay: eth0}
networks:
  lu-br0: {vni: 100, vxlan: vxlan0, subnet: 192.168.100.0/24}
  un-br0: {vni: 101, vxlan: vxlan1, subnet: 192.168.101.0/24, flood: unicast}
  st-br0: {vni: 102, vxlan: vxlan2, subnet: 192.168.102.0/24, flood: static}
containers:
  cn1: {host: host1, netns: container0, interfaces: [{network: lu-br0, address: 192.168.100.11}, {network: un-br0}, {network: st-br0}]}
  cn2: {host: host2, netns: container0, interfaces: [{network: lu-br0, address: 192.168.100.12}, {network: un-br0}, {network: st-br0}]}
  cn3: {host: host3, netns: container0, interfaces: [{network: lu-br0, address: 192.168.100.13}, {network: un-br0}, {network: st-br0}]}
`

// faultScript is what the scripts of faults have: L, N and T are the veths' outer
// ends in the three networks, H1 to H3 the hosts, M1 and M2 the MACs in lu-br0 and
// S2 the one in st-br0. quiet forgets what a container knows of its neighbours.
const faultScript = anew + `
L=$(ip -o -4 addr show eth0 | sed 's/.*inet //; s,/.*,,')
quiet() { ip -n container0 neigh flush all; }
`

// fault is something that is wrong on a host, for real.
type fault struct {
	name string
	on   string // hosts; empty: the underlay
	do   string
	undo string // empty: a deploy alone mends it
	// anew: a deploy makes again what the fault took away.
	anew bool
	// finds are "LAYER HOST" of all that is found.
	finds []string
	// quiet: everywhere the containers forget their neighbours first.
	quiet bool
}

var faults = []fault{
	{name: "UDP 4789 dropped on the way in", on: "host2", finds: []string{"firewall host2"},
		do:   "nft add table inet t; nft 'add chain inet t in { type filter hook input priority 0; }'; nft add rule inet t in udp dport 4789 counter drop",
		undo: "nft delete table inet t"},
	{name: "UDP 4789 dropped on the way out", on: "host2", finds: []string{"firewall host2"},
		do:   "nft add table inet t; nft 'add chain inet t out { type filter hook output priority 0; }'; nft add rule inet t out udp dport 4789 drop",
		undo: "nft delete table inet t"},
	{name: "multicast dropped", finds: []string{"multicast "}, quiet: true,
		do:   "for p in host1 host2 host3; do bridge link set dev $p mcast_flood off; done",
		undo: "for p in host1 host2 host3; do bridge link set dev $p mcast_flood on; done"},
	{name: "underlay of smaller mtu", finds: []string{"mtu host2"}, do: "ip link set host2 mtu 1400", undo: "ip link set host2 mtu 1500"},
	{name: "no route to the tunnel end", on: "host1", finds: []string{"underlay host1"}, do: "ip route add unreachable $H2", undo: "ip route del unreachable $H2"},
	{name: "wrong VNI", on: "host1", finds: []string{"vtep host1"}, do: "anew id 7 group 239.0.0.1 local $L dev eth0 dstport 4789"},
	{name: "wrong port", on: "host2", finds: []string{"vtep host2"}, do: "anew id 100 group 239.0.0.1 local $L dev eth0 dstport 4790"},
	{name: "missing flood entries", on: "host1 host2", finds: []string{"fdb host1", "fdb host2"}, quiet: true,
		do: "for h in $H1 $H2; do [ $h = $L ] || bridge fdb del 00:00:00:00:00:00 dev vxlan1 dst $h; done"},
	{name: "wrong FDB entry", on: "host1", finds: []string{"fdb host1"}, do: "bridge fdb replace $S2 dev vxlan2 dst $H3 self permanent"},
	{name: "missing FDB entry", on: "host3", finds: []string{"fdb host3"}, do: "bridge fdb del $S2 dev vxlan2 dst $H2 self"},
	{name: "bridge's entry at a wrong port", on: "host1", finds: []string{"fdb host1"},
		do: "bridge fdb replace $M2 dev $V0 master static sticky", undo: "bridge fdb del $M2 dev $V0 master"},
	{name: "VTEP down", on: "host3", finds: []string{"vtep host3"}, do: "ip link set vxlan0 down"},
	{name: "VTEP out of its bridge", on: "host3", finds: []string{"bridge host3"}, do: "ip link set vxlan1 nomaster"},
	{name: "bridge down", on: "host1", finds: []string{"bridge host1"}, do: "ip link set lu-br0 down"},
	{name: "veth out of its bridge", on: "host1", finds: []string{"bridge host1"}, do: "ip link set $V0 nomaster"},
	{name: "container interface down", on: "host2", finds: []string{"endpoint host2"}, do: "ip -n container0 link set eth0 down"},
	{name: "wrong address", on: "host2", finds: []string{"endpoint host2"},
		do: "ip -n container0 addr del 192.168.100.12/24 dev eth0; ip -n container0 addr add 192.168.100.99/24 dev eth0"},
	{name: "duplicate address", on: "host1", finds: []string{"endpoint host1"},
		do: `ip netns add dup; ip link add dup0 master lu-br0 type veth peer name eth0 netns dup; ip link set dup0 up
ip netns exec dup sysctl -qw net.ipv4.icmp_echo_ignore_all=1
ip -n dup link set eth0 up; ip -n dup addr add 192.168.100.12/24 dev eth0; quiet`,
		undo: "ip netns del dup; ip link del dup0 2>/dev/null || true; quiet"},
	{name: "duplicate MAC", on: "host2", finds: []string{"endpoint host2"}, do: "ip -n container0 link set eth0 address $M1"},
	{name: "bridge-nf-call-iptables with a FORWARD drop", on: "host2", finds: []string{"netfilter host2"},
		do:   "sysctl -qw net.bridge.bridge-nf-call-iptables=1; iptables -P FORWARD DROP",
		undo: "sysctl -qw net.bridge.bridge-nf-call-iptables=0; iptables -P FORWARD ACCEPT"},
	{name: "the same with legacy iptables", on: "host1", finds: []string{"netfilter host1"},
		do:   "sysctl -qw net.bridge.bridge-nf-call-iptables=1; iptables-legacy -P FORWARD DROP",
		undo: "sysctl -qw net.bridge.bridge-nf-call-iptables=0; iptables-legacy -P FORWARD ACCEPT"},
	{name: "bridges joined by a veth", on: "host1", finds: []string{"bridge host1"},
		do:   "ip link add leak0 type veth peer name leak1; ip link set leak0 master lu-br0 up; ip link set leak1 master un-br0 up",
		undo: "ip link del leak0"},
	{name: "another network's VNI in a bridge", on: "host3", finds: []string{"bridge host3", "vtep host3"}, undo: "ip link del hand", anew: true,
		do: `ip link del vxlan1; ip link add hand type vxlan id 101 local $L dev eth0 dstport 4789
for h in $H1 $H2; do bridge fdb append 00:00:00:00:00:00 dev hand dst $h; done; ip link set hand master lu-br0 up`},
	{name: "VNIs of two networks mixed up", on: "host3", finds: []string{"vtep host3"},
		do: `ip link del vxlan1; anew id 101 local $L dev eth0 dstport 4789
for h in $H1 $H2; do bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst $h; done`},
	{name: "rp_filter on an asymmetric path", on: "host2", finds: []string{"reverse-path host2"},
		do: `ip link add asym type veth peer name asymp; ip link set asym up; ip link set asymp up; ip addr add 10.99.0.1/24 dev asym
ip route add $H1 dev asym; sysctl -qw net.ipv4.conf.all.rp_filter=1`,
		undo: "ip link del asym; sysctl -qw net.ipv4.conf.all.rp_filter=0"},
}

// TestFaultsAreNamed is the fault laboratory: one thing after the other goes wrong
// on real hosts, verify says what and where, with its proof, and when it is mended
// there is nothing to say. It prints the table that the README has.
func TestFaultsAreNamed(t *testing.T) {
	needRoot(t)
	newFaultLab(t, sandbox.Options{Hosts: 3}, faultLabText).names(t, faults)
}

// names has the faults happen, and holds that each is named.
func (l *faultLab) names(t *testing.T, faults []fault) {
	if o := l.control.Deploy(t.Context(), l.lab, agreed); len(o.Errs) > 0 || o.Result.Result != report.Pass || len(o.Result.Findings) > 0 {
		t.Fatalf("deploy: %s, %v, findings %+v", o.Result.Result, o.Errs, o.Result.Findings)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var table []string
	for _, f := range faults {
		layer, host, _ := strings.Cut(f.finds[0], " ")
		if row := fmt.Sprintf("\n| %s | %s on %s: ", f.name, layer, cmp.Or(host, "all hosts")); !strings.Contains(string(readme), row) {
			t.Errorf("README has no row %q", row)
		}
		t.Run(f.name, func(t *testing.T) {
			if f.quiet {
				for _, h := range l.box.Hosts() {
					l.run(t, h.Name, "quiet")
				}
			}
			l.run(t, f.on, f.do)
			o := l.control.Verify(t.Context(), l.lab)
			found := []string{}
			for _, x := range o.Result.Findings {
				found = append(found, x.Layer+" "+x.Host)
				table = append(table, fmt.Sprintf("| %s | %s on %s: %s | %s |", f.name, x.Layer, cmp.Or(x.Host, "all hosts"), x.Cause, x.Proof))
				if x.Cause == "" || x.Proof == "" || x.Mend == "" || len(x.Probes) == 0 {
					t.Errorf("finding %+v, want a cause, a proof, what mends it and its probes", x)
				}
			}
			if slices.Sort(found); !slices.Equal(slices.Compact(found), f.finds) || len(o.Errs) > 0 {
				t.Errorf("found %q, want %q; errors %v\n%s", found, f.finds, o.Errs, text(o.Result))
			}
			l.mend(t, f)
		})
	}
	t.Logf("\n%s", strings.Join(table, "\n"))
}

// text is a result as people read it.
func text(r *report.Result) string {
	var out strings.Builder
	_ = report.WriteText(&out, r, report.TextOptions{})
	return out.String()
}

// faultLab is a lab on sandbox hosts in which things go wrong.
type faultLab struct {
	box     *sandbox.Sandbox
	lab     *inventory.Lab
	control *orchestrator.Controller
	head    string // of every script
	mended  string // what each host waits for by a script, once a fault is undone
}

// newFaultLab makes the lab of text, a format for the key, the known hosts and the
// hosts' addresses.
func newFaultLab(t *testing.T, o sandbox.Options, text string) *faultLab {
	o.Name, o.Owner = fmt.Sprintf("t%d-faults", os.Getpid()), os.Getpid()
	box, err := sandbox.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	hosts := box.Hosts()
	values := []any{box.Identity(), box.KnownHosts()}
	for _, h := range hosts {
		values = append(values, h.Address)
	}
	lab, err := inventory.Parse("lab.yaml", fmt.Appendf(nil, text, values...))
	if err != nil {
		t.Fatal(err)
	}
	l := &faultLab{box: box, lab: lab, head: faultScript}
	for i, h := range hosts {
		l.head += fmt.Sprintf("H%d=%s\n", i+1, h.Address)
	}
	for i, c := range lab.Containers {
		l.head += fmt.Sprintf("M%d=%s S%d=%s\n", i+1, c.Interfaces[0].MAC, i+1, c.Interfaces[len(c.Interfaces)-1].MAC)
	}
	l.control = &orchestrator.Controller{
		Dial: func(ctx context.Context, h inventory.Host) (hostapi.Host, error) {
			return remote.Dial(ctx, target(h), remote.Options{User: "root", Home: t.TempDir(), Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
				return box.Dial(ctx, network, address)
			}})
		},
		Resolve: resolve, User: "tester", Machine: "here", History: history.Store{Root: t.TempDir()}, Images: images.Cache{Dir: t.TempDir()}, Parallel: 64, Now: time.Now,
	}
	return l
}

// run runs a script on hosts, or where the underlay is.
func (l *faultLab) run(t *testing.T, hosts, script string) {
	t.Helper()
	var out bytes.Buffer
	if hosts == "" {
		if code, err := l.box.Exec(t.Context(), []string{"sh", "-ec", script}, strings.NewReader(""), &out, &out); code != 0 || err != nil {
			t.Fatalf("%s: exit %d, %v\n%s", script, code, err, out.String())
		}
	}
	for _, host := range strings.Fields(hosts) {
		head := l.head
		for _, c := range l.lab.Containers {
			if c.Host == host {
				head += fmt.Sprintf("V0=%s\n", c.Interfaces[0].Link)
			}
		}
		if code, err := l.box.HostExec(t.Context(), host, []string{"sh", "-ec", head + script}, strings.NewReader(""), &out, &out); code != 0 || err != nil {
			t.Fatalf("%s on %s: exit %d, %v\n%s", script, host, code, err, out.String())
		}
	}
}

// mend undoes a fault and holds that nothing is found any more.
func (l *faultLab) mend(t *testing.T, f fault) {
	if f.undo != "" {
		l.run(t, f.on, f.undo)
	}
	if f.undo == "" || f.anew {
		if o := l.control.Deploy(t.Context(), l.lab, agreed); len(o.Errs) > 0 || o.Result.Changed == 0 {
			t.Fatalf("deploy: %d changed, %v; want the fault mended", o.Result.Changed, o.Errs)
		}
	}
	// What containers and bridges have learned of it goes by itself, later.
	for _, h := range l.box.Hosts() {
		l.run(t, h.Name, l.mended)
		l.run(t, h.Name, "quiet 2>/dev/null || true; for b in lu-br0 un-br0; do bridge fdb flush dev $b 2>/dev/null || true; done")
	}
	o := l.control.Verify(t.Context(), l.lab)
	if len(o.Errs) > 0 || o.Result.Result != report.Pass || len(o.Result.Findings) > 0 {
		t.Fatalf("mended: %v\n%s", o.Errs, text(o.Result))
	}
}
