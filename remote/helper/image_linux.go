package helper

import (
	"context"

	"vxorch/remote/hostapi"
)

// PutImage is hostapi.ImageStore's.
func (h *host) PutImage(context.Context, hostapi.ImageChunk) (int64, error) {
	return 0, &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "this helper keeps no images"}
}
