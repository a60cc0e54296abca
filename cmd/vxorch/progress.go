package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
)

// progress shows a run's events on standard error.
type progress struct {
	event func(run.Event)
	end   func()
	hold  func() (release func()) // shows nothing while the user is asked; what happens meanwhile is shown afterwards
}

// newProgress makes the kind asked for: auto is live lines on a terminal and log
// lines elsewhere.
func newProgress(kind string, w io.Writer, lab *inventory.Lab) (progress, error) {
	switch {
	case kind == "none":
		return pausing(func(run.Event) {}, func() {}), nil
	case kind == "json":
		return pausing(jsonProgress(w), func() {}), nil
	case kind == "auto" && isTerminal(w) && os.Getenv("TERM") != "dumb":
		l := newLive(w, lab)
		return pausing(l.event, l.end), nil
	case kind == "auto", kind == "lines":
		return pausing(lineProgress(w), func() {}), nil
	}
	return progress{}, &usageError{fmt.Sprintf("unknown progress %q", kind), "one of auto, lines, json, none"}
}

// pausing makes a progress that can be held out of what shows events and ends.
func pausing(show func(run.Event), end func()) progress {
	var mu sync.Mutex
	asking := 0
	var missed []run.Event
	return progress{
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

// jsonProgress writes an object a line for every event.
func jsonProgress(w io.Writer) func(run.Event) {
	enc := json.NewEncoder(w)
	return func(e run.Event) {
		row := map[string]any{"host": e.Host, "stage": e.Stage, "event": "begin"}
		if e.Note != "" {
			row["event"], row["note"] = "progress", e.Note
		}
		if e.Done {
			row["event"], row["result"], row["changed"], row["seconds"] = "end", e.Result, e.Changed, e.Seconds
			if e.Err != nil {
				row["error"] = e.Err.Error()
			}
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

func newLive(w io.Writer, lab *inventory.Lab) *live {
	return &live{w: w, lab: lab, bars: map[string]*mpb.Bar{}, now: map[string]string{}}
}

// live keeps one line a host, rewritten in place. After its end, which a question
// makes too, the next event begins anew.
type live struct {
	w   io.Writer
	lab *inventory.Lab

	mu   sync.Mutex
	all  *mpb.Progress // nil between an end and the next event
	bars map[string]*mpb.Bar

	// A lock of its own: the library calls back for it while it is being called.
	textMu sync.Mutex
	now    map[string]string // what each host is at
}

func (l *live) event(e run.Event) {
	text := strings.TrimSpace(e.Stage+" "+e.Note) + " …"
	if e.Done {
		text = describeEvent(e)
	}
	l.textMu.Lock()
	l.now[e.Host] = text
	l.textMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = mpb.New(mpb.WithOutput(l.w), mpb.WithWidth(1))
		for _, h := range l.lab.Hosts {
			l.add(h.Name)
		}
	}
	if l.bars[e.Host] == nil {
		l.add(e.Host) // the controller itself
	}
}

func (l *live) add(name string) {
	l.bars[name] = l.all.New(1, mpb.NopStyle(), mpb.AppendDecorators(
		decor.Name(name, decor.WCSyncSpaceR),
		decor.Any(func(decor.Statistics) string {
			l.textMu.Lock()
			defer l.textMu.Unlock()
			if text := l.now[name]; text != "" {
				return text
			}
			return "waiting"
		}),
	))
}

func (l *live) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		return
	}
	for _, bar := range l.bars {
		bar.SetCurrent(1)
	}
	l.all.Wait()
	l.all = nil
	clear(l.bars)
}
