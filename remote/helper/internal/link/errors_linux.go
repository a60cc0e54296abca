package link

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

func invalid(format string, args ...any) error {
	return hostapi.Errorf(hostapi.KindInvalid, "", format, args...)
}

func foreign(format string, args ...any) error {
	return hostapi.Errorf(hostapi.KindForeign, "choose another name in the inventory, or remove it if nobody needs it", format, args...)
}

// classify gives the kernel's errors the kinds that the controller tells apart.
// An error that has one keeps it.
func classify(err error) error {
	if e := new(hostapi.Error); errors.As(err, &e) {
		return err
	}
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &hostapi.Error{Kind: hostapi.KindPermission, Message: err.Error(), Hint: "log in as root, or as a user who may use sudo"}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		return &hostapi.Error{Kind: hostapi.KindInvalid, Message: err.Error()}
	}
	return err
}

// unsupported explains err if it means that the kernel does not know links of
// that kind and could not load the module that does.
func unsupported(err error, kind string) error {
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	return &hostapi.Error{
		Kind:    hostapi.KindUnsupported,
		Message: fmt.Sprintf("this host's kernel cannot make a %s: %v", kind, err),
		Hint:    "modprobe " + linkKind(kind),
	}
}
