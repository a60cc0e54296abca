package main

import (
	"strings"
	"testing"

	"vxorch/remote/sandbox"
	"vxorch/remote/sandbox/guesttest"
)

// guestLabText has a container on one host and a VM on the other. Nobody can log in
// on the VM's console: no time goes by in tries to.
const guestLabText = `
lab: lu
ssh: {user: root, identity: %s, known_hosts: %s}
hosts:
  host1: {address: %s, underlay: eth0}
  host2: {address: %s, underlay: eth0}
networks:
  lu-br0: {vni: 100, vxlan: vxlan0, subnet: 192.168.100.0/24}
containers:
  cn1: {host: host1, netns: container0, address: 192.168.100.11}
images:
  cirros: {file: IMAGE}
vms:
  vm2: {host: host2, memory: 128MiB, graphics: none, address: 192.168.100.22}
`

var guestFaults = []fault{
	{name: "guest that hangs", on: "host2", finds: []string{"guest host2"},
		do: "kill -STOP $(cat /run/libvirt/qemu/lu-vm2.pid)", undo: "kill -CONT $(cat /run/libvirt/qemu/lu-vm2.pid)"},
	{name: "VM paused", on: "host2", finds: []string{"guest host2"}, do: "virsh -q suspend lu-vm2", undo: "virsh -q resume lu-vm2"},
	{name: "VM switched off", on: "host2", finds: []string{"guest host2"}, do: "virsh -q destroy lu-vm2"},
}

// TestGuestsThatAreNotUpAreNamed is the part of the fault laboratory that needs VMs.
func TestGuestsThatAreNotUpAreNamed(t *testing.T) {
	needRoot(t)
	text := strings.Replace(guestLabText, "IMAGE", guesttest.Image(t), 1)
	newFaultLab(t, sandbox.Options{Hosts: 2, Libvirt: true}, text).names(t, guestFaults)
}
