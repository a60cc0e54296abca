package wire

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
)

var errEnded = errors.New("the stream ended")

// caller is the asking end of a stream. It serves nothing: requests that come
// from the other end are passed over.
type caller struct {
	stream  *frames
	stopped chan struct{} // closed when nothing more is read

	mu      sync.Mutex
	last    uint64 // ID
	waiting map[string]chan<- answer[json.RawMessage]
	ended   bool
}

func newCaller(stream *frames) *caller {
	c := &caller{
		stream:  stream,
		stopped: make(chan struct{}),
		waiting: map[string]chan<- answer[json.RawMessage]{},
	}
	go c.read()
	return c
}

// call sends one request and waits for its answer for as long as the stream
// lasts. When ctx ends, the other end is told, and the wait goes on: what was
// done is to be known.
func (c *caller) call(ctx context.Context, method string, params, result any) error {
	id, answered := c.begin()
	if err := c.send(request[any]{Version: version, ID: id, Method: method, Params: params}); err != nil {
		c.forget(id)
		return err
	}
	var a answer[json.RawMessage]
	var ok bool
	select {
	case a, ok = <-answered:
	case <-ctx.Done():
		// A failure to send breaks the stream, which ends the wait.
		_ = c.notify(methodCancel, cancelParams{id})
		a, ok = <-answered
	}
	if !ok {
		return errEnded
	}
	return decode(a, result)
}

func (c *caller) notify(method string, params any) error {
	return c.send(request[any]{Version: version, Method: method, Params: params})
}

func (c *caller) send(message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return c.stream.Send(body)
}

// begin gives a call its ID and where its answer comes. That is closed when the
// stream ends.
func (c *caller) begin() (json.RawMessage, <-chan answer[json.RawMessage]) {
	answered := make(chan answer[json.RawMessage], 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	id := strconv.AppendUint(nil, c.last, 10)
	if c.ended {
		close(answered)
	} else {
		c.waiting[string(id)] = answered
	}
	return id, answered
}

func (c *caller) forget(id json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, string(id))
}

// read hands out answers until the stream ends, or says what is no message. What
// cannot be read may be the answer to any call, so that none can be waited for.
func (c *caller) read() {
	defer c.end()
	for {
		body, err := c.stream.Recv()
		if err != nil {
			return
		}
		if err := checkSize(body); err != nil {
			_ = c.stream.broken(err)
			return
		}
		var message struct {
			Method string `json:"method"`
			answer[json.RawMessage]
		}
		if err := json.Unmarshal(body, &message); err != nil {
			return
		}
		if message.Method != "" {
			continue
		}
		if id := string(message.ID); id == "" || id == "null" {
			return
		}
		c.deliver(message.answer)
	}
}

// deliver passes over what nobody waits for: an answer comes but once.
func (c *caller) deliver(a answer[json.RawMessage]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answered, ok := c.waiting[string(a.ID)]; ok {
		delete(c.waiting, string(a.ID))
		answered <- a
	}
}

func (c *caller) end() {
	_ = c.stream.Close()
	close(c.stopped) // first: who waited finds that it has
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for id, answered := range c.waiting {
		delete(c.waiting, id)
		close(answered)
	}
}
