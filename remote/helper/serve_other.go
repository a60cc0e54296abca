//go:build !linux

package helper

import (
	"context"
	"io"

	"vxorch/remote/hostapi"
)

// New needs Linux.
func New() (hostapi.Host, error) { return nil, errUnsupported() }

func serve(context.Context, options, io.ReadCloser, io.WriteCloser) error { return errUnsupported() }

func errUnsupported() error {
	return &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "the helper needs Linux"}
}
