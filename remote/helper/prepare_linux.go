package helper

import (
	"context"

	"vxorch/remote/helper/internal/prepare"
	"vxorch/remote/hostapi"
)

var _ hostapi.Preparer = (*host)(nil)

// Missing is hostapi.Preparer's.
func (h *host) Missing(ctx context.Context, req hostapi.PrepareRequest) (hostapi.Preparation, error) {
	return h.prepare(ctx, func() (hostapi.Preparation, error) { return prepare.Machine{}.Missing(ctx, req) })
}

// Prepare is hostapi.Preparer's.
func (h *host) Prepare(ctx context.Context, req hostapi.PrepareRequest) (hostapi.Preparation, error) {
	return h.prepare(ctx, func() (hostapi.Preparation, error) { return prepare.Machine{}.Prepare(ctx, req) })
}

func (h *host) prepare(ctx context.Context, do func() (hostapi.Preparation, error)) (hostapi.Preparation, error) {
	done, err := h.begin(ctx)
	if err != nil {
		return hostapi.Preparation{}, err
	}
	defer done()
	p, err := do()
	if err != nil {
		return p, failure(ctx, err)
	}
	return p, nil
}
