// Package libvirt calls libvirt's daemon on this machine: the few procedures of
// its remote protocol that vxorch needs, by libvirt's own names. What they mean
// and which XML they take is libvirt's to say; what to call when is the caller's.
//
// It is here for its size. github.com/digitalocean/go-libvirt imports SSH and TLS
// to reach daemons elsewhere, a seventh of the helper, which every new host waits
// for; and it takes the length of a packet on trust.
//
// The protocol: https://libvirt.org/kbase/internals/rpc.html, and its procedures
// src/remote/remote_protocol.x in libvirt's source. It is stable: procedures are
// added and never changed.
package libvirt

// Domain is a VM, defined or running.
type Domain struct {
	Name string
	UUID [16]byte
	ID   uint32 // of a running one
}

// Network is a virtual network.
type Network struct {
	Name string
	UUID [16]byte
}

// DomainState says whether a domain runs.
type DomainState uint32

// The states of a domain: virDomainState.
const (
	DomainRunning     DomainState = 1
	DomainBlocked     DomainState = 2
	DomainPaused      DomainState = 3
	DomainShutdown    DomainState = 4
	DomainShutoff     DomainState = 5
	DomainCrashed     DomainState = 6
	DomainPmsuspended DomainState = 7
)

// Flags of DomainCreateWithFlags, DomainUndefineFlags and DomainOpenConsole.
const (
	DomainStartPaused = 1 << 0

	DomainUndefineManagedSave       = 1 << 0
	DomainUndefineSnapshotsMetadata = 1 << 1
	DomainUndefineNvram             = 1 << 2

	DomainConsoleSafe = 1 << 1 // only where nobody else holds it
)

// ErrorNumber is libvirt's code of an error: virErrorNumber.
type ErrorNumber uint32

// The errors that callers ask for.
const (
	ErrNoSupport            ErrorNumber = 3
	ErrNoConnect            ErrorNumber = 5
	ErrOperationDenied      ErrorNumber = 29
	ErrNoDomain             ErrorNumber = 42
	ErrNoNetwork            ErrorNumber = 43
	ErrAuthFailed           ErrorNumber = 45
	ErrOperationInvalid     ErrorNumber = 55
	ErrConfigUnsupported    ErrorNumber = 67
	ErrOperationUnsupported ErrorNumber = 84
	ErrAccessDenied         ErrorNumber = 88
)

// Error is what the daemon answers to a call that failed.
type Error struct {
	Code    ErrorNumber
	Message string
}

func (e Error) Error() string { return e.Message }
