package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"vxorch/remote/hostapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stub is a Host made of functions.
type stub struct {
	observe func(context.Context, hostapi.ObserveRequest) (hostapi.Facts, error)
	apply   func(context.Context, hostapi.Batch) (hostapi.BatchResult, error)
	probe   func(context.Context, []hostapi.Probe) ([]hostapi.ProbeResult, error)
	close   func() error
	closes  atomic.Int32
	hostapi.ImageStore
}

func (s *stub) Observe(ctx context.Context, r hostapi.ObserveRequest) (hostapi.Facts, error) {
	return s.observe(ctx, r)
}

func (s *stub) Apply(ctx context.Context, b hostapi.Batch) (hostapi.BatchResult, error) {
	return s.apply(ctx, b)
}

func (s *stub) Probe(ctx context.Context, ps []hostapi.Probe) ([]hostapi.ProbeResult, error) {
	return s.probe(ctx, ps)
}

func (s *stub) Close() error {
	s.closes.Add(1)
	if s.close != nil {
		return s.close()
	}
	return nil
}

// serve puts host behind Serve and gives a client of it, and what Serve returns.
func serve(t *testing.T, host hostapi.Host, co ClientOptions, so ServeOptions) (*Client, <-chan error) {
	t.Helper()
	near, far := net.Pipe()
	served := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		served <- Serve(context.Background(), far, host, so)
	}()
	c := NewClient(near, co)
	t.Cleanup(func() {
		c.Close()
		within(t, done, "Serve's return")
	})
	return c, served
}

func within[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

var exact = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}

func TestRequestsAndResultsArriveAsSent(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	observe := hostapi.ObserveRequest{
		Lab:   "lu",
		Lock:  &hostapi.Holder{User: "alice", Controller: "laptop", Verb: "deploy", Since: now},
		Links: []string{"vxlan0"}, Namespaces: []string{"container0"}, Peers: []netip.Addr{netip.MustParseAddr("192.0.2.12")},
	}
	facts := hostapi.Facts{
		Hostname: "h\x1b[31m1", Kernel: "6.1", Machine: "x86_64", BootID: "b",
		Links: []hostapi.Link{{
			Name: "vxlan0", Index: 3, Kind: "vxlan", MAC: "02:00:00:00:00:01", MTU: 1450, Up: true, Quiet: true,
			Mark:      &hostapi.Mark{Lab: "lu", For: "lu-br0", User: "alice", Controller: "laptop", Intended: true},
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.100.1/24")},
			VXLAN:     &hostapi.VXLAN{VNI: 100, Port: 4789, Group: netip.MustParseAddr("239.0.0.1"), Device: "eth0", Learning: true},
		}},
		Namespaces: []hostapi.NamespaceFacts{{Name: "container0"}},
		Routes:     []hostapi.Route{{Peer: netip.MustParseAddr("192.0.2.12")}},
		Leftovers:  []string{"/run/vxorch/lu/x"},
	}
	batch := hostapi.Batch{Lab: "lu", User: "alice", Controller: "laptop", Steps: []hostapi.Step{
		{Op: hostapi.Create, VTEP: &hostapi.VTEP{Name: "vxlan0", VNI: 100, Port: 4789, Local: netip.MustParseAddr("192.0.2.11")}},
		{Op: hostapi.Remove, Address: &hostapi.Address{Link: "vxlan0", Prefix: netip.MustParsePrefix("192.168.100.1/24"), Lifetime: time.Minute}},
	}}
	done := hostapi.BatchResult{Steps: []hostapi.StepResult{{Changed: true, Duration: time.Second}, {}}}
	probes := []hostapi.Probe{{Netns: "container0", Target: netip.MustParseAddr("fd00::2"), Bytes: 1000, Tries: 2}}
	probed := []hostapi.ProbeResult{{Sent: 2, Error: &hostapi.Error{Kind: hostapi.KindInvalid, Message: "m", Hint: "h"}}}

	var got []any
	c, _ := serve(t, &stub{
		observe: func(_ context.Context, r hostapi.ObserveRequest) (hostapi.Facts, error) {
			got = append(got, r)
			return facts, nil
		},
		apply: func(_ context.Context, b hostapi.Batch) (hostapi.BatchResult, error) {
			got = append(got, b)
			return done, nil
		},
		probe: func(_ context.Context, ps []hostapi.Probe) ([]hostapi.ProbeResult, error) {
			got = append(got, ps)
			return probed, nil
		},
	}, ClientOptions{}, ServeOptions{})

	f, err := c.Observe(t.Context(), observe)
	if d := cmp.Diff(facts, f, exact); d != "" || err != nil {
		t.Errorf("Observe: %v, -want +got:\n%s", err, d)
	}
	r, err := c.Apply(t.Context(), batch)
	if d := cmp.Diff(done, r); d != "" || err != nil {
		t.Errorf("Apply: %v, -want +got:\n%s", err, d)
	}
	p, err := c.Probe(t.Context(), probes)
	if d := cmp.Diff(probed, p); d != "" || err != nil {
		t.Errorf("Probe: %v, -want +got:\n%s", err, d)
	}
	if d := cmp.Diff([]any{observe, batch, probes}, got, exact); d != "" {
		t.Errorf("requests at the host, -want +got:\n%s", d)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	type want struct {
		kind          hostapi.Kind
		message, hint string
	}
	cases := map[string]struct {
		err  error
		want want
	}{
		"wrapped":  {fmt.Errorf("create vxlan0: %w", &hostapi.Error{Kind: hostapi.KindBusy, Message: "exists", Hint: "h"}), want{hostapi.KindBusy, "create vxlan0: exists", "h"}},
		"plain":    {errors.New("plain"), want{hostapi.KindInternal, "plain", ""}},
		"kindless": {&hostapi.Error{Message: "m"}, want{hostapi.KindInternal, "m", ""}},
		"canceled": {fmt.Errorf("wait: %w", context.Canceled), want{hostapi.KindCanceled, "wait: context canceled", ""}},
	}
	for k := hostapi.KindInternal; k <= hostapi.KindHelper; k++ {
		cases[fmt.Sprintf("kind %d", k)] = struct {
			err  error
			want want
		}{&hostapi.Error{Kind: k, Message: "message\nof two", Hint: "hint"}, want{k, "message\nof two", "hint"}}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, &stub{
				observe: func(context.Context, hostapi.ObserveRequest) (hostapi.Facts, error) {
					return hostapi.Facts{}, tc.err
				},
				apply: func(context.Context, hostapi.Batch) (hostapi.BatchResult, error) {
					return hostapi.BatchResult{}, tc.err
				},
				probe: func(context.Context, []hostapi.Probe) ([]hostapi.ProbeResult, error) { return nil, tc.err },
			}, ClientOptions{}, ServeOptions{})
			_, observe := c.Observe(t.Context(), hostapi.ObserveRequest{})
			_, apply := c.Apply(t.Context(), hostapi.Batch{Steps: make([]hostapi.Step, 1)})
			_, probe := c.Probe(t.Context(), make([]hostapi.Probe, 1))
			for _, err := range []error{observe, apply, probe} {
				var e *hostapi.Error
				if !errors.As(err, &e) {
					t.Fatalf("%v is no *hostapi.Error", err)
				}
				if got := (want{e.Kind, e.Message, e.Hint}); got != tc.want {
					t.Errorf("got %+v, want %+v", got, tc.want)
				}
			}
		})
	}
}

func TestPartialResultComesWithItsError(t *testing.T) {
	partial := hostapi.BatchResult{Steps: []hostapi.StepResult{
		{Changed: true}, {Error: &hostapi.Error{Kind: hostapi.KindForeign, Message: "not ours"}},
	}}
	c, _ := serve(t, &stub{apply: func(context.Context, hostapi.Batch) (hostapi.BatchResult, error) {
		return partial, hostapi.ErrForeign
	}}, ClientOptions{}, ServeOptions{})
	got, err := c.Apply(t.Context(), hostapi.Batch{Steps: make([]hostapi.Step, 3)})
	if !errors.Is(err, hostapi.ErrForeign) {
		t.Errorf("error %v, want ErrForeign", err)
	}
	if d := cmp.Diff(partial, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestPanicIsAnErrorOfThatCallOnly(t *testing.T) {
	c, _ := serve(t, &stub{
		observe: func(context.Context, hostapi.ObserveRequest) (hostapi.Facts, error) {
			var none *hostapi.Facts
			return *none, nil
		},
		probe: func(context.Context, []hostapi.Probe) ([]hostapi.ProbeResult, error) { return nil, nil },
	}, ClientOptions{}, ServeOptions{})
	_, err := c.Observe(t.Context(), hostapi.ObserveRequest{})
	e := hostapi.AsError(err)
	if e == nil || e.Kind != hostapi.KindInternal || !strings.Contains(e.Message, "observe panicked at wire_test.go:") {
		t.Errorf("error %v, want KindInternal that says where", err)
	}
	if _, err := c.Probe(t.Context(), nil); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestAnswersThatDoNotFitAreRefused(t *testing.T) {
	steps := func(n int) hostapi.BatchResult { return hostapi.BatchResult{Steps: make([]hostapi.StepResult, n)} }
	var answer hostapi.BatchResult
	var failed error
	c, _ := serve(t, &stub{
		apply: func(context.Context, hostapi.Batch) (hostapi.BatchResult, error) { return answer, failed },
		probe: func(context.Context, []hostapi.Probe) ([]hostapi.ProbeResult, error) {
			return make([]hostapi.ProbeResult, 2), nil
		},
	}, ClientOptions{}, ServeOptions{})
	check := func(name string, err error) {
		t.Helper()
		if e := hostapi.AsError(err); e == nil || e.Kind != hostapi.KindInternal || !strings.HasPrefix(e.Message, "host answered ") {
			t.Errorf("%s: error %v, want KindInternal that says so", name, err)
		}
	}
	for _, n := range []int{1, 3} {
		_, err := c.Probe(t.Context(), make([]hostapi.Probe, n))
		check(fmt.Sprintf("%d probes, 2 results", n), err)
	}
	answer = steps(3)
	_, err := c.Apply(t.Context(), hostapi.Batch{Steps: make([]hostapi.Step, 2)})
	check("more results than steps", err)
	failed = hostapi.ErrBusy
	_, err = c.Apply(t.Context(), hostapi.Batch{Steps: make([]hostapi.Step, 2)})
	check("more results than steps, and an error", err)
	answer, failed = steps(1), nil
	_, err = c.Apply(t.Context(), hostapi.Batch{Steps: make([]hostapi.Step, 2)})
	check("fewer results than steps, no error", err)
}

func TestCancelReachesTheHostAndBringsThePartialResult(t *testing.T) {
	began := make(chan struct{})
	c, _ := serve(t, &stub{apply: func(ctx context.Context, _ hostapi.Batch) (hostapi.BatchResult, error) {
		close(began)
		<-ctx.Done()
		return hostapi.BatchResult{Steps: []hostapi.StepResult{{Changed: true}}}, ctx.Err()
	}}, ClientOptions{}, ServeOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	res, err := c.Apply(ctx, hostapi.Batch{Steps: make([]hostapi.Step, 3)})
	if !errors.Is(err, hostapi.ErrCanceled) {
		t.Errorf("error %v, want ErrCanceled", err)
	}
	if len(res.Steps) != 1 || !res.Steps[0].Changed {
		t.Errorf("result %+v, want the step that was done", res)
	}
}

func TestCallWithEndedContextIsNotSent(t *testing.T) {
	c, _ := serve(t, &stub{}, ClientOptions{}, ServeOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Observe(ctx, hostapi.ObserveRequest{}); !errors.Is(err, hostapi.ErrCanceled) {
		t.Errorf("error %v, want ErrCanceled", err)
	}
}

func TestCancelRightBehindItsCallFindsIt(t *testing.T) {
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- Serve(t.Context(), far, &stub{probe: func(ctx context.Context, _ []hostapi.Probe) ([]hostapi.ProbeResult, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, ServeOptions{})
	}()
	peer := newFrames(near, nil)
	for id := range 100 {
		for _, m := range []string{
			`{"jsonrpc":"2.0","id":%d,"method":"probe","params":[]}`,
			`{"jsonrpc":"2.0","method":"cancel","params":{"id":%d}}`,
		} {
			if err := peer.Send(fmt.Appendf(nil, m, id)); err != nil {
				t.Fatal(err)
			}
		}
		want := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"result":null,"error":{"kind":9,"message":"context canceled"}}}`, id)
		if got, err := peer.Recv(); string(got) != want {
			t.Fatalf("answer %s, %v; want %s", got, err, want)
		}
	}
	peer.Close()
	if err := within(t, served, "Serve's return"); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestCanceledCallOfADeafHostEndsAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c, _ := serve(t, &stub{probe: func(context.Context, []hostapi.Probe) ([]hostapi.ProbeResult, error) {
			<-release
			return nil, nil
		}}, ClientOptions{}, ServeOptions{})
		defer close(release)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := c.Probe(ctx, nil)
		if !errors.Is(err, hostapi.ErrCanceled) {
			t.Errorf("error %v, want ErrCanceled", err)
		}
		if took := time.Since(start); took != 10*time.Millisecond+cancelGrace {
			t.Errorf("took %v, want %v after the cancel", took, cancelGrace)
		}
		start = time.Now()
		_ = c.Close()
		if took := time.Since(start); took != 0 {
			t.Errorf("Close took %v more, want no second wait", took)
		}
	})
}

func TestLeaseExpiryCancelsWorkAndClosesTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		ended := make(chan struct{})
		host := &stub{probe: func(ctx context.Context, _ []hostapi.Probe) ([]hostapi.ProbeResult, error) {
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		}}
		served := make(chan error, 1)
		go func() { served <- Serve(t.Context(), far, host, ServeOptions{}) }()
		// A client that asks and falls silent, without closing anything.
		if err := newFrames(near, nil).Send([]byte(`{"jsonrpc":"2.0","id":1,"method":"probe","params":[]}`)); err != nil {
			t.Fatal(err)
		}
		err := within(t, served, "Serve's return")
		if !errors.Is(err, hostapi.ErrLost) {
			t.Errorf("Serve: %v, want ErrLost", err)
		}
		within(t, ended, "the end of the call")
		if n := host.closes.Load(); n != 1 {
			t.Errorf("host closed %d times, want once", n)
		}
	})
}

// mute never reads anything and does not end by Close, as a terminal may not.
type mute struct{ end chan struct{} }

func (m mute) Read([]byte) (int, error)    { <-m.end; return 0, io.EOF }
func (m mute) Write(p []byte) (int, error) { <-m.end; return 0, io.ErrClosedPipe }
func (m mute) Close() error                { return nil }

func TestLeaseExpiryDoesNotDependOnTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mute{make(chan struct{})}
		defer close(m.end)
		host := &stub{}
		err := Serve(t.Context(), m, host, ServeOptions{Lease: time.Second})
		if !errors.Is(err, hostapi.ErrLost) {
			t.Errorf("Serve: %v, want ErrLost", err)
		}
		if n := host.closes.Load(); n != 1 {
			t.Errorf("host closed %d times, want once", n)
		}
	})
}

func TestHeartbeatKeepsALongCallAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := serve(t, &stub{probe: func(ctx context.Context, _ []hostapi.Probe) ([]hostapi.ProbeResult, error) {
			select {
			case <-time.After(3 * defaultLease):
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}, ClientOptions{}, ServeOptions{})
		if _, err := c.Probe(t.Context(), nil); err != nil {
			t.Errorf("Probe over three leases: %v", err)
		}
	})
}

func TestBlockedCallsDoNotStarveHeartbeatOrCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running sync.WaitGroup
		running.Add(maxCalls)
		c, _ := serve(t, &stub{probe: func(ctx context.Context, _ []hostapi.Probe) ([]hostapi.ProbeResult, error) {
			running.Done()
			<-ctx.Done()
			return nil, ctx.Err()
		}}, ClientOptions{}, ServeOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error)
		for range maxCalls {
			go func() {
				_, err := c.Probe(ctx, nil)
				errs <- err
			}()
		}
		running.Wait()
		select {
		case err := <-errs:
			t.Errorf("a call ended within three leases: %v", err)
		case <-time.After(3 * defaultLease):
		}
		cancel()
		for range maxCalls {
			if err := within(t, errs, "the cancelled calls"); !errors.Is(err, hostapi.ErrCanceled) {
				t.Errorf("error %v, want ErrCanceled", err)
			}
		}
	})
}

func TestHundredProbesAtOnce(t *testing.T) {
	c, _ := serve(t, &stub{probe: func(_ context.Context, ps []hostapi.Probe) ([]hostapi.ProbeResult, error) {
		return []hostapi.ProbeResult{{Sent: ps[0].Bytes}}, nil
	}}, ClientOptions{}, ServeOptions{})
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			got, err := c.Probe(t.Context(), []hostapi.Probe{{Bytes: n}})
			if err != nil || got[0].Sent != n {
				t.Errorf("call %d: %v, %v", n, got, err)
			}
		})
	}
	wg.Wait()
}

func TestEOFCancelsCallsAndWaitsForThem(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	host := &stub{probe: func(ctx context.Context, _ []hostapi.Probe) ([]hostapi.ProbeResult, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}}
	host.close = func() error {
		select {
		case <-ended:
		default:
			t.Error("closed while a call runs")
		}
		return nil
	}
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), far, host, ServeOptions{}) }()
	go newFrames(near, nil).Send([]byte(`{"jsonrpc":"2.0","id":1,"method":"probe","params":[]}`))
	within(t, began, "the call")
	near.Close()
	if err := within(t, served, "Serve's return"); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if n := host.closes.Load(); n != 1 {
		t.Errorf("host closed %d times, want once", n)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	host := &stub{close: func() error { return errors.New("lock not released") }}
	err := Serve(ctx, far, host, ServeOptions{})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "lock not released") {
		t.Errorf("Serve: %v, want the cancel and the host's error", err)
	}
}

func TestServeRefusesAnOversizedFrame(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), far, &stub{}, ServeOptions{}) }()
	go near.Write([]byte{0xff, 0xff, 0xff, 0xff})
	if err := within(t, served, "Serve's return"); err == nil || !strings.Contains(err.Error(), "frame header") {
		t.Errorf("Serve: %v, want the header refused", err)
	}
}

func TestBrokenStreamFailsCallsWithItsReason(t *testing.T) {
	near, far := net.Pipe()
	asked := 0
	c := NewClient(near, ClientOptions{Reason: func() error {
		asked++
		return &hostapi.Error{Kind: hostapi.KindHelper, Message: "the helper ended: exit status 137", Hint: "more memory"}
	}})
	defer c.Close()
	pending := make(chan error, 1)
	go func() {
		_, err := c.Observe(t.Context(), hostapi.ObserveRequest{})
		pending <- err
	}()
	if _, err := readFrame(far); err != nil { // the request is out
		t.Fatal(err)
	}
	far.Close()
	first := within(t, pending, "the pending call")
	_, second := c.Apply(t.Context(), hostapi.Batch{})
	want := &hostapi.Error{Kind: hostapi.KindLost, Message: "the helper ended: exit status 137", Hint: "more memory"}
	for _, err := range []error{first, second} {
		if d := cmp.Diff(want, hostapi.AsError(err)); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
	if asked != 1 {
		t.Errorf("Reason was asked %d times, want once", asked)
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close after the stream broke: %v", err)
	}
}

func TestGarbageFromTheHostEndsTheClient(t *testing.T) {
	for name, garbage := range map[string]string{
		"no frames": "bash: command not found\n",
		"no JSON":   "\x00\x00\x00\x05hello",
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			c := NewClient(near, ClientOptions{})
			defer c.Close()
			go far.Write([]byte(garbage))
			within(t, c.rpc.stopped, "the client's end")
			if _, err := c.Observe(t.Context(), hostapi.ObserveRequest{}); !errors.Is(err, hostapi.ErrLost) {
				t.Errorf("error %v, want ErrLost", err)
			}
		})
	}
}

func TestNonsenseInAnAnswerIsAnErrorOfThatCall(t *testing.T) {
	for name, answer := range map[string]string{
		"error object": `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}`,
		"wrong type":   `{"jsonrpc":"2.0","id":1,"result":{"result":{"links":7}}}`,
		"kind 999":     `{"jsonrpc":"2.0","id":1,"result":{"error":{"kind":999,"message":"m"}}}`,
		"no version":   `{"id":1,"result":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			c := NewClient(near, ClientOptions{})
			peer := newFrames(far, nil)
			go func() {
				_, _ = peer.Recv()
				_ = peer.Send([]byte(answer))
				_, _ = peer.Recv() // the close, which gets no answer
				peer.Close()
			}()
			_, err := c.Observe(t.Context(), hostapi.ObserveRequest{})
			if e := hostapi.AsError(err); e == nil || e.Kind != hostapi.KindInternal || !strings.HasPrefix(e.Message, "host answered ") {
				t.Errorf("error %v, want KindInternal that says so", err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

func TestMessagesTooLargeForAFrameAreErrors(t *testing.T) {
	c, _ := serve(t, &stub{
		observe: func(context.Context, hostapi.ObserveRequest) (hostapi.Facts, error) {
			return hostapi.Facts{Hostname: strings.Repeat("x", maxFrame)}, nil
		},
		probe: func(context.Context, []hostapi.Probe) ([]hostapi.ProbeResult, error) { return nil, nil },
	}, ClientOptions{}, ServeOptions{})
	_, err := c.Observe(t.Context(), hostapi.ObserveRequest{})
	if e := hostapi.AsError(err); e == nil || e.Kind != hostapi.KindInternal {
		t.Errorf("large answer: error %v, want KindInternal", err)
	}
	_, err = c.Observe(t.Context(), hostapi.ObserveRequest{Lab: strings.Repeat("x", maxFrame)})
	if e := hostapi.AsError(err); e == nil || e.Kind != hostapi.KindInvalid {
		t.Errorf("large request: error %v, want KindInvalid", err)
	}
	if _, err := c.Probe(t.Context(), nil); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestCloseFailsPendingCallsAndClosesTheHostOnce(t *testing.T) {
	began := make(chan struct{})
	host := &stub{
		probe: func(ctx context.Context, _ []hostapi.Probe) ([]hostapi.ProbeResult, error) {
			close(began)
			<-ctx.Done()
			return nil, ctx.Err()
		},
		close: func() error { return &hostapi.Error{Kind: hostapi.KindPermission, Message: "remove the lock"} },
	}
	c, served := serve(t, host, ClientOptions{}, ServeOptions{})
	pending := make(chan error, 1)
	go func() {
		_, err := c.Probe(t.Context(), nil)
		pending <- err
	}()
	within(t, began, "the call")
	for range 2 {
		if e := hostapi.AsError(c.Close()); e == nil || e.Kind != hostapi.KindPermission {
			t.Errorf("Close: %v, want the host's error", e)
		}
		// The host is closed when Close returns, so its lock is free.
		if n := host.closes.Load(); n != 1 {
			t.Errorf("host closed %d times, want once", n)
		}
	}
	if err := within(t, pending, "the pending call"); !errors.Is(err, hostapi.ErrLost) {
		t.Errorf("pending call: %v, want ErrLost", err)
	}
	if _, err := c.Observe(t.Context(), hostapi.ObserveRequest{}); !errors.Is(err, hostapi.ErrLost) {
		t.Errorf("call after Close: %v, want ErrLost", err)
	}
	if err := within(t, served, "Serve's return"); err == nil {
		t.Error("Serve: nil, want the host's error")
	}
}

func TestCloseOfADeafHostEndsAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe() // nobody reads far
		defer far.Close()
		c := NewClient(near, ClientOptions{})
		start := time.Now()
		if err := c.Close(); !errors.Is(err, hostapi.ErrLost) {
			t.Errorf("Close: %v, want ErrLost", err)
		}
		if took := time.Since(start); took != grace {
			t.Errorf("took %v, want %v", took, grace)
		}
	})
}

func TestCloseDuringABlockedWriteEndsAllTheSame(t *testing.T) {
	near, far := net.Pipe() // nobody reads far
	defer far.Close()
	stuck := &counted{ReadWriteCloser: near, began: make(chan struct{}, 1)}
	c := NewClient(stuck, ClientOptions{Heartbeat: time.Millisecond})
	within(t, stuck.began, "a heartbeat")
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	if err := within(t, closed, "Close's return"); !errors.Is(err, hostapi.ErrLost) {
		t.Errorf("Close: %v, want ErrLost", err)
	}
}

func TestEveryCallIsOneRequestAndOneAnswer(t *testing.T) {
	near, far := net.Pipe()
	toClient := &counted{ReadWriteCloser: far}
	done := make(chan error, 1)
	go func() {
		done <- Serve(context.Background(), toClient, &stub{
			apply: func(_ context.Context, b hostapi.Batch) (hostapi.BatchResult, error) {
				return hostapi.BatchResult{Steps: make([]hostapi.StepResult, len(b.Steps))}, nil
			},
		}, ServeOptions{})
	}()
	toHost := &counted{ReadWriteCloser: near}
	c := NewClient(toHost, ClientOptions{})
	if _, err := c.Apply(t.Context(), hostapi.Batch{Steps: make([]hostapi.Step, 50)}); err != nil {
		t.Fatal(err)
	}
	if out, in := toHost.writes.Load(), toClient.writes.Load(); out != 1 || in != 1 {
		t.Errorf("%d writes out, %d in; want one each", out, in)
	}
	c.Close()
	within(t, done, "Serve's return")
}

// counted counts writes. If began is not nil, it gets the first.
type counted struct {
	io.ReadWriteCloser
	writes atomic.Int32
	began  chan struct{}
}

func (c *counted) Write(p []byte) (int, error) {
	if c.writes.Add(1) == 1 && c.began != nil {
		c.began <- struct{}{}
	}
	return c.ReadWriteCloser.Write(p)
}

func TestServerRefusesNonsenseAndGoesOn(t *testing.T) {
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), far, &stub{}, ServeOptions{}) }()
	peer := newFrames(near, nil)
	for _, request := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"rpc.serverInfo"}`,
		`{"jsonrpc":"2.0","id":2,"method":"observe","params":{"lab":7}}`,
		`not json`,
	} {
		if err := peer.Send([]byte(request)); err != nil {
			t.Fatalf("%s: %v", request, err)
		}
		body, err := peer.Recv()
		var answer struct{ Error *struct{ Code int } }
		if err == nil {
			err = json.Unmarshal(body, &answer)
		}
		if err != nil || answer.Error == nil {
			t.Errorf("%s: answer %s, %v; want an error object", request, body, err)
		}
	}
	peer.Close()
	if err := within(t, served, "Serve's return"); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestWhatNotEveryHostCan(t *testing.T) {
	req := hostapi.PrepareRequest{Libvirt: true}
	c, _ := serve(t, &stub{}, ClientOptions{}, ServeOptions{})
	_, missing := c.Missing(t.Context(), req)
	_, prepare := c.Prepare(t.Context(), req)
	_, clean := c.Clean(t.Context())
	for what, err := range map[string]error{"Missing": missing, "Prepare": prepare, "Clean": clean} {
		if !errors.Is(err, hostapi.ErrUnsupported) {
			t.Errorf("%s: %v, want ErrUnsupported", what, err)
		}
	}

	c, _ = serve(t, able{&stub{}}, ClientOptions{}, ServeOptions{})
	want := hostapi.Preparation{Manager: "apt", Packages: []string{"libvirt"}, Units: []string{"a.socket"}, Daemons: []string{"a -d"}, Notes: []string{"slow"}}
	if got, err := c.Missing(t.Context(), req); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("Missing: %+v, %v; want %+v", got, err, want)
	}
	if got, err := c.Prepare(t.Context(), req); err == nil || err.Error() != "no" || cmp.Diff(want, got) != "" {
		t.Errorf("Prepare: %+v, %v; want what was done and the error", got, err)
	}
	if got, err := c.Clean(t.Context()); err != nil || cmp.Diff([]string{"/a", "/b"}, got) != "" {
		t.Errorf("Clean: %q, %v", got, err)
	}
}

// able is a stub that is a Preparer and a Cleaner too.
type able struct{ *stub }

func (able) Missing(_ context.Context, req hostapi.PrepareRequest) (hostapi.Preparation, error) {
	if !req.Libvirt {
		return hostapi.Preparation{}, errors.New("the request got lost")
	}
	return hostapi.Preparation{Manager: "apt", Packages: []string{"libvirt"}, Units: []string{"a.socket"}, Daemons: []string{"a -d"}, Notes: []string{"slow"}}, nil
}

func (a able) Prepare(ctx context.Context, req hostapi.PrepareRequest) (hostapi.Preparation, error) {
	p, _ := a.Missing(ctx, req)
	return p, errors.New("no")
}

func (able) Clean(context.Context) ([]string, error) { return []string{"/a", "/b"}, nil }
