package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"vxorch/remote/hostapi"
)

// call sends one request and waits for its answer. The result is what the host
// sent, also where the error is not nil.
func call[Q, A any](ctx context.Context, c *Client, method string, request Q) (A, error) {
	var empty A
	if err := c.enter(ctx, method); err != nil {
		return empty, err
	}
	var r reply[A]
	answered := make(chan error, 1)
	// It may block with the stream, and that is what this call must not do.
	go func() {
		err := c.rpc.call(ctx, method, request, &r)
		<-c.slots
		answered <- err
	}()
	if err := c.await(ctx, method, c.patience(request), answered); err != nil {
		return empty, err // r may yet be written to
	}
	if r.Error != nil {
		return r.Result, known(r.Error)
	}
	return r.Result, nil
}

// enter waits until another call may be under way.
func (c *Client) enter(ctx context.Context, method string) error {
	if err := ctx.Err(); err != nil {
		return canceled(method, err)
	}
	select {
	case <-c.closed:
		return errClosed()
	default:
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-c.closed:
		return errClosed()
	case <-ctx.Done():
		return canceled(method, ctx.Err())
	}
}

// await waits for what becomes of a call, and for a while after ctx has ended. nil:
// it has its reply.
func (c *Client) await(ctx context.Context, method string, patience time.Duration, answered <-chan error) error {
	hung := time.NewTimer(patience)
	defer hung.Stop()
	select {
	case err := <-answered:
		return c.failure(method, err)
	case <-c.closed:
		return errClosed()
	case <-hung.C:
		c.stream.broken(&hungError{method, patience})
		return c.lost()
	case <-ctx.Done():
	}
	select {
	case err := <-answered:
		return c.failure(method, err)
	case <-c.closed:
		return errClosed()
	case <-time.After(cancelGrace):
		c.deaf.Store(true)
		return hostapi.Errorf(hostapi.KindCanceled, "", "%s: %v; the host did not say within %v how far it came", method, ctx.Err(), cancelGrace)
	}
}

// failure is the error of a call that got no reply to be understood; nil for nil.
func (c *Client) failure(method string, err error) error {
	var e *fault
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooLarge):
		return &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("%s: %v", method, err)}
	case c.broken():
		return c.lost()
	case errors.As(err, &e):
		return strange("error %d to %s: %s", e.Code, method, e.Message)
	}
	return strange("nonsense to %s: %v", method, err)
}

// broken tells whether the stream is of no more use: it failed, or what came over
// it did.
func (c *Client) broken() bool {
	select {
	case <-c.rpc.stopped:
		return true
	default:
		return c.stream.failure() != nil
	}
}

// lost is why the stream broke. It is found out once, for all calls.
func (c *Client) lost() error {
	c.lostOnce.Do(func() {
		e := &hostapi.Error{Kind: hostapi.KindLost}
		c.lostErr = e
		var hung *hungError
		var misfit *misfitError
		cause := c.stream.failure()
		switch { // where that it ended is our own doing
		case errors.As(cause, &hung):
			e.Message, e.Hint = cause.Error(), "is the host overloaded, or the helper stopped? look at it before running the verb again"
			return
		case errors.As(cause, &misfit):
			e.Message = "host answered nonsense: " + misfit.Error()
			return
		case cause == nil:
			e.Message = "host answered nonsense: it is not JSON-RPC"
			return
		}
		if c.reason != nil {
			if why := hostapi.AsError(c.reason()); why != nil {
				e.Message, e.Hint = why.Message, why.Hint
				return
			}
		}
		if errors.Is(cause, io.EOF) {
			e.Message = "the helper ended"
			return
		}
		e.Message = fmt.Sprintf("the connection to the helper broke: %v", cause)
	})
	return c.lostErr
}

// hungError is why a stream was given up whose other end did not answer.
type hungError struct {
	method string
	after  time.Duration
}

func (e *hungError) Error() string {
	return fmt.Sprintf("the host did not answer %s within %v", e.method, e.after)
}

func errClosed() error {
	return &hostapi.Error{Kind: hostapi.KindLost, Message: "the session was closed"}
}

func canceled(method string, err error) error {
	return &hostapi.Error{Kind: hostapi.KindCanceled, Message: fmt.Sprintf("%s: %v", method, err)}
}

func strange(format string, args ...any) error {
	return &hostapi.Error{Kind: hostapi.KindInternal, Message: "host answered " + fmt.Sprintf(format, args...)}
}
