package wire

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"vxorch/remote/hostapi"
)

var (
	_ hostapi.Host     = (*Client)(nil)
	_ hostapi.Preparer = (*Client)(nil)
	_ hostapi.Cleaner  = (*Client)(nil)
	_ hostapi.Checker  = (*Client)(nil)
	_ hostapi.Capturer = (*Client)(nil)
)

// ClientOptions tune a Client; the zero value works.
type ClientOptions struct {
	// Heartbeat is the time between signs of life to the server. 0: 5 s.
	Heartbeat time.Duration
	// Reason, if not nil, is asked once, when the stream has broken, why it did;
	// its text and hint are the ErrLost of the calls. They wait for it, so it
	// should take a second or two at most.
	Reason func() error
}

// Client is the Host at the other end of a stream. It does not trust that end:
// frames and what they hold are bounded, answers that do not fit their request
// are refused, and a call that is not answered in time ends the stream. Strings
// are left as they came, to be cleaned where they are shown.
//
// When a call's context ends, the host is told, and the call waits half a
// second for its answer, so that what was done is known. Once the stream has
// broken, every call fails with ErrLost.
type Client struct {
	stream *frames
	rpc    *caller
	reason func() error

	slots    chan struct{} // one a call under way
	patience func(request any) time.Duration

	lostOnce sync.Once
	lostErr  *hostapi.Error

	captures captures

	deaf      atomic.Bool   // a cancelled call was not answered in time
	closed    chan struct{} // closed by Close
	closeOnce sync.Once
	closeErr  error
}

// NewClient talks over rw to a Serve at its other end and owns rw from now on.
// Close of rw must end a Read or Write that blocks.
func NewClient(rw io.ReadWriteCloser, opts ClientOptions) *Client {
	heartbeat := opts.Heartbeat
	if heartbeat == 0 {
		heartbeat = defaultHeartbeat
	}
	c := &Client{
		stream: newFrames(rw, nil),
		reason: opts.Reason,
		slots:  make(chan struct{}, maxCalls),
		closed: make(chan struct{}),

		patience: patienceFor,
	}
	c.rpc = newCaller(c.stream)
	go c.beat(heartbeat)
	return c
}

// Observe is hostapi.Observer's.
func (c *Client) Observe(ctx context.Context, req hostapi.ObserveRequest) (hostapi.Facts, error) {
	return call[hostapi.ObserveRequest, hostapi.Facts](ctx, c, methodObserve, req)
}

// Apply is hostapi.Applier's.
func (c *Client) Apply(ctx context.Context, b hostapi.Batch) (hostapi.BatchResult, error) {
	res, err := call[hostapi.Batch, hostapi.BatchResult](ctx, c, methodApply, b)
	if misfit := checkSteps(res.Steps, b, err == nil); misfit != nil {
		return hostapi.BatchResult{}, misfit
	}
	return res, err
}

// Probe is hostapi.Prober's.
func (c *Client) Probe(ctx context.Context, probes []hostapi.Probe) ([]hostapi.ProbeResult, error) {
	if probes == nil {
		probes = []hostapi.Probe{} // params of JSON-RPC are an array or an object, never null
	}
	results, err := call[[]hostapi.Probe, []hostapi.ProbeResult](ctx, c, methodProbe, probes)
	if err != nil {
		return nil, err
	}
	if err := checkProbes(results, probes); err != nil {
		return nil, err
	}
	return results, nil
}

// PutImage is hostapi.ImageStore's. Calls under way at the same time may reach the
// host in any order.
func (c *Client) PutImage(ctx context.Context, chunk hostapi.ImageChunk) (have int64, err error) {
	return call[hostapi.ImageChunk, int64](ctx, c, methodPutImage, chunk)
}

// Missing is hostapi.Preparer's. Without one at the other end it is
// ErrUnsupported.
func (c *Client) Missing(ctx context.Context, req hostapi.PrepareRequest) (hostapi.Preparation, error) {
	return call[hostapi.PrepareRequest, hostapi.Preparation](ctx, c, methodMissing, req)
}

// Prepare is hostapi.Preparer's. Without one at the other end it is
// ErrUnsupported.
func (c *Client) Prepare(ctx context.Context, req hostapi.PrepareRequest) (hostapi.Preparation, error) {
	return call[hostapi.PrepareRequest, hostapi.Preparation](ctx, c, methodPrepare, req)
}

// Clean is hostapi.Cleaner's. Without one at the other end it is ErrUnsupported.
func (c *Client) Clean(ctx context.Context) (removed []string, err error) {
	return call[none, []string](ctx, c, methodClean, none{})
}

// Check is hostapi.Checker's. Without one at the other end it is ErrUnsupported.
func (c *Client) Check(ctx context.Context, req hostapi.CheckRequest) (hostapi.CheckFacts, error) {
	return call[hostapi.CheckRequest, hostapi.CheckFacts](ctx, c, methodCheck, req)
}

// Send is hostapi.Checker's. Without one at the other end it is ErrUnsupported.
func (c *Client) Send(ctx context.Context, req hostapi.SendRequest) ([]hostapi.Unsent, error) {
	return call[hostapi.SendRequest, []hostapi.Unsent](ctx, c, methodSend, req)
}

// Heard is hostapi.Checker's. Without one at the other end it is ErrUnsupported.
func (c *Client) Heard(ctx context.Context, req hostapi.HeardRequest) ([]hostapi.Heard, error) {
	return call[hostapi.HeardRequest, []hostapi.Heard](ctx, c, methodHeard, req)
}

// Capture is hostapi.Capturer's. Without one at the other end it is
// ErrUnsupported.
func (c *Client) Capture(ctx context.Context, req hostapi.CaptureRequest) ([]*hostapi.Error, error) {
	points, err := call[hostapi.CaptureRequest, []*hostapi.Error](ctx, c, methodCapture, req)
	if err != nil {
		return nil, err
	}
	if err := c.captures.begin(points, req); err != nil {
		return nil, err
	}
	return points, nil
}

// Packets is hostapi.Capturer's. Without one at the other end it is
// ErrUnsupported.
func (c *Client) Packets(ctx context.Context, req hostapi.PacketsRequest) (hostapi.Packets, error) {
	got, err := call[hostapi.PacketsRequest, hostapi.Packets](ctx, c, methodPackets, req)
	if err != nil {
		return hostapi.Packets{}, err
	}
	if err := c.captures.check(got); err != nil {
		return hostapi.Packets{}, err
	}
	return got, nil
}

// Clock is hostapi.Capturer's. Without one at the other end it is ErrUnsupported.
func (c *Client) Clock(ctx context.Context) (time.Time, error) {
	return call[none, time.Time](ctx, c, methodClock, none{})
}

// Inspect is hostapi.Inspector's. Without one at the other end it is ErrUnsupported.
func (c *Client) Inspect(ctx context.Context, req hostapi.InspectRequest) (hostapi.Inspection, error) {
	return call[hostapi.InspectRequest, hostapi.Inspection](ctx, c, methodInspect, req)
}

// Close fails the calls under way with ErrLost, has the host closed, which gives
// back the lock, and closes the stream. It takes a few seconds at most; the
// error is the host's, or says that the host did not confirm. Closing again
// gives the same; after a broken stream there is nothing left to do: nil.
func (c *Client) Close() error {
	c.closeOnce.Do(func() {
		close(c.closed)
		patience := grace
		switch {
		case c.deaf.Load():
			patience = 0 // it had its time, and its user waits
		case !c.broken():
			c.closeErr = c.closeHost()
		}
		ended := make(chan struct{})
		go func() {
			_ = c.stream.Close() // the host has let go, or cannot be reached
			<-c.rpc.stopped
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(patience):
		}
	})
	return c.closeErr
}

func (c *Client) closeHost() error {
	answer := make(chan error, 1)
	go func() {
		var r reply[none]
		err := c.rpc.call(context.Background(), methodClose, none{}, &r)
		if err == nil && r.Error != nil {
			err = known(r.Error)
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		if c.broken() {
			return nil // the helper ends, and the lock with it
		}
		return err
	case <-time.After(grace):
		return &hostapi.Error{Kind: hostapi.KindLost, Message: fmt.Sprintf("the host did not confirm the end of the session within %v", grace)}
	}
}

func (c *Client) beat(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// A failure to send breaks the stream, which the calls find out.
			_ = c.rpc.notify(methodHeartbeat, none{})
		case <-c.rpc.stopped:
			return
		}
	}
}
