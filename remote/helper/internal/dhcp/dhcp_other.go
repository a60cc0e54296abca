//go:build !linux

package dhcp

import (
	"context"
	"net/netip"

	"vxorch/remote/hostapi"
)

// Server answers on one tap.
type Server struct{}

// Serve needs Linux.
func Serve(ctx context.Context, tap string, leases []Lease) (*Server, error) {
	return nil, unsupported()
}

// Leased is closed when every lease was taken.
func (s *Server) Leased() <-chan struct{} { return nil }

// Close ends the serving.
func (s *Server) Close() error { return unsupported() }

// Answers needs Linux.
func Answers(ctx context.Context, tap string, addr netip.Addr) (bool, error) {
	return false, unsupported()
}

func unsupported() error {
	return &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "DHCP on a tap needs Linux"}
}
