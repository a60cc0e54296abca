package wire

import (
	"bytes"
	"context"
	"io"
	"testing"

	"vxorch/remote/hostapi"
)

// script is a peer that says one thing, hears nothing and hangs up.
type script struct{ io.Reader }

func (script) Write(p []byte) (int, error) { return len(p), nil }
func (script) Close() error                { return nil }

// FuzzAnswers is a helper that says anything at all: every call ends, and what
// it gives fits its request.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{"result":{"steps":[{"changed":true},{"error":{"kind":3,"message":"m"}}]},"error":{"kind":3,"message":"m"}}}`,
		`{"jsonrpc":"2.0","id":2,"result":{"result":[{"sent":3,"received":1,"rtt":5},{}]}}`,
		`{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"no"}}`,
	} {
		var b bytes.Buffer
		frame(&b, body)
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		// The answer may be there before the question; the stream's end waits for
		// the last of them.
		asked := make(chan struct{})
		c := NewClient(script{io.MultiReader(waiting{asked}, bytes.NewReader(said))}, ClientOptions{})
		defer c.Close()
		ctx := context.Background()
		done := make(chan struct{}, 3)
		go func() {
			result, err := c.Apply(ctx, twoSteps)
			if len(result.Steps) > 2 || err == nil && len(result.Steps) != 2 {
				t.Errorf("%d steps, %v", len(result.Steps), err)
			}
			done <- struct{}{}
		}()
		go func() {
			results, err := c.Probe(ctx, make([]hostapi.Probe, 2))
			if (err == nil) != (len(results) == 2) {
				t.Errorf("%d probes, %v", len(results), err)
			}
			done <- struct{}{}
		}()
		go func() {
			_, err := c.Observe(ctx, hostapi.ObserveRequest{})
			if e := hostapi.AsError(err); err != nil && (e.Kind == 0 || e.Kind > hostapi.KindHelper) {
				t.Errorf("an error of kind %d", e.Kind)
			}
			done <- struct{}{}
		}()
		close(asked)
		for range 3 {
			<-done
		}
	})
}

// waiting is an empty reader that ends late.
type waiting struct{ until <-chan struct{} }

func (w waiting) Read([]byte) (int, error) {
	<-w.until
	return 0, io.EOF
}

// FuzzRequests is a controller that says anything at all: Serve ends with it, and
// closes the host.
func FuzzRequests(f *testing.F) {
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"observe","params":{"lab":"lu","peers":["192.0.2.1"]}}`,
		`{"jsonrpc":"2.0","id":1,"method":"probe","params":[{"target":"::1"}]}`,
		`{"jsonrpc":"2.0","method":"cancel","params":{"id":1}}`,
		`{"jsonrpc":"2.0","id":2,"method":"close"}`,
	} {
		var b bytes.Buffer
		frame(&b, body)
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		host := &stub{
			observe: func(context.Context, hostapi.ObserveRequest) (hostapi.Facts, error) { return hostapi.Facts{}, nil },
			apply: func(_ context.Context, b hostapi.Batch) (hostapi.BatchResult, error) {
				return hostapi.BatchResult{Steps: make([]hostapi.StepResult, len(b.Steps))}, nil
			},
			probe: func(_ context.Context, ps []hostapi.Probe) ([]hostapi.ProbeResult, error) {
				return make([]hostapi.ProbeResult, len(ps)), nil
			},
			ImageStore: noImages{},
		}
		_ = Serve(context.Background(), script{bytes.NewReader(said)}, host, ServeOptions{})
		if n := host.closes.Load(); n != 1 {
			t.Errorf("the host was closed %d times, want once", n)
		}
	})
}

type noImages struct{}

func (noImages) PutImage(context.Context, hostapi.ImageChunk) (int64, error) { return 0, nil }
