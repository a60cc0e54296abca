package hostapi

import (
	"cmp"
	"fmt"
	"time"
)

// LockedError says that h holds lab's lock. The time is shown in UTC, since the
// holder's controller may stand elsewhere.
func LockedError(lab string, h Holder) *Error {
	return &Error{
		Kind: KindLocked,
		Message: fmt.Sprintf("lab %q is locked by %s@%s: %s, since %s UTC",
			lab, h.User, h.Controller, h.Verb, h.Since.UTC().Format(time.DateTime)),
		Hint:   "wait for that run to end or stop it; the lock goes with the process that holds it",
		Holder: &h,
	}
}

// SilentError is LockedError of a holder whose controller gave no sign of life
// for silent: the lock ends when that has lasted for lease. Where it is a sign
// or two that are missing, the connection is most likely lost.
func SilentError(lab string, h Holder, silent, lease time.Duration) *Error {
	e := LockedError(lab, h)
	left := (lease - silent).Round(time.Second)
	if left < time.Second {
		left = time.Second // it ends on its own account, at any moment
	}
	e.Message += fmt.Sprintf("; its connection seems lost: nothing came for %s", silent.Round(time.Second))
	e.Hint = fmt.Sprintf("its lease ends in %s: run this again then", left)
	return e
}

// Before tells which of two runs that want a lab at the same instant is to have
// it, the same for both of them: the one that was begun first.
func (h Holder) Before(other Holder) bool {
	return cmp.Or(h.Since.Compare(other.Since), cmp.Compare(h.Run, other.Run)) < 0
}
