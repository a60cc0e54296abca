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
}

// newProgress makes the kind asked for: auto is live lines on a terminal and log
// lines elsewhere.
func newProgress(kind string, w io.Writer, lab *inventory.Lab) (progress, error) {
	switch {
	case kind == "none":
		return progress{func(run.Event) {}, func() {}}, nil
	case kind == "json":
		return jsonProgress(w), nil
	case kind == "auto" && isTerminal(w) && os.Getenv("TERM") != "dumb":
		return liveProgress(w, lab), nil
	case kind == "auto", kind == "lines":
		return lineProgress(w), nil
	}
	return progress{}, &usageError{fmt.Sprintf("unknown progress %q", kind), "one of auto, lines, json, none"}
}

// lineProgress logs every stage that ends.
func lineProgress(w io.Writer) progress {
	return progress{func(e run.Event) {
		if e.Done {
			fmt.Fprintf(w, "%s %s\n", e.Host, describeEvent(e))
		}
	}, func() {}}
}

// jsonProgress writes an object a line for every event.
func jsonProgress(w io.Writer) progress {
	enc := json.NewEncoder(w)
	return progress{func(e run.Event) {
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
	}, func() {}}
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

// liveProgress keeps one line a host, rewritten in place.
func liveProgress(w io.Writer, lab *inventory.Lab) progress {
	var mu sync.Mutex
	now := map[string]string{}
	container := mpb.New(mpb.WithOutput(w), mpb.WithWidth(1))
	bars := map[string]*mpb.Bar{}
	for _, h := range lab.Hosts {
		now[h.Name] = "waiting"
		bars[h.Name] = container.New(1, mpb.NopStyle(), mpb.AppendDecorators(
			decor.Name(h.Name, decor.WCSyncSpaceR),
			decor.Any(func(decor.Statistics) string {
				mu.Lock()
				defer mu.Unlock()
				return now[h.Name]
			}),
		))
	}
	return progress{
		event: func(e run.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Done {
				now[e.Host] = describeEvent(e)
			} else {
				now[e.Host] = strings.TrimSpace(e.Stage+" "+e.Note) + " …"
			}
		},
		end: func() {
			for _, bar := range bars {
				bar.SetCurrent(1)
			}
			container.Wait()
		},
	}
}
