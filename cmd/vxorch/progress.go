package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
)

// progress shows a run's events on standard error.
type progress struct {
	event func(run.Event)
	end   func()
	hold  func() (release func()) // shows nothing while the user is asked; what happens meanwhile is shown afterwards
	log   io.Writer               // for lines beside it
}

// newProgress makes the kind asked for: auto is live lines on a terminal and log
// lines elsewhere, and on a terminal of very few lines.
func newProgress(kind string, w io.Writer, lab *inventory.Lab) (progress, error) {
	switch {
	case kind == "none":
		return pausing(func(run.Event) {}, func() {}, w), nil
	case kind == "json":
		return pausing(jsonProgress(w, time.Now), func() {}, w), nil
	case kind == "auto" && isTerminal(w) && os.Getenv("TERM") != "dumb":
		l := newLive(w.(*os.File), lab)
		if _, height := l.size(); height >= leastHeight {
			return pausing(l.event, l.end, l), nil
		}
		return pausing(lineProgress(w), func() {}, w), nil
	case kind == "auto", kind == "lines":
		return pausing(lineProgress(w), func() {}, w), nil
	}
	return progress{}, &usageError{fmt.Sprintf("unknown progress %q", kind), "one of auto, lines, json, none"}
}

// pausing makes a progress that can be held out of what shows events and ends.
func pausing(show func(run.Event), end func(), log io.Writer) progress {
	var mu sync.Mutex
	asking := 0
	var missed []run.Event
	return progress{
		log: log,
		event: func(e run.Event) {
			mu.Lock()
			defer mu.Unlock()
			if asking > 0 {
				missed = append(missed, e)
				return
			}
			show(e)
		},
		end: end,
		hold: func() func() {
			mu.Lock()
			defer mu.Unlock()
			asking++
			end()
			return func() {
				mu.Lock()
				defer mu.Unlock()
				if asking--; asking > 0 {
					return
				}
				for _, e := range missed {
					show(e)
				}
				missed = nil
			}
		},
	}
}

// lineProgress logs every stage that ends, and of one that goes on for long now
// and then how far it is: after 10 seconds, 20, 40, …
func lineProgress(w io.Writer) func(run.Event) {
	type stage struct{ host, name string }
	next := map[stage]float64{} // seconds
	return func(e run.Event) {
		key := stage{e.Host, e.Stage}
		if next[key] == 0 {
			next[key] = 10
		}
		switch {
		case e.Done:
			delete(next, key)
			fmt.Fprintf(w, "%s %s\n", e.Host, describeEvent(e))
		case e.Note != "" && e.Seconds >= next[key]:
			for next[key] <= e.Seconds {
				next[key] *= 2
			}
			fmt.Fprintf(w, "%s %s %s …\n", e.Host, e.Stage, report.Clean(e.Note))
		}
	}
}

// progressRow is an event as programs get it.
type progressRow struct {
	Event string `json:"event"` // begin, progress, transfer, end
	Time  string `json:"time"`  // RFC 3339, UTC
	Host  string `json:"host"`  // a host's name, or "controller"
	Stage string `json:"stage"`
	Note  string `json:"note,omitempty"` // of progress and transfer, for people
	// Seconds since the stage or the transfer began, of any but begin.
	Seconds float64 `json:"seconds,omitempty"`
	Bytes   int64   `json:"bytes,omitempty"` // of a transfer
	Total   int64   `json:"total,omitempty"`
	Rate    float64 `json:"rate,omitempty"`   // bytes a second
	Result  string  `json:"result,omitempty"` // of end: ok, changed or failed
	Changed int     `json:"changed,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// jsonProgress writes an object a line for every event.
func jsonProgress(w io.Writer, now func() time.Time) func(run.Event) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return func(e run.Event) {
		row := progressRow{
			Event: "begin", Time: now().UTC().Format(time.RFC3339Nano), Host: e.Host, Stage: e.Stage, Note: e.Note, Seconds: e.Seconds,
			Bytes: e.Bytes, Total: e.Total, Rate: e.Rate, Result: e.Result, Changed: e.Changed,
		}
		switch {
		case e.Done:
			row.Event = "end"
		case e.Bytes > 0 || e.Total > 0:
			row.Event = "transfer"
		case e.Note != "":
			row.Event = "progress"
		}
		if e.Err != nil {
			row.Error = e.Err.Error()
		}
		_ = enc.Encode(row) // nobody to tell when standard error is gone
	}
}

func describeEvent(e run.Event) string {
	switch {
	case e.Err != nil:
		return e.Stage + " failed"
	case e.Changed > 0:
		return fmt.Sprintf("%s %s in %s", e.Stage, count(e.Changed, "change"), seconds(e.Seconds))
	}
	return fmt.Sprintf("%s %s in %s", e.Stage, report.OK, seconds(e.Seconds))
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}
