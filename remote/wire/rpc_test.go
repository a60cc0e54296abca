package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"vxorch/remote/hostapi"
)

// against gives a client of a peer that is driven by hand.
func against(t *testing.T) (*Client, *frames) {
	t.Helper()
	near, far := net.Pipe()
	c := NewClient(near, ClientOptions{})
	peer := newFrames(far, nil)
	t.Cleanup(func() {
		peer.Close()
		c.Close()
	})
	return c, peer
}

func TestOnlyTheAnswerToACallEndsIt(t *testing.T) {
	c, peer := against(t)
	go func() {
		_, _ = peer.Recv()
		for _, m := range []string{
			`{"jsonrpc":"2.0","id":99,"result":{"result":{"hostname":"of nobody's call"}}}`,
			`{"jsonrpc":"2.0","id":"1","result":{"result":{"hostname":"another ID"}}}`,
			`{"jsonrpc":"2.0","id":1,"method":"observe","params":{}}`, // the peer's IDs are its own
			`{"jsonrpc":"2.0","method":"progress"}`,
			`{"jsonrpc":"2.0","id":1,"result":{"result":{"hostname":"right"}}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"result":{"hostname":"again"}}}`,
		} {
			_ = peer.Send([]byte(m))
		}
	}()
	facts, err := c.Observe(t.Context(), hostapi.ObserveRequest{})
	if err != nil || facts.Hostname != "right" {
		t.Errorf("Observe: %q, %v; want the one answer", facts.Hostname, err)
	}
}

func TestAnswersComeInAnyOrder(t *testing.T) {
	c, peer := against(t)
	const calls = 10
	go func() {
		ids := map[string]string{}
		for range calls {
			body, _ := peer.Recv()
			var req request[hostapi.ObserveRequest]
			_ = json.Unmarshal(body, &req)
			ids[string(req.ID)] = req.Params.Lab
		}
		for id, lab := range ids { // in a random order
			_ = peer.Send(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{"result":{"hostname":%q}}}`, id, lab))
		}
	}()
	errs := make(chan error)
	for n := range calls {
		go func() {
			lab := fmt.Sprint("lab", n)
			facts, err := c.Observe(t.Context(), hostapi.ObserveRequest{Lab: lab})
			if err == nil && facts.Hostname != lab {
				err = fmt.Errorf("call of %s got the answer to %s", lab, facts.Hostname)
			}
			errs <- err
		}()
	}
	for range calls {
		if err := within(t, errs, "the calls"); err != nil {
			t.Error(err)
		}
	}
}

func TestAnswerToNoRequestInParticularEndsTheClient(t *testing.T) {
	for name, answer := range map[string]string{
		"id null": `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}`,
		"no id":   `{}`,
		"a batch": `[{"jsonrpc":"2.0","id":1,"result":{}}]`,
	} {
		t.Run(name, func(t *testing.T) {
			c, peer := against(t)
			go func() {
				_, _ = peer.Recv()
				_ = peer.Send([]byte(answer))
			}()
			if _, err := c.Observe(t.Context(), hostapi.ObserveRequest{}); !errors.Is(err, hostapi.ErrLost) {
				t.Errorf("error %v, want ErrLost", err)
			}
		})
	}
}

func TestCallsThatCannotBeToldApartAreRefused(t *testing.T) {
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- Serve(t.Context(), far, &stub{probe: func(ctx context.Context, _ []hostapi.Probe) ([]hostapi.ProbeResult, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, ServeOptions{})
	}()
	peer := newFrames(near, nil)
	send := func(id int) {
		if err := peer.Send(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"probe","params":[]}`, id)); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(want string) {
		body, err := peer.Recv()
		var a answer[reply[none]]
		if err == nil {
			err = json.Unmarshal(body, &a)
		}
		if err != nil || a.Result.Error == nil || !strings.Contains(a.Result.Error.Message, want) {
			t.Errorf("answer %s, %v; want one with %q", body, err, want)
		}
	}
	for id := range concurrency {
		send(id)
	}
	send(7)
	refused("a call with the ID 7 is under way")
	send(concurrency)
	refused("128 calls are under way")
	peer.Close()
	if err := within(t, served, "Serve's return"); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestParamsAreStructured(t *testing.T) {
	c, peer := against(t)
	go func() { _, _ = c.Probe(context.Background(), nil) }()
	body, err := peer.Recv()
	const want = `{"jsonrpc":"2.0","id":1,"method":"probe","params":[]}`
	if string(body) != want || err != nil {
		t.Errorf("request %s, %v; want %s: null is no params", body, err, want)
	}
}
