package orchestrator

import (
	"context"
	"slices"
	"sync"

	"vxorch/orchestrator/preflight"
	"vxorch/remote/hostapi"
)

// sendDatagrams has a host send its part of e's try, or of that those of ids, and
// notes in e, which mu guards, what it could not.
func sendDatagrams(ctx context.Context, host hostapi.Checker, token, name string, e *preflight.Evidence, ids map[uint32]bool, mu *sync.Mutex) error {
	datagrams := e.Try.Outgoing(name, ids)
	if len(datagrams) == 0 {
		return nil
	}
	u := e.Ground.Underlays[name]
	unsent, err := host.Send(ctx, hostapi.SendRequest{Token: token, Device: u.Device, Local: u.Local, Datagrams: datagrams})
	mu.Lock()
	defer mu.Unlock()
	for _, x := range unsent {
		e.Came.Unsent[x.ID] = x.Error
	}
	return err
}

// hearDatagrams notes in e, which mu guards, what has come to a host of e's try.
func hearDatagrams(ctx context.Context, host hostapi.Checker, name string, e *preflight.Evidence, mu *sync.Mutex) error {
	mu.Lock()
	ids := slices.DeleteFunc(e.Try.Incoming(name), func(id uint32) bool { return e.Came.Unsent[id] != nil })
	mu.Unlock()
	heard, err := host.Heard(ctx, hostapi.HeardRequest{IDs: ids, Patience: tryPatience})
	delivered := map[uint32]bool{}
	for _, h := range heard {
		delivered[h.ID] = h.Delivered
	}
	mu.Lock()
	defer mu.Unlock()
	e.Came.Heard[name] = delivered
	return err
}
