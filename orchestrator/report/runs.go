package report

import (
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Summary is a kept run in a few numbers.
type Summary struct {
	Run     int       `json:"run"`
	Verb    string    `json:"verb"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Result  string    `json:"result"`
	Changed int       `json:"changed"`
	Hosts   int       `json:"hosts"`
	Failed  int       `json:"failed"` // hosts that did not finish
	Probes  int       `json:"probes"` // that were not skipped
	Passed  int       `json:"passed"` // probes
}

// Summary sums r up.
func (r *Result) Summary() Summary {
	return Summary{
		Run: r.Run, Verb: r.Verb, Started: r.Started, Seconds: round(r.Seconds, 6), Result: r.Result, Changed: r.Changed,
		Hosts: len(r.Hosts), Failed: count(r.Hosts, func(h Host) bool { return h.Result != OK }),
		Probes: count(r.Probes, func(p Probe) bool { return p.Result != Skipped }), Passed: count(r.Probes, passed),
	}
}

// Difference is one thing in which two runs differ.
type Difference struct {
	Change string `json:"change"` // one of Changes
	What   string `json:"what"`   // run, host, stage, probe, endpoint, network, finding
	Name   string `json:"name"`
	Before string `json:"before"`
	After  string `json:"after"`
	Why    string `json:"why,omitempty"` // of what broke, where it is known
}

// Kinds of differences, in the order in which they are told.
const (
	Broke  = "broke"
	Mended = "mended"
	Slower = "slower"
	Faster = "faster"
	New    = "new"
	Gone   = "gone"
	Other  = "changed"
)

// Changes is the order of the kinds of differences.
var Changes = []string{Broke, Mended, Slower, Faster, New, Gone, Other}

// Diff is what differs between two runs of a lab.
type Diff struct {
	Version     int          `json:"version"` // 1
	Lab         string       `json:"lab"`
	Before      Summary      `json:"before"`
	After       Summary      `json:"after"`
	Differences []Difference `json:"differences"`
}

// WriteDiffJSON writes d for programs.
func WriteDiffJSON(w io.Writer, d Diff) error {
	d.Differences = list(d.Differences)
	return writeIndented(w, d)
}

// WriteRunsJSON lists the runs that are kept of a lab for programs.
func WriteRunsJSON(w io.Writer, lab string, runs []Summary) error {
	return writeIndented(w, struct {
		Version int       `json:"version"`
		Lab     string    `json:"lab"`
		Runs    []Summary `json:"runs"`
	}{1, lab, list(runs)})
}

// WriteDiffText writes d for people: what broke first.
func WriteDiffText(w io.Writer, d Diff, opts TextOptions) error {
	t := &textWriter{Result: &Result{}, paint: opts.Color}
	t.line("lab %s: run %d (%s, %s) against run %d (%s, %s)", Clean(d.Lab), d.After.Run, Clean(d.After.Verb), Clean(d.After.Result), d.Before.Run, Clean(d.Before.Verb), Clean(d.Before.Result))
	if len(d.Differences) == 0 {
		t.line("nothing broke, and nothing got slower")
	}
	paint := map[string]func(string) string{Broke: t.bad, Slower: t.odd, Mended: t.good, Faster: t.good}
	for _, change := range Changes {
		tab := newTable("", "", "before", "after", "")
		n := 0
		for _, x := range d.Differences {
			if x.Change != change {
				continue
			}
			if n++; n <= maxFailures {
				tab.AppendRow(table.Row{x.What, Clean(x.Name), Clean(x.Before), Clean(x.After), Clean(x.Why)})
			}
		}
		if n == 0 {
			continue
		}
		heading := change
		if p := paint[change]; p != nil {
			heading = p(change)
		}
		t.line("")
		t.line("%s:", heading)
		tab.ResetHeaders()
		t.line("%s", tab.Render())
		if n > maxFailures {
			t.line("  and %d more; all are in the JSON: -f json", n-maxFailures)
		}
	}
	_, err := io.WriteString(w, t.String())
	return err
}

// WriteRunsText lists the runs that are kept of a lab for people.
func WriteRunsText(w io.Writer, lab string, runs []Summary, opts TextOptions) error {
	t := &textWriter{Result: &Result{}, paint: opts.Color}
	t.line("lab %s: %s kept", Clean(lab), plural(len(runs), "run"))
	tab := newTable("run", "started (UTC)", "verb", "result", "seconds", "changed", "hosts", "probes passed")
	for _, s := range runs {
		result := t.good(Clean(s.Result))
		if s.Result != Pass {
			result = t.bad(Clean(s.Result))
		}
		tab.AppendRow(table.Row{
			s.Run, s.Started.UTC().Format("2006-01-02 15:04:05"), Clean(s.Verb), result, fmt.Sprintf("%.2f", s.Seconds), s.Changed,
			fmt.Sprintf("%d of %d", s.Hosts-s.Failed, s.Hosts), fmt.Sprintf("%d of %d", s.Passed, s.Probes),
		})
	}
	var columns []table.ColumnConfig
	for _, i := range []int{1, 5, 6, 7, 8} {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	tab.SetColumnConfigs(columns)
	t.table(tab)
	_, err := io.WriteString(w, t.String())
	return err
}
