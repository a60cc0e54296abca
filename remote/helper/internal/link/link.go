// Package link makes, inspects and removes one lab's kernel network objects on
// this machine: VTEPs, bridges, veth pairs, named namespaces and addresses. It
// talks netlink, to the kernel only. What should be there it is told; which
// objects are the lab's, package own tells.
package link
