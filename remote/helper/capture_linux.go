package helper

import (
	"context"
	"time"

	"vxorch/remote/helper/internal/capture"
	"vxorch/remote/hostapi"
)

var _ hostapi.Capturer = (*host)(nil)

// Capture is hostapi.Capturer's.
func (h *host) Capture(ctx context.Context, req hostapi.CaptureRequest) ([]*hostapi.Error, error) {
	done, err := h.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	capture, failed, err := capture.Begin(req)
	if err != nil {
		return nil, failure(ctx, err)
	}
	h.mu.Lock()
	before := h.capture
	h.capture = capture
	h.mu.Unlock()
	if before != nil {
		before.Close()
	}
	return failed, nil
}

// Packets is hostapi.Capturer's.
func (h *host) Packets(ctx context.Context, req hostapi.PacketsRequest) (hostapi.Packets, error) {
	done, err := h.begin(ctx)
	if err != nil {
		return hostapi.Packets{}, err
	}
	defer done()
	h.mu.Lock()
	capture := h.capture
	h.mu.Unlock()
	if capture == nil {
		return hostapi.Packets{}, &hostapi.Error{Kind: hostapi.KindInvalid, Message: "no packets are being copied"}
	}
	return capture.Packets(ctx, req), nil
}

// Clock is hostapi.Capturer's.
func (h *host) Clock(ctx context.Context) (time.Time, error) {
	done, err := h.begin(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer done()
	return time.Now().UTC(), nil
}
