//go:build !linux

package probe

import (
	"context"

	"vxorch/remote/hostapi"
)

// Run needs Linux.
func Run(ctx context.Context, probes []hostapi.Probe) ([]hostapi.ProbeResult, error) {
	return nil, &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "probes need Linux"}
}
