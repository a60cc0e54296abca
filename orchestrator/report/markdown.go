package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxMarkdown bounds the whole, in bytes: GitHub cuts a comment at 65536
	// characters, a job's summary at 1 MiB.
	maxMarkdown = 60_000
	// maxMarkdownText bounds each text in it, in characters.
	maxMarkdownText = 400
)

// WriteMarkdown writes r in GitHub's Markdown, for a CI job's summary or a
// comment: what failed first, then the pings and the hosts. What would make it
// too long for these is left out, and said to be.
func WriteMarkdown(w io.Writer, r *Result) error {
	m := markdownWriter{Result: cleaned(r)}
	m.headline()
	m.failures()
	m.proofs()
	m.checks()
	m.hosts()
	_, err := io.WriteString(w, m.String())
	return err
}

type markdownWriter struct {
	*Result
	strings.Builder
	full bool
}

// section adds lines if there is room for them.
func (m *markdownWriter) section(lines []string) {
	text := "\n" + strings.Join(lines, "\n") + "\n"
	switch {
	case len(lines) == 0 || m.full:
	case m.Len()+len(text) > maxMarkdown:
		m.full = true
		m.WriteString("\n*More does not fit here; all of it is in the JSON and HTML reports.*\n")
	default:
		m.WriteString(text)
	}
}

func (m *markdownWriter) headline() {
	mark, how := "✅", "passed"
	if m.Result.Result != Pass {
		mark, how = "❌", "**failed**"
	} else if slices.ContainsFunc(m.Gates, func(g Gate) bool { return g.Result == Fail }) {
		mark = "⚠️"
	}
	fmt.Fprintf(m, "### %s vxorch: lab %s, %s %s\n\n", mark, markdown(m.Lab), markdown(m.Verb), how)
	parts := []string{fmt.Sprintf("%.2f s", m.Seconds), plural(m.Changed, "object") + " changed"}
	if len(m.Hosts) > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s finished", count(m.Hosts, func(h Host) bool { return h.Result == OK }), plural(len(m.Hosts), "host")))
	}
	if sent := count(m.Probes, func(p Probe) bool { return p.Result != Skipped }); sent > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s passed", count(m.Probes, passed), plural(sent, "probe")))
	}
	if skipped := count(m.Probes, func(p Probe) bool { return p.Result == Skipped }); skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d skipped", skipped))
	}
	fmt.Fprintf(m, "%s · started %s\n", strings.Join(parts, " · "), m.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
}

func (m *markdownWriter) failures() {
	var lines []string
	add := func(mark, text, hint string) {
		lines = append(lines, "- "+mark+" "+text)
		if hint != "" {
			lines = append(lines, "  - hint: "+code(hint))
		}
	}
	if m.Result.Error != "" {
		add("❌", markdown(m.Result.Error), "")
	}
	for _, h := range m.Hosts {
		if h.Result != OK {
			add("❌", fmt.Sprintf("**%s** (%s) %s: %s", markdown(h.Name), markdown(h.Address), markdown(h.Result), markdown(cmp.Or(h.Error, "no reason is known"))), h.Hint)
		}
	}
	for _, f := range m.Findings {
		mark := "❌"
		if f.Severity == SeverityWarning {
			mark = "⚠️"
		}
		add(mark, markdown(f.line()), f.Mend)
	}
	for _, g := range m.Gates {
		if g.Result == Fail {
			add("⚠️", markdown(g.Line()), "")
		}
	}
	lost := 0
	for _, p := range m.Probes {
		if p.Result != Fail {
			continue
		}
		if lost++; lost <= maxFailures {
			line := fmt.Sprintf("%s %s → %s %s: %s", p.what(), end(p.From, p.FromHost), end(p.To, p.ToHost), p.Address, p.why())
			if p.Kind == KindIsolation {
				line = p.expected() + ": " + p.why()
			}
			add("❌", markdown(line), p.Hint)
		}
	}
	if lost > maxFailures {
		add("❌", fmt.Sprintf("%d more probes failed", lost-maxFailures), "")
	}
	if m.Result.Result != Pass {
		for _, s := range skips(m.Probes) {
			add("➖", fmt.Sprintf("%s skipped: %s", plural(s.count, "probe"), markdown(s.why)), "")
		}
	}
	m.section(lines)
}

// proofs writes a matrix a network and stage of proof where it fits, and for
// many names the hosts' matrix in their stead.
func (m *markdownWriter) proofs() {
	type group struct {
		network string
		vtep    bool
	}
	var order []group
	groups := map[group][]Probe{}
	for _, p := range pings(m.Probes) {
		g := group{p.Network, p.Stage == StageVTEP}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], p)
	}
	slices.SortStableFunc(order, func(a, b group) int { return cmp.Compare(a.network, b.network) })
	for _, g := range order {
		probes := groups[g]
		title := "pings in " + markdown(g.network)
		if g.vtep {
			title = "VTEPs of " + markdown(g.network)
		}
		names, cells := endCells(probes)
		unit := "rtt in ms"
		if len(names) > maxMatrix {
			names, cells = hostCells(probes)
			unit = "answered, by host"
		}
		lines := []string{fmt.Sprintf("**%s**, %s: %s", title, unit, summary(probes))}
		if len(names) <= 2*maxMatrix {
			lines = append(lines, "", "| from ╲ to |"+row(names, markdown), "|---|"+strings.Repeat("--:|", len(names)))
			for _, from := range names {
				lines = append(lines, "| **"+markdown(from)+"** |"+row(names, func(to string) string {
					return cmp.Or(cells[[2]string{from, to}], "–")
				}))
			}
		}
		m.section(lines)
	}
	if all := isolated(m.Probes); len(all) > 0 {
		m.section([]string{fmt.Sprintf("**isolation of networks**: %d of %d tries found nobody of another", count(all, passed), len(all))})
	}
}

// endCells is a matrix of a probe a cell.
func endCells(probes []Probe) (names []string, cells map[[2]string]string) {
	cells = map[[2]string]string{}
	for _, p := range probes {
		names = append(names, p.From, p.To)
		cell := "➖"
		switch p.Result {
		case Pass:
			cell = fmt.Sprintf("%.2f", p.RTT.Avg)
		case Fail:
			cell = "❌"
		}
		cells[[2]string{p.From, p.To}] = cell
	}
	slices.Sort(names)
	return slices.Compact(names), cells
}

// hostCells is a matrix of all probes between two hosts a cell.
func hostCells(probes []Probe) (names []string, cells map[[2]string]string) {
	type tally struct{ passed, sent int }
	tallies := map[[2]string]tally{}
	for _, p := range probes {
		names = append(names, p.FromHost, p.ToHost)
		key := [2]string{p.FromHost, p.ToHost}
		t := tallies[key]
		if p.Result != Skipped {
			t.sent++
		}
		if p.Result == Pass {
			t.passed++
		}
		tallies[key] = t
	}
	cells = map[[2]string]string{}
	for key, t := range tallies {
		cells[key] = fmt.Sprintf("%d/%d", t.passed, t.sent)
		if t.passed < t.sent {
			cells[key] = "❌ " + cells[key]
		}
	}
	slices.Sort(names)
	return slices.Compact(names), cells
}

func (m *markdownWriter) hosts() {
	if len(m.Hosts) == 0 {
		return
	}
	lines := []string{"<details><summary>" + plural(len(m.Hosts), "host") + "</summary>", "", "| host | address | result | changed | seconds | slowest stage |", "|---|---|---|--:|--:|---|"}
	for _, h := range m.Hosts {
		var total float64
		var slowest Stage
		for _, s := range h.Stages {
			total += s.Seconds
			if s.Seconds > slowest.Seconds {
				slowest = s
			}
		}
		lines = append(lines, fmt.Sprintf("| %s | %s | %s | %d | %.2f | %s %.2f s |",
			markdown(h.Name), markdown(h.Address), markdown(h.Result), h.Changed, total, markdown(slowest.Name), slowest.Seconds))
	}
	m.section(append(lines, "", "</details>"))
}

func row(names []string, cell func(string) string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString(" " + cell(name) + " |")
	}
	return b.String()
}

// special is what Markdown or GitHub could take for markup: emphasis, links,
// HTML, mentions, references to issues, and bare addresses.
var special = strings.NewReplacer(
	"\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "{", "\\{", "}", "\\}", "[", "\\[", "]", "\\]", "<", "&lt;", ">", "&gt;", "&", "&amp;",
	"#", "\\#", "|", "\\|", "~", "\\~", "!", "\\!", "@", "@\u2060", "://", ":\u2060//", "www.", "www\u2060.", "$", "\\$",
)

// markdown makes plain text of s.
func markdown(s string) string { return special.Replace(short(s)) }

// code makes a span of code of s, whatever backticks are in it.
func code(s string) string {
	s = short(s)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

func short(s string) string {
	if utf8.RuneCountInString(s) <= maxMarkdownText {
		return s
	}
	return string([]rune(s)[:maxMarkdownText-1]) + "…"
}
