package wire

import (
	"strings"

	"vxorch/remote/hostapi"
)

// What a host may say in one answer. A frame of 16 MiB that says next to nothing
// a hundred thousand times becomes a hundred times its size when it is read.
const (
	maxElements = 500_000 // of all lists and objects: a host with ten thousand links has a third of that
	maxString   = 1 << 20 // bytes
	maxMessage  = 8 << 10 // bytes of an error or a note; the rest is cut off
)

// checkSize refuses an answer that would take more memory than it is worth. It
// looks at the JSON before anything is made of it, and does not care whether it
// is well-formed.
func checkSize(body []byte) error {
	elements := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case ',':
			if elements++; elements > maxElements {
				return misfitf("it has more than %d elements", maxElements)
			}
		case '"':
			begin := i + 1
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
			if i-begin > maxString {
				return misfitf("it has a string of more than %d bytes", maxString)
			}
		}
	}
	return nil
}

// known gives e a kind if its sender did not, and cuts its texts.
func known(e *hostapi.Error) *hostapi.Error {
	if e == nil {
		return nil
	}
	if e.Kind == 0 || e.Kind > hostapi.KindHelper {
		e.Kind = hostapi.KindInternal
	}
	e.Message, e.Hint = cut(e.Message), cut(e.Hint)
	return e
}

func cut(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "") + "…"
}

// checkSteps refuses results that are not those of a batch's steps: some of the
// first, or with whole all of them.
func checkSteps(results []hostapi.StepResult, batch hostapi.Batch, whole bool) error {
	if got, want := len(results), len(batch.Steps); got > want || whole && got < want {
		return strange("results of %d steps to a batch of %d", got, want)
	}
	for i := range results {
		r := &results[i]
		if r.Duration < 0 {
			return strange("%v as the time that a step took", r.Duration)
		}
		r.Note, r.Error = cut(r.Note), known(r.Error)
	}
	return nil
}

// checkProbes refuses results that are not those of the probes.
func checkProbes(results []hostapi.ProbeResult, probes []hostapi.Probe) error {
	if got, want := len(results), len(probes); got != want {
		return strange("results of %d probes to a request of %d", got, want)
	}
	for i := range results {
		r := &results[i]
		if r.Received < 0 || r.Received > r.Sent || r.RTT < 0 {
			return strange("%d replies to %d requests, after %v", r.Received, r.Sent, r.RTT)
		}
		r.Error = known(r.Error)
	}
	return nil
}
