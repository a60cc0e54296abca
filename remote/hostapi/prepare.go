package hostapi

import "context"

// Preparer is a Host whose machine can be brought to run its part of a lab. What
// it does outlives labs and needs no lock of theirs.
type Preparer interface {
	// Missing tells what the machine lacks. It changes nothing. The error is
	// ErrUnsupported if something is missing and nobody knows how to get it.
	Missing(ctx context.Context, req PrepareRequest) (Preparation, error)
	// Prepare installs and starts what Missing tells, and tells what it did and
	// what is left to do by hand. Of a complete machine it changes nothing. An
	// installation once begun goes on to its end, whatever becomes of ctx.
	Prepare(ctx context.Context, req PrepareRequest) (Preparation, error)
}

// PrepareRequest is a machine's part of a lab. Containers need nothing.
type PrepareRequest struct {
	Libvirt bool `json:"libvirt"`       // VMs: libvirt and QEMU
	FRR     bool `json:"frr,omitempty"` // networks by EVPN: FRRouting
}

// Preparation is what a machine lacks, or what was done about it.
type Preparation struct {
	Manager  string   `json:"manager"`            // of packages: apt or dnf; empty: none was needed
	Packages []string `json:"packages,omitempty"` // to install, by the manager's names
	Units    []string `json:"units,omitempty"`    // of systemd, to enable and start
	Daemons  []string `json:"daemons,omitempty"`  // commands to be run by hand, since no systemd runs here
	Notes    []string `json:"notes,omitempty"`    // what else is worth knowing
}

// Empty tells whether there is nothing to do.
func (p Preparation) Empty() bool {
	return len(p.Packages) == 0 && len(p.Units) == 0 && len(p.Daemons) == 0
}

// Cleaner is a Host whose machine can be rid of what helpers keep for later.
type Cleaner interface {
	// Clean removes what no lab and no session uses: base images, and helpers but
	// the one that runs. It tells the paths that it removed, also where the
	// error is not nil.
	Clean(ctx context.Context) (removed []string, err error)
}
