package wire

import (
	"encoding/json"
	"errors"
	"fmt"

	"vxorch/remote/hostapi"
)

// The protocol is JSON-RPC 2.0 without its batches: a batch of ours is one call,
// since those of JSON-RPC may run in any order.
const version = "2.0"

// JSON-RPC's own error codes. They say that a request was not understood; what
// a host could not do is in the reply.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeNoMethod       = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
)

// request is a call or, without an ID, a notification, which is not answered.
type request[P any] struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method"`
	Params  P               `json:"params,omitempty"`
}

// answer has a result or an error, and the ID of its request; null if that could
// not be read.
type answer[R any] struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  R               `json:"result,omitempty"`
	Error   *fault          `json:"error,omitempty"`
}

// fault is JSON-RPC's error object.
type fault struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (f *fault) Error() string { return fmt.Sprintf("error %d: %s", f.Code, f.Message) }

// decode gives the result, unless there is none to be had.
func decode(a answer[json.RawMessage], result any) error {
	switch {
	case a.Version != version:
		return errors.New("it is not JSON-RPC 2.0")
	case a.Error != nil:
		return a.Error
	}
	return json.Unmarshal(a.Result, result)
}

// cancelParams name the call that is to end by its request's ID.
type cancelParams struct {
	ID json.RawMessage `json:"id"`
}

// reply is the result of every call. It carries both result and error, since
// the steps done before one failed matter as much as the failure.
type reply[A any] struct {
	Result A              `json:"result"`
	Error  *hostapi.Error `json:"error,omitempty"`
}

// none is the request or the result of what has none.
type none struct{}
