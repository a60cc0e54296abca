package helper

import (
	"context"

	"vxorch/remote/helper/internal/survey"
	"vxorch/remote/helper/internal/virt"
	"vxorch/remote/hostapi"
)

var _ hostapi.Checker = (*host)(nil)

// Check is hostapi.Checker's.
func (h *host) Check(ctx context.Context, req hostapi.CheckRequest) (hostapi.CheckFacts, error) {
	done, err := h.begin(ctx)
	if err != nil {
		return hostapi.CheckFacts{}, err
	}
	defer done()
	var deaf *hostapi.Error
	if req.Listen != nil {
		deaf = hostapi.AsError(h.listen(*req.Listen))
	}
	facts, err := survey.Read(ctx, req)
	if err != nil {
		return hostapi.CheckFacts{}, failure(ctx, err)
	}
	facts.Deaf = deaf
	facts.Emulated = req.Virt && !virt.RunsVCPU()
	return facts, nil
}

// listen listens for a try, and for none before it.
func (h *host) listen(l hostapi.Listen) error {
	listener, err := survey.Listen(l)
	if err != nil {
		return err
	}
	h.mu.Lock()
	before := h.listener
	h.listener = listener
	h.mu.Unlock()
	if before != nil {
		before.Close()
	}
	return nil
}

// Send is hostapi.Checker's.
func (h *host) Send(ctx context.Context, req hostapi.SendRequest) ([]hostapi.Unsent, error) {
	done, err := h.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	unsent, err := survey.Send(ctx, req)
	if err != nil {
		return unsent, failure(ctx, err)
	}
	return unsent, nil
}

// Heard is hostapi.Checker's.
func (h *host) Heard(ctx context.Context, req hostapi.HeardRequest) ([]hostapi.Heard, error) {
	done, err := h.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	h.mu.Lock()
	listener := h.listener
	h.mu.Unlock()
	if listener == nil {
		return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: "nothing was listened for"}
	}
	heard := listener.Heard(ctx, req)
	if ctx.Err() != nil {
		return heard, canceled(ctx)
	}
	return heard, nil
}
