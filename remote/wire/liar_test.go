package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vxorch/remote/hostapi"
)

// liar is a helper that answers whatever it likes. It speaks when it was asked,
// which for a second may be nothing.
type liar func(w io.Writer)

// asked gives what the three calls come to at a client of it, each of its own.
// It hangs up when it has spoken, or when the client does.
func (l liar) asked(t *testing.T, hangsUp bool) map[string]error {
	t.Helper()
	errs := map[string]error{}
	for name, ask := range calls {
		near, far := net.Pipe()
		c := NewClient(near, ClientOptions{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer far.Close()
			if _, err := readFrame(far); err == nil {
				l(far)
			}
			if !hangsUp {
				_, _ = io.Copy(io.Discard, far)
			}
		}()
		errs[name] = ask(t, c)
		_ = near.Close() // else Close would wait for a host that confirms
		_ = c.Close()
		<-done
	}
	return errs
}

var twoSteps = hostapi.Batch{Steps: []hostapi.Step{{Op: hostapi.Create}, {Op: hostapi.Remove}}}

var calls = map[string]func(*testing.T, *Client) error{
	"observe": func(t *testing.T, c *Client) error {
		_, err := c.Observe(t.Context(), hostapi.ObserveRequest{Lab: "lu"})
		return err
	},
	"apply": func(t *testing.T, c *Client) error {
		result, err := c.Apply(t.Context(), twoSteps)
		if len(result.Steps) > len(twoSteps.Steps) {
			t.Errorf("results of %d steps came through", len(result.Steps))
		}
		return err
	},
	"probe": func(t *testing.T, c *Client) error {
		results, err := c.Probe(t.Context(), make([]hostapi.Probe, 2))
		if err == nil && len(results) != 2 {
			t.Errorf("results of %d probes came through", len(results))
		}
		return err
	},
}

// says sends a frame with an answer to the first call.
func says(result string) liar {
	return func(w io.Writer) { frame(w, `{"jsonrpc":"2.0","id":1,"result":{"result":`+result+`}}`) }
}

func frame(w io.Writer, body string) {
	_, _ = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
}

func repeated(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }

func TestLyingHelperFailsItsCallsOnly(t *testing.T) {
	lost, nonsense := hostapi.KindLost, hostapi.KindInternal
	for name, tc := range map[string]struct {
		liar
		want hostapi.Kind // of calls that fail; 0: none does
		all  bool         // every call fails
	}{
		"hangs up":                          {func(io.Writer) {}, lost, true},
		"a shell's words":                   {func(w io.Writer) { fmt.Fprint(w, strings.Repeat("Welcome to host1!\n", 1000)) }, lost, true},
		"a frame without end":               {func(w io.Writer) { fmt.Fprint(w, "\x00\xff\xff\xff{\"jsonrpc\"") }, lost, true},
		"a frame of 4 GiB":                  {func(w io.Writer) { fmt.Fprint(w, "\xff\xff\xff\xff{") }, lost, true},
		"an empty frame":                    {func(w io.Writer) { fmt.Fprint(w, "\x00\x00\x00\x00") }, lost, true},
		"no JSON":                           {func(w io.Writer) { frame(w, "}") }, lost, true},
		"a number out of range":             {says(`{"links":[{"index":1e999}],"steps":[{"duration":1e999},{}]}`), nonsense, true},
		"not a number":                      {says(`{"links":[{"mtu":NaN}]}`), lost, true},
		"another type":                      {says(`"yes"`), nonsense, true},
		"deep nesting":                      {says(strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20)), lost, true},
		"deep objects":                      {says(strings.Repeat(`{"virt":`, 1<<18) + "{}" + strings.Repeat("}", 1<<18)), lost, true},
		"a million links":                   {says(`{"links":[` + repeated("{}", 1<<20) + `]}`), lost, true},
		"a million steps":                   {says(`{"steps":[` + repeated("{}", 1<<20) + `]}`), lost, true},
		"a name of 8 MiB":                   {says(`{"hostname":"` + strings.Repeat("h", 8<<20) + `"}`), lost, true},
		"a quote of 8 MiB, escaped":         {says(`{"hostname":"` + strings.Repeat(`\"`, 4<<20) + `"}`), lost, true},
		"three steps of two":                {says(`{"steps":[{},{},{}]}`), nonsense, false},
		"one step of two":                   {says(`{"steps":[{}]}`), nonsense, false},
		"steps that took less than no time": {says(`{"steps":[{"duration":-1},{}]}`), nonsense, false},
		"more replies than requests":        {says(`[{"sent":1,"received":2},{}]`), nonsense, true},
		"less than none":                    {says(`[{"sent":-3,"received":-5},{}]`), nonsense, true},
		"a round trip into the past":        {says(`[{"sent":1,"received":1,"rtt":-1},{}]`), nonsense, true},
		"one probe of two":                  {says(`[{"sent":1,"received":1}]`), nonsense, true},
		"an error of no kind": {func(w io.Writer) {
			frame(w, `{"jsonrpc":"2.0","id":1,"result":{"result":null,"error":{"kind":200,"message":"x"}}}`)
		}, nonsense, true},
		"an error of too large a kind": {func(w io.Writer) { frame(w, `{"jsonrpc":"2.0","id":1,"result":{"error":{"kind":99999}}}`) }, nonsense, true},
		"answers to calls never made": {func(w io.Writer) {
			for n := 2; n < 1000; n++ {
				frame(w, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, n))
			}
		}, lost, true},
		"the same answer a thousand times": {func(w io.Writer) {
			for range 1000 {
				says(`[{},{}]`)(w)
			}
		}, nonsense, false},
		"a hundred thousand notifications": {func(w io.Writer) {
			for range 100_000 {
				frame(w, `{"jsonrpc":"2.0","method":"progress","params":[1]}`)
			}
			says(`null`)(w)
		}, nonsense, false},
		"requests of its own": {func(w io.Writer) {
			for n := range 1000 {
				frame(w, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"apply","params":{}}`, n))
			}
		}, lost, true},
	} {
		t.Run(name, func(t *testing.T) {
			for call, err := range tc.asked(t, tc.want == lost) {
				var e *hostapi.Error
				switch {
				case err == nil && tc.all:
					t.Errorf("%s: no error", call)
				case err != nil && (!errors.As(err, &e) || e.Kind != tc.want):
					t.Errorf("%s: error %v, want one of kind %d", call, err, tc.want)
				case err != nil && len(e.Message) > 3*maxMessage:
					t.Errorf("%s: an error of %d bytes", call, len(e.Message))
				}
			}
		})
	}
}

func TestLongWordsOfAHostAreCut(t *testing.T) {
	long := strings.Repeat("é", maxMessage)
	text := `{"kind":2,"message":"` + long + `","hint":"` + long + `"}`
	near, far := net.Pipe()
	c := NewClient(near, ClientOptions{})
	defer c.Close()
	go func() {
		defer far.Close()
		_, _ = readFrame(far)
		frame(far, `{"jsonrpc":"2.0","id":1,"result":{"result":{"steps":[{"note":"`+long+`"},{"error":`+text+`}]},"error":`+text+`}}`)
		_, _ = readFrame(far)
	}()
	result, err := c.Apply(t.Context(), twoSteps)
	e := hostapi.AsError(err)
	if len(result.Steps) != 2 {
		t.Fatalf("%d steps, want 2", len(result.Steps))
	}
	for name, got := range map[string]string{
		"message": e.Message, "hint": e.Hint, "note": result.Steps[0].Note, "step's message": result.Steps[1].Error.Message, "step's hint": result.Steps[1].Error.Hint,
	} {
		if len(got) > maxMessage+len("…") || !strings.HasSuffix(got, "é…") {
			t.Errorf("%s: %d bytes that end with %q, want %d and an ellipsis", name, len(got), got[max(0, len(got)-8):], maxMessage)
		}
	}
}

// TestAnswerOfManyNothingsTakesLittleMemory: 16 MiB of them would be gigabytes.
func TestAnswerOfManyNothingsTakesLittleMemory(t *testing.T) {
	body := `{"jsonrpc":"2.0","id":1,"result":{"result":{"links":[` + repeated("{}", (maxFrame-1000)/3) + `]}}}`
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	errs := liar(func(w io.Writer) { frame(w, body) }).asked(t, true)
	runtime.ReadMemStats(&after)
	if err := errs["observe"]; !errors.Is(err, hostapi.ErrLost) || !strings.Contains(err.Error(), "elements") {
		t.Errorf("error %v, want the answer refused", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 512<<20 {
		t.Errorf("three such answers took %d MiB", took>>20)
	}
}

func TestHostThatDoesNotAnswerIsGivenUp(t *testing.T) {
	for name, talk := range map[string]func(c net.Conn, end <-chan struct{}){
		"says nothing": func(_ net.Conn, end <-chan struct{}) { <-end },
		"a byte a second": func(c net.Conn, end <-chan struct{}) {
			_, _ = c.Write([]byte("\x00\xff\xff\xff"))
			for {
				select {
				case <-end:
					return
				case <-time.After(time.Second):
					if _, err := c.Write([]byte("[")); err != nil {
						return
					}
				}
			}
		},
		"a notification a second": func(c net.Conn, end <-chan struct{}) {
			for {
				select {
				case <-end:
					return
				case <-time.After(time.Second):
					frame(c, `{"jsonrpc":"2.0","method":"soon"}`)
				}
			}
		},
	} {
		for call, ask := range calls {
			t.Run(name+" to "+call, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					near, far := net.Pipe()
					end, ended := make(chan struct{}), make(chan struct{})
					go func() { _, _ = io.Copy(io.Discard, far) }()
					go func() {
						defer close(ended)
						talk(far, end)
					}()
					c := NewClient(near, ClientOptions{})
					began := time.Now()
					err := ask(t, c)
					if !errors.Is(err, hostapi.ErrLost) || !strings.Contains(err.Error(), "did not answer "+call) {
						t.Errorf("error %v, want the host given up", err)
					}
					if took := time.Since(began); took < time.Minute || took > 10*time.Minute {
						t.Errorf("given up after %v", took)
					}
					if err := ask(t, c); !errors.Is(err, hostapi.ErrLost) {
						t.Errorf("the next call: %v, want ErrLost", err)
					}
					_ = c.Close()
					close(end)
					_ = far.Close()
					<-ended
				})
			})
		}
	}
}

// TestFloodEndsWithThePatience: it is not silence that ends a call.
func TestFloodEndsWithThePatience(t *testing.T) {
	near, far := net.Pipe()
	flood := bytes.Buffer{}
	for range 1000 {
		frame(&flood, `{"jsonrpc":"2.0","method":"progress","params":["`+strings.Repeat("x", 100)+`"]}`)
	}
	go func() { _, _ = io.Copy(io.Discard, far) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := far.Write(flood.Bytes()); err != nil {
				return
			}
		}
	}()
	c := NewClient(near, ClientOptions{})
	c.patience = func(any) time.Duration { return 50 * time.Millisecond }
	_, err := c.Observe(t.Context(), hostapi.ObserveRequest{})
	if !errors.Is(err, hostapi.ErrLost) || !strings.Contains(err.Error(), "did not answer observe within 50ms") {
		t.Errorf("error %v, want the host given up", err)
	}
	_ = c.Close()
	_ = far.Close()
	within(t, done, "the flood's end")
}

func TestHostThatDoesNotReadIsGivenUp(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := NewClient(near, ClientOptions{Heartbeat: time.Millisecond})
	c.patience = func(any) time.Duration { return 20 * time.Millisecond }
	for name, ask := range calls {
		if err := ask(t, c); !errors.Is(err, hostapi.ErrLost) || !strings.Contains(err.Error(), "did not answer") {
			t.Errorf("%s: %v, want the host given up", name, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestPatienceGrowsWithTheWork(t *testing.T) {
	guest := &hostapi.Guest{Deadline: 4 * time.Minute}
	for name, tc := range map[string]struct {
		request any
		least   time.Duration
	}{
		"facts":           {hostapi.ObserveRequest{}, time.Minute},
		"links":           {hostapi.Batch{Steps: make([]hostapi.Step, 100)}, 10 * time.Minute},
		"guests":          {hostapi.Batch{Steps: []hostapi.Step{{Guest: guest}, {Guest: guest}}}, 8 * time.Minute},
		"a domain":        {hostapi.Batch{Steps: []hostapi.Step{{Domain: &hostapi.Domain{}}}}, 5 * time.Minute},
		"pings":           {[]hostapi.Probe{{}}, 10 * time.Second},
		"pings in guests": {[]hostapi.Probe{{Guest: guest}}, 4 * time.Minute},
		"an image":        {hostapi.ImageChunk{}, 10 * time.Minute},
		"packages":        {hostapi.PrepareRequest{}, 30 * time.Minute},
	} {
		if got := patienceFor(tc.request); got < tc.least || got > 2*time.Hour {
			t.Errorf("%s: %v, want at least %v", name, got, tc.least)
		}
	}
}
