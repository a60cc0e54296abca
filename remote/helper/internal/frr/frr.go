// Package frr keeps one lab's control plane on this machine: a zebra and a bgpd of
// FRRouting of the lab's own, beside whatever else runs here. Their configuration
// comes ready-made; what they do to the kernel's tables is theirs alone.
//
// All of it is in one directory below the lab's, by which files and processes are
// known to be the lab's:
//
//	frr/           root's, 0711
//	frr/mark       whose it is, written last
//	frr/bgpd.conf  0600, of FRR's user, since daemons read it without root's rights
//	frr/run/       of FRR's user: sockets and pid files
package frr
