package hostapi

import (
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
		Hint: "wait for that run to end or stop it; the lock goes with the process that holds it",
	}
}
