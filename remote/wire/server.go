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

	"github.com/creachadair/jrpc2"

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
		running: map[uint64]context.CancelFunc{},
		early:   map[uint64]bool{},
	}
	server := jrpc2.NewServer(s, &jrpc2.ServerOptions{
		DisableBuiltin: true,
		Concurrency:    concurrency,
		NewContext:     func() context.Context { return ctx },
	}).Start(stream)
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()

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
	host hostapi.Host

	mu      sync.Mutex
	running map[uint64]context.CancelFunc // by ticket
	// early are tickets that were cancelled while no such call ran, since two
	// messages may be handled in either order. Those of calls that had just
	// been answered stay: a number each, a handful in a session's life.
	early map[uint64]bool
	over  bool // no call may begin
	calls sync.WaitGroup

	once     sync.Once
	closeErr error
}

// Assign gives the handler of a method: jrpc2.Assigner.
func (s *session) Assign(_ context.Context, method string) jrpc2.Handler {
	switch method {
	case methodObserve:
		return handler(s, method, s.host.Observe)
	case methodApply:
		return handler(s, method, s.host.Apply)
	case methodProbe:
		return handler(s, method, s.host.Probe)
	case methodPutImage:
		return handler(s, method, s.host.PutImage)
	case methodMissing:
		return handler(s, method, optional(s.host, hostapi.Preparer.Missing))
	case methodPrepare:
		return handler(s, method, optional(s.host, hostapi.Preparer.Prepare))
	case methodClean:
		return handler(s, method, optional(s.host, func(h hostapi.Cleaner, ctx context.Context, _ none) ([]string, error) {
			return h.Clean(ctx)
		}))
	case methodClose:
		return func(context.Context, *jrpc2.Request) (any, error) {
			return reply[none]{Error: hostapi.AsError(s.close())}, nil
		}
	case methodCancel:
		return func(_ context.Context, req *jrpc2.Request) (any, error) {
			var p params[none]
			if err := req.UnmarshalParams(&p); err != nil {
				return nil, err
			}
			s.cancel(p.Ticket)
			return nil, nil
		}
	case methodHeartbeat: // its bytes have done what it is for
		return func(context.Context, *jrpc2.Request) (any, error) { return nil, nil }
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

// handler answers one method by do. A failure of do is part of the reply; the
// handler's own error says that the request was not understood.
func handler[Q, A any](s *session, method string, do func(context.Context, Q) (A, error)) jrpc2.Handler {
	return func(ctx context.Context, req *jrpc2.Request) (any, error) {
		var p params[Q]
		if err := req.UnmarshalParams(&p); err != nil {
			return nil, err
		}
		ctx, end, err := s.begin(ctx, p.Ticket)
		if err != nil {
			return reply[A]{Error: hostapi.AsError(err)}, nil
		}
		defer end()
		var r reply[A]
		r.Result, err = guarded(ctx, method, do, p.Request)
		r.Error = asError(err)
		return bounded(r)
	}
}

func (s *session) begin(ctx context.Context, ticket uint64) (context.Context, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, nil, &hostapi.Error{Kind: hostapi.KindLost, Message: "the session is closed"}
	}
	ctx, cancel := context.WithCancel(ctx)
	if s.early[ticket] {
		delete(s.early, ticket)
		cancel()
	}
	s.running[ticket] = cancel
	s.calls.Add(1)
	return ctx, func() {
		s.mu.Lock()
		delete(s.running, ticket)
		s.mu.Unlock()
		cancel()
		s.calls.Done()
	}, nil
}

func (s *session) cancel(ticket uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel, ok := s.running[ticket]; ok {
		cancel()
		return
	}
	s.early[ticket] = true
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

// bounded encodes r, or says that it cannot be sent: jrpc2 would drop it and
// leave the client waiting.
func bounded[A any](r reply[A]) (json.RawMessage, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	const envelope = 256 // bytes, more than JSON-RPC puts around a result
	if len(body) > maxFrame-envelope {
		return json.Marshal(reply[none]{Error: &hostapi.Error{
			Kind:    hostapi.KindInternal,
			Message: fmt.Sprintf("the answer of %d bytes: %v", len(body), errTooLarge),
		}})
	}
	return body, nil
}
