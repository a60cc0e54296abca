package hostapi

import (
	"errors"
	"fmt"
)

// Kind classifies an Error. The numbers travel over the wire and never change
// their meaning.
type Kind uint8

// The kinds of errors. Zero is not a kind.
const (
	KindInternal    Kind = 1  // anything without a kind of its own
	KindInvalid     Kind = 2  // the request makes no sense
	KindForeign     Kind = 3  // the object exists and does not carry this lab's mark
	KindLocked      Kind = 4  // another holds the lab's lock
	KindNotLocked   Kind = 5  // Apply without the lock
	KindUnsupported Kind = 6  // the host's kernel or software lacks what is needed
	KindBusy        Kind = 7  // a resource is taken: a UDP port, a VNI
	KindPermission  Kind = 8  // the user on the host may not
	KindCanceled    Kind = 9  // the caller gave up
	KindLost        Kind = 10 // the connection or the helper ended
	KindUnreachable Kind = 11 // no connection to the host, or from there to a probe's target
	KindAuth        Kind = 12 // the host refused every key
	KindHostKey     Kind = 13 // the host's key is unknown or changed
	KindHelper      Kind = 14 // the helper could not be brought up
)

// Error is a failure on or towards one host. It does not name the host: whoever
// holds several does.
type Error struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // the way out, where there is one

	Holder *Holder `json:"holder,omitempty"` // of KindLocked: who holds the lock, where that is known
}

// Errorf gives an Error whose message is formatted. hint may be empty. It wraps
// nothing: a cause stands in the message.
func Errorf(kind Kind, hint, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Hint: hint}
}

func (e *Error) Error() string { return e.Message }

// Is makes errors.Is(err, ErrForeign) true for every Error of that kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Kind == e.Kind
}

// Sentinels, one a kind that callers ask for.
var (
	ErrInvalid     = &Error{Kind: KindInvalid}
	ErrForeign     = &Error{Kind: KindForeign}
	ErrLocked      = &Error{Kind: KindLocked}
	ErrNotLocked   = &Error{Kind: KindNotLocked}
	ErrUnsupported = &Error{Kind: KindUnsupported}
	ErrBusy        = &Error{Kind: KindBusy}
	ErrPermission  = &Error{Kind: KindPermission}
	ErrCanceled    = &Error{Kind: KindCanceled}
	ErrLost        = &Error{Kind: KindLost}
	ErrUnreachable = &Error{Kind: KindUnreachable}
	ErrAuth        = &Error{Kind: KindAuth}
	ErrHostKey     = &Error{Kind: KindHostKey}
	ErrHelper      = &Error{Kind: KindHelper}
)

// AsError gives err as an *Error that keeps err's whole text, with the rest of
// the first *Error it wraps, else with KindInternal. nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Kind: KindInternal, Message: err.Error()}
	}
	return &Error{Kind: e.Kind, Message: err.Error(), Hint: e.Hint, Holder: e.Holder}
}
