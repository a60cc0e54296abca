// Package frr keeps one lab's control plane on this machine: a zebra and a bgpd of
// FRRouting of the lab's own, beside whatever else runs here. Their configuration
// comes ready-made; what they do to the kernel's tables is theirs alone.
//
// Its files are in one directory below the lab's, by which they and the processes are
// known to be the lab's:
//
//	frr/            root's, 0711
//	frr/mark        whose it is, written last
//	frr/zebra.conf  0600, of FRR's user, since daemons read it without root's rights
//	frr/bgpd.conf   the same
//	frr/port        the same, the TCP port that bgpd was started with
//	frr/NAME        symbolic links to the programs, by which daemons are called after the lab
//	frr/run/        of FRR's user: sockets and pid files
//
// Or it is a part of the FRR that the host runs by itself, told to the bgpd of that
// and in no file of its. Then there are, root's, 0600:
//
//	frr/mark, frr/port
//	frr/bgpd.conf   what it was told
//	frr/shared      what of it others may use, too, and came with a lab
//	frr/part        digest of it as bgpd shows it, by which is seen that it is still so
//
// Outside of it are, of daemons of its own, their transient units where systemd runs,
// which end with them, and /run/frr and /var/tmp/frr, which daemons make whatever they
// are told: both go with the last lab's FRR if they came with one and nobody else uses
// them.
package frr
