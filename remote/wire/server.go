package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"vxorch/remote/hostapi"
)

// ServeOptions tune Serve; the zero value works.
type ServeOptions struct {
	// Lease is how long to go on while nothing at all comes from the client. A
	// half-open link gives no EOF. 0: 15 s.
	Lease time.Duration
}

// Serve answers calls that come over rw from host, until rw ends, ctx ends or
// the lease runs out. It then cancels the calls that run, waits for them and
// closes host and rw. The error is nil where rw ended in good order.
//
// If rw's Close does not end a Read or Write that blocks, as that of a terminal
// or of a descriptor in blocking mode may not, Serve returns all the same, and a
// goroutine stays behind until they end.
func Serve(ctx context.Context, rw io.ReadWriteCloser, host hostapi.Host, opts ServeOptions) error {
	lease := opts.Lease
	if lease == 0 {
		lease = defaultLease
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	expiry := time.AfterFunc(lease, func() {
		cancel(&hostapi.Error{Kind: hostapi.KindLost, Message: fmt.Sprintf("heard nothing from the controller for %v", lease)})
	})
	defer expiry.Stop()
	stream := newFrames(rw, func() { expiry.Reset(lease) })

	s := &session{
		host:    host,
		stream:  stream,
		running: map[string]context.CancelFunc{},
	}
	ended := make(chan error, 1)
	go func() { ended <- s.read(ctx) }()

	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
		_ = stream.Close() // nobody is left to care
		select {
		case <-ended:
		case <-time.After(grace):
		}
	}
	return errors.Join(err, s.close(), ignoreClosed(stream.Close()))
}

// ignoreClosed drops the error of closing what the peer closed first.
func ignoreClosed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// session is what one Serve knows of its calls.
type session struct {
	host   hostapi.Host
	stream *frames

	mu      sync.Mutex
	running map[string]context.CancelFunc // by the ID of the request
	over    bool                          // no call may begin
	calls   sync.WaitGroup

	once     sync.Once
	closeErr error
}

// read takes messages, one after the other, until the stream ends, so that a
// cancel finds its call. No call holds it up: however many block, heartbeats and
// cancels are read. Only a client that does not read refusals is not read either.
func (s *session) read(ctx context.Context) error {
	for {
		body, err := s.stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var req request[json.RawMessage]
		switch err := json.Unmarshal(body, &req); {
		case err != nil:
			s.send(refusal(nil, codeParse, err.Error()))
		case req.Version != version || req.Method == "":
			s.send(refusal(req.ID, codeInvalidRequest, "this is no request of JSON-RPC 2.0"))
		case req.ID == nil:
			s.notified(req)
		default:
			s.serve(ctx, req)
		}
	}
}

// notified takes what is not answered. Of a heartbeat, its bytes have done what
// it is for.
func (s *session) notified(req request[json.RawMessage]) {
	var p cancelParams
	if req.Method != methodCancel || json.Unmarshal(req.Params, &p) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel, ok := s.running[string(p.ID)]; ok { // else it has just been answered
		cancel()
	}
}

// serve answers one call, in a goroutine of its own.
func (s *session) serve(ctx context.Context, req request[json.RawMessage]) {
	if req.Method == methodClose {
		go func() { s.send(encode(req.ID, reply[none]{Error: hostapi.AsError(s.close())})) }()
		return
	}
	do := s.handler(req.Method)
	if do == nil {
		s.send(refusal(req.ID, codeNoMethod, fmt.Sprintf("there is no method %.100q", req.Method)))
		return
	}
	ctx, end, err := s.begin(ctx, string(req.ID))
	if err != nil {
		s.send(encode(req.ID, reply[none]{Error: hostapi.AsError(err)}))
		return
	}
	go func() {
		answer := do(ctx, req)
		end() // before it is sent, which may block
		s.send(answer)
	}()
}

// send sends an answer. A failure breaks the stream, which read finds out.
func (s *session) send(answer []byte) { _ = s.stream.Send(answer) }

// handler does what a request asks for and gives the answer to it.
type handler func(context.Context, request[json.RawMessage]) []byte

func (s *session) handler(method string) handler {
	switch method {
	case methodObserve:
		return handle(s.host.Observe)
	case methodApply:
		return handle(s.host.Apply)
	case methodProbe:
		return handle(s.host.Probe)
	case methodPutImage:
		return handle(s.host.PutImage)
	case methodMissing:
		return handle(optional(s.host, hostapi.Preparer.Missing))
	case methodPrepare:
		return handle(optional(s.host, hostapi.Preparer.Prepare))
	case methodClean:
		return handle(optional(s.host, func(h hostapi.Cleaner, ctx context.Context, _ none) ([]string, error) {
			return h.Clean(ctx)
		}))
	case methodCheck:
		return handle(optional(s.host, hostapi.Checker.Check))
	case methodSend:
		return handle(optional(s.host, hostapi.Checker.Send))
	case methodHeard:
		return handle(optional(s.host, hostapi.Checker.Heard))
	case methodCapture:
		return handle(optional(s.host, hostapi.Capturer.Capture))
	case methodPackets:
		return handle(optional(s.host, hostapi.Capturer.Packets))
	case methodClock:
		return handle(optional(s.host, func(h hostapi.Capturer, ctx context.Context, _ none) (time.Time, error) {
			return h.Clock(ctx)
		}))
	case methodInspect:
		return handle(optional(s.host, hostapi.Inspector.Inspect))
	}
	return nil
}

// optional is a method of what not every Host is.
func optional[H, Q, A any](host hostapi.Host, do func(H, context.Context, Q) (A, error)) func(context.Context, Q) (A, error) {
	return func(ctx context.Context, request Q) (A, error) {
		if h, ok := host.(H); ok {
			return do(h, ctx, request)
		}
		var empty A
		return empty, &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "this host cannot do that"}
	}
}

// handle answers a request by do. A failure of do is part of the reply; an error
// of JSON-RPC says that the request was not understood.
func handle[Q, A any](do func(context.Context, Q) (A, error)) handler {
	return func(ctx context.Context, req request[json.RawMessage]) []byte {
		var q Q
		if len(req.Params) > 0 {
			if err := json.Unmarshal(req.Params, &q); err != nil {
				return refusal(req.ID, codeInvalidParams, err.Error())
			}
		}
		var r reply[A]
		var err error
		r.Result, err = guarded(ctx, req.Method, do, q)
		r.Error = asError(err)
		return encode(req.ID, r)
	}
}

func (s *session) begin(ctx context.Context, id string) (context.Context, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, nil, &hostapi.Error{Kind: hostapi.KindLost, Message: "the session is closed"}
	}
	if _, twice := s.running[id]; twice {
		return nil, nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("a call with the ID %.20s is under way", id)}
	}
	if len(s.running) == concurrency {
		return nil, nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("%d calls are under way", concurrency)}
	}
	ctx, cancel := context.WithCancel(ctx)
	s.running[id] = cancel
	s.calls.Add(1)
	return ctx, func() {
		s.mu.Lock()
		delete(s.running, id)
		s.mu.Unlock()
		cancel()
		s.calls.Done()
	}, nil
}

// close ends what runs, then closes the host: once.
func (s *session) close() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.over = true
		for _, cancel := range s.running {
			cancel()
		}
		s.mu.Unlock()
		s.calls.Wait()
		_, s.closeErr = guarded(context.Background(), methodClose, func(context.Context, none) (none, error) {
			return none{}, s.host.Close()
		}, none{})
	})
	return s.closeErr
}

// guarded calls do and makes a panic in it an error of this one call: the lock
// and the other calls outlive it.
func guarded[Q, A any](ctx context.Context, method string, do func(context.Context, Q) (A, error), request Q) (result A, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &hostapi.Error{
				Kind:    hostapi.KindInternal,
				Message: fmt.Sprintf("%s panicked at %s: %v", method, panicSite(), p),
			}
		}
	}()
	return do(ctx, request)
}

// panicSite is where the panic that is being recovered from was raised.
func panicSite() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	inPanic := false
	for {
		f, more := frames.Next()
		if strings.HasPrefix(f.Function, "runtime.") {
			inPanic = true
		} else if inPanic {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}

// asError is hostapi.AsError, but knows that a bare context error is a cancel.
func asError(err error) *hostapi.Error {
	e := hostapi.AsError(err)
	if e != nil && e.Kind == hostapi.KindInternal &&
		(errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		e.Kind = hostapi.KindCanceled
	}
	return e
}

// encode gives the answer of r to the request of that ID, or one that says that
// it cannot be sent: the client must not wait in vain.
func encode[A any](id json.RawMessage, r reply[A]) []byte {
	body, err := json.Marshal(answer[reply[A]]{Version: version, ID: id, Result: r})
	switch {
	case err != nil:
		return refusal(id, codeInternal, err.Error())
	case len(body) > maxFrame:
		return encode(id, reply[none]{Error: &hostapi.Error{
			Kind:    hostapi.KindInternal,
			Message: fmt.Sprintf("the answer of %d bytes: %v", len(body), errTooLarge),
		}})
	}
	return body
}

// refusal is the answer to a request that was not understood.
func refusal(id json.RawMessage, code int, message string) []byte {
	body, _ := json.Marshal(answer[json.RawMessage]{Version: version, ID: id, Error: &fault{code, message}})
	return body
}
