package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// TextOptions say how WriteText writes; the zero value is plain text.
type TextOptions struct {
	Color bool // ANSI colours
}

const maxFailures = 40 // lines; further ones are counted

// WriteText writes r for people: how it went in one line, what failed and what
// to do about it, and only then the hosts and the pings.
func WriteText(w io.Writer, r *Result, opts TextOptions) error {
	t := &textWriter{Result: cleaned(r), paint: opts.Color}
	t.headline()
	t.failures()
	t.hosts()
	t.proofs()
	t.checks()
	_, err := io.WriteString(w, t.String())
	return err
}

// textWriter collects the text; its result has nothing that a terminal could
// take for a command.
type textWriter struct {
	*Result
	strings.Builder
	paint bool
}

func (t *textWriter) line(format string, args ...any) {
	fmt.Fprintf(t, format+"\n", args...)
}

func (t *textWriter) headline() {
	how := t.good("passed")
	if t.Result.Result != Pass {
		how = t.bad("FAILED")
	}
	parts := []string{fmt.Sprintf("lab %s: %s %s in %.2f s", t.Lab, t.Verb, how, t.Seconds)}
	switch t.Changed {
	case 0:
		parts = append(parts, "nothing changed")
	case 1:
		parts = append(parts, "1 object changed")
	default:
		parts = append(parts, fmt.Sprintf("%d objects changed", t.Changed))
	}
	if n := count(t.Hosts, func(h Host) bool { return h.Result != OK }); n > 0 {
		parts = append(parts, t.bad(fmt.Sprintf("%d of %d hosts did not finish", n, len(t.Hosts))))
	}
	for _, severity := range []string{SeverityError, SeverityWarning} {
		switch n := count(t.Findings, func(f Finding) bool { return f.Severity == severity }); n {
		case 0:
		case 1:
			parts = append(parts, "1 "+severity)
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", n, severity))
		}
	}
	pings := pings(t.Probes)
	skipped := count(pings, func(p Probe) bool { return p.Result == Skipped })
	if sent := len(pings) - skipped; sent > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d pings answered", count(pings, passed), sent))
	}
	if skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d pings skipped", skipped))
	}
	if all := checks(t.Probes); len(all) > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d checks hold", count(all, passed), len(all)))
	}
	t.line("%s", strings.Join(parts, ", "))
	started := "started " + t.Started.UTC().Format("2006-01-02 15:04:05 UTC")
	if t.Run > 0 {
		started += fmt.Sprintf(", kept as run %d", t.Run)
	}
	t.line("%s", started)
}

// failures says what failed, each on a line of its own, and the way out.
func (t *textWriter) failures() {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	hostFailed := false
	for _, h := range t.Hosts {
		if h.Result == OK {
			continue
		}
		hostFailed = true
		add("%s %s (%s): %s", t.bad(h.Result), h.Name, h.Address, cmp.Or(h.Error, "no reason is known"))
		if h.Hint != "" {
			add("    hint: %s", h.Hint)
		}
	}
	for _, f := range t.Findings {
		add("%s", t.finding(f))
		if f.Mend != "" {
			add("    hint: %s", f.Mend)
		}
	}
	lost := 0
	for _, p := range t.Probes {
		if p.Result != Fail {
			continue
		}
		lost++
		switch {
		case lost > maxFailures:
		case p.Stage == StageCheck:
			add("%s %s: %s", t.bad("check"), p.expected(), p.why())
		case p.Kind == KindIsolation:
			add("%s %s: %s", t.bad("leak"), p.expected(), p.why())
		default:
			add("%s %s %s -> %s %s: %s", t.bad("lost"), p.Kind, end(p.From, p.FromHost), end(p.To, p.ToHost), p.Address, p.why())
		}
	}
	if lost > maxFailures {
		add("%s %d more; all are in the JSON report: vxorch report -f json", t.bad("lost"), lost-maxFailures)
	}
	if len(t.Findings) == 0 && slices.ContainsFunc(t.Probes, Probe.Lost) {
		add("    hint: %s", t.advice())
	}
	if t.Result.Result != Pass {
		for _, s := range skips(pings(t.Probes)) {
			add("%s %d of the pings: %s", t.odd("skipped"), s.count, s.why)
		}
	}
	for _, g := range t.Gates {
		if g.Result == Fail {
			add("%s %s", t.bad("gate"), strings.TrimPrefix(g.Line(), "gate "))
		}
	}
	if len(lines) == 0 {
		return
	}
	t.line("")
	for _, l := range lines {
		t.line("%s", l)
	}
	if hostFailed {
		t.line("next: %s", t.next())
	}
}

// finding is a finding in one line, without its way out.
func (t *textWriter) finding(f Finding) string {
	kind := t.bad("found")
	switch f.Severity {
	case SeverityError:
		kind = t.bad(f.Severity)
	case SeverityWarning:
		kind = t.odd(f.Severity)
	}
	return kind + " " + f.line()
}

func (t *textWriter) hosts() {
	if len(t.Hosts) == 0 {
		return
	}
	tab := newTable("host", "address", "result", "changed", "seconds")
	for _, h := range t.Hosts {
		result := t.good(h.Result)
		if h.Result != OK {
			result = t.bad(h.Result)
		}
		seconds := 0.0
		for _, s := range h.Stages {
			seconds += s.Seconds
			if s.Result == Failed {
				result += " at " + s.Name
			}
		}
		tab.AppendRow(table.Row{h.Name, h.Address, result, h.Changed, fmt.Sprintf("%.2f", seconds)})
	}
	tab.SetColumnConfigs([]table.ColumnConfig{
		{Number: 4, Align: text.AlignRight, AlignHeader: text.AlignRight},
		{Number: 5, Align: text.AlignRight, AlignHeader: text.AlignRight},
	})
	t.table(tab)
	for _, h := range t.Hosts {
		for _, s := range h.Stages {
			for _, note := range s.Notes {
				t.line("  %s: %s: %s", h.Name, s.Name, note)
			}
		}
	}
}

func newTable(header ...string) table.Writer {
	tab := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault // names keep their case
	style.Box.PaddingLeft, style.Box.PaddingRight = "  ", ""
	tab.SetStyle(style)
	tab.SuppressTrailingSpaces()
	row := table.Row{}
	for _, h := range header {
		row = append(row, h)
	}
	tab.AppendHeader(row)
	return tab
}

func (t *textWriter) table(tab table.Writer) {
	t.line("")
	t.line("%s", tab.Render())
}

func (t *textWriter) good(s string) string { return t.color("32", s) }
func (t *textWriter) bad(s string) string  { return t.color("31", s) }
func (t *textWriter) odd(s string) string  { return t.color("33", s) }

func (t *textWriter) color(code, s string) string {
	if !t.paint {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func passed(p Probe) bool { return p.Result == Pass }

func count[T any](s []T, is func(T) bool) int {
	n := 0
	for _, x := range s {
		if is(x) {
			n++
		}
	}
	return n
}
