// Package virt makes, inspects and removes one lab's libvirt networks and
// domains on this machine, and keeps the images and disks that the domains
// stand on. It speaks to libvirt's daemon over its local socket. What happens
// inside a guest is not its business: it hands out the serial console and calls
// back while a domain is paused at its start.
//
// Networks and domains carry the lab's mark in their <metadata>, so that an
// object and its mark come into being in one act. Files are marked by their
// place: the lab's own directory in the store.
package virt
