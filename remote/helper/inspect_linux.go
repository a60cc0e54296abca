package helper

import (
	"context"

	"vxorch/remote/helper/internal/frr"
	"vxorch/remote/helper/internal/survey"
	"vxorch/remote/hostapi"
)

var _ hostapi.Inspector = (*host)(nil)

// Inspect is hostapi.Inspector's.
func (h *host) Inspect(ctx context.Context, req hostapi.InspectRequest) (hostapi.Inspection, error) {
	done, err := h.begin(ctx)
	if err != nil {
		return hostapi.Inspection{}, err
	}
	defer done()
	out, err := h.kernel.Inspect(ctx, req)
	if err != nil {
		return out, failure(ctx, err)
	}
	out.Drops, out.Counters = append(survey.Drops(), survey.LegacyDrops(ctx)...), survey.Counters()
	if req.BGP != nil {
		out.BGP = frr.Inspect(ctx, h.store, *req.BGP)
	}
	return out, nil
}
