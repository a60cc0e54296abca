package main

import (
	"testing"

	"vxorch/remote/sandbox"
)

// evpnLabText is a network by BGP EVPN, its reflectors host1 and host2.
const evpnLabText = `
lab: lu
ssh: {user: root, identity: %s, known_hosts: %s}
hosts:
  host1: {address: %s, underlay: eth0}
  host2: {address: %s, underlay: eth0}
  host3: {address: %s, underlay: eth0}
networks:
  lu-br0: {vni: 100, vxlan: vxlan0, subnet: 192.168.100.0/24, flood: evpn}
containers:
  cn1: {host: host1, netns: container0, network: lu-br0, address: 192.168.100.11}
  cn2: {host: host2, netns: container0, network: lu-br0, address: 192.168.100.12}
  cn3: {host: host3, netns: container0, network: lu-br0, address: 192.168.100.13}
`

// bgp has the lab's bgpd run commands; learnt waits until the VTEP knows both others,
// which know it, too, or are about to; lost until it knows none.
const bgp = `
bgp() { vtysh --vty_socket /run/vxorch/lu/frr/run "$@"; }
router() { bgp -c 'configure terminal' -c 'router bgp 65000' "$@"; }
await() { for i in $(seq 600); do [ $(bridge fdb show dev vxlan0 | grep -c 00:00:00:00:00:00) = $1 ] && return; sleep 0.1; done; return 1; }
learnt() { await 2; }
lost() { await 0; }
`

var evpnFaults = []fault{
	{name: "TCP 179 dropped", on: "host3", finds: []string{"bgp host3"}, quiet: true,
		do:   bgp + "nft add table inet t; nft 'add chain inet t in { type filter hook input priority 0; }'; nft add rule inet t in tcp sport 179 counter drop; bgp -c 'clear bgp *'; lost",
		undo: bgp + "nft delete table inet t; learnt"},
	{name: "wrong BGP password", on: "host3", finds: []string{"bgp host3"}, quiet: true,
		do: bgp + "router -c 'neighbor reflectors password open'; lost", undo: bgp + "router -c 'no neighbor reflectors password'; learnt"},
	{name: "wrong BGP number", on: "host3", finds: []string{"bgp host3"}, quiet: true,
		do: bgp + "router -c 'neighbor reflectors remote-as 65001'; lost", undo: bgp + "router -c 'neighbor reflectors remote-as 65000'; learnt"},
	{name: "BGP daemons dead", on: "host3", finds: []string{"bgp host3"}, quiet: true, do: "kill -9 $(pidof bgpd-vxorch-lu); sleep 1; kill -9 $(pidof zebra-vxorch-lu)"},
	{name: "VNI not told of", on: "host2", finds: []string{"bgp host2"}, quiet: true,
		do:   bgp + "router -c 'address-family l2vpn evpn' -c 'no advertise-all-vni'; lost",
		undo: bgp + "router -c 'address-family l2vpn evpn' -c 'advertise-all-vni'; learnt"},
	{name: "BGP routes filtered", on: "host3", finds: []string{"bgp host3"}, quiet: true,
		do: bgp + "bgp -c 'configure terminal' -c 'route-map none deny 1'; router -c 'address-family l2vpn evpn' -c 'neighbor reflectors route-map none in'; lost"},
	{name: "BGP route without flood entry", on: "host1 host2", finds: []string{"fdb host1", "fdb host2"}, quiet: true,
		do: "kill -STOP $(pidof zebra-vxorch-lu); for h in $H1 $H2; do [ $h = $L ] || bridge fdb del 00:00:00:00:00:00 dev vxlan0 dst $h; done"}, // zebra would put it back
	{name: "wrong VNI of a VTEP by EVPN", on: "host1", finds: []string{"vtep host1"}, do: "anew id 7 local $L dev eth0 dstport 4789 nolearning"},
}

// TestEVPNFaultsAreNamed is the fault laboratory of networks by BGP EVPN.
func TestEVPNFaultsAreNamed(t *testing.T) {
	needRoot(t)
	l := newFaultLab(t, sandbox.Options{Hosts: 3}, evpnLabText)
	l.mended = bgp + "learnt"
	l.names(t, evpnFaults)
}
