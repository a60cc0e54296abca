package sshconn

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"vxorch/remote/hostapi"
)

func lost(format string, args ...any) *hostapi.Error {
	return hostapi.Errorf(hostapi.KindLost, "", format, args...)
}

// canceled is the error of a call whose ctx ended.
func canceled(ctx context.Context, act string) *hostapi.Error {
	return hostapi.Errorf(hostapi.KindCanceled, "", "%s: %v", act, context.Cause(ctx))
}

// dropped tells a peer that hung up from one that said something wrong.
func dropped(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// dialFailure describes a TCP connection that did not come about.
func dialFailure(err error, address string, opts Options) *hostapi.Error {
	var dns *net.DNSError
	var errno syscall.Errno
	var known *hostapi.Error
	switch {
	case errors.As(err, &known): // a way there that is not TCP says it better
		return known
	case errors.As(err, &dns):
		return hostapi.Errorf(hostapi.KindUnreachable, "check the host's address in the inventory",
			"connect to %s: look up %s: %s", address, dns.Name, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return hostapi.Errorf(hostapi.KindUnreachable, "is sshd running there, and does it listen on that port?",
			"connect to %s: connection refused", address)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return hostapi.Errorf(hostapi.KindUnreachable, "is the host up, and does no firewall drop that port?",
			"connect to %s: no answer within %s", address, opts.DialTimeout)
	case errors.As(err, &errno):
		return hostapi.Errorf(hostapi.KindUnreachable, "is the host up, is its address in the inventory right, and is there a way to it from here?",
			"connect to %s: %v", address, errno)
	}
	return hostapi.Errorf(hostapi.KindUnreachable, "", "connect to %s: %v", address, err)
}
