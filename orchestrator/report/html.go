package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
)

var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
)

// WriteHTML writes r as one page that stands alone: it loads nothing, and its
// policy lets a browser load nothing, nor run anything but the page's own script.
func WriteHTML(w io.Writer, r *Result) error {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return err
	}
	p := newPage(cleaned(r))
	var out bytes.Buffer
	if err := t.Execute(&out, p); err != nil {
		return err
	}
	_, err = w.Write(out.Bytes())
	return err
}

// page is what the template shows.
type page struct {
	*Result
	CSS    template.CSS
	JS     template.JS
	Policy string

	State    string // Pass, Fail, or Crossed by a gate
	How      string
	When     string
	Figures  []figure
	Problems []problem
	Networks []string
	Proofs   []string // stages
	Works    []string // stages of hosts
	Map      drawing
	Matrices []matrix
	Legend   []legend
	Timeline timeline
}

// figure is a number at the head of the page.
type figure struct{ Value, Unit, Name string }

// problem is something that failed, with what filters may ask of it.
type problem struct {
	Kind    string // what heads it
	Class   string // Fail, or SeverityWarning
	Text    string
	Proof   string
	Mend    string
	Hosts   string // separated by blanks
	Network string
	Stage   string
}

func newPage(r *Result) page {
	p := page{
		Result: r, CSS: template.CSS(pageCSS), JS: template.JS(pageJS),
		Policy: fmt.Sprintf("default-src 'none'; img-src data:; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'", digest(pageCSS), digest(pageJS)),
		State:  r.Result, When: r.Started.UTC().Format("2006-01-02 15:04:05 UTC"), How: "passed",
	}
	switch {
	case r.Result != Pass:
		p.How = "failed"
	case slices.ContainsFunc(r.Gates, func(g Gate) bool { return g.Result == Fail }):
		p.State, p.How = "crossed", "passed, but crossed a gate"
	}
	p.Figures = figures(r)
	p.Problems = problems(r)
	for _, probe := range r.Probes {
		p.Networks = append(p.Networks, probe.Network)
		if !slices.Contains(p.Proofs, probe.Stage) {
			p.Proofs = append(p.Proofs, probe.Stage)
		}
	}
	for _, n := range r.Topology.Networks {
		p.Networks = append(p.Networks, n.Name)
	}
	slices.Sort(p.Networks)
	p.Networks = slices.Compact(p.Networks)
	p.Timeline = newTimeline(r)
	p.Works = p.Timeline.Stages
	p.Map = draw(r)
	p.Matrices = matrices(r)
	p.Legend = heatLegend()
	return p
}

// digest is a text's hash as a content security policy names it.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func figures(r *Result) []figure {
	all := []figure{{fmt.Sprintf("%.2f", r.Seconds), "s", "taken"}}
	if len(r.Hosts) > 0 {
		all = append(all, figure{fmt.Sprint(count(r.Hosts, func(h Host) bool { return h.Result == OK })), fmt.Sprintf("of %d", len(r.Hosts)), "hosts finished"})
	}
	sent := count(r.Probes, func(p Probe) bool { return p.Result != Skipped })
	if sent > 0 {
		all = append(all, figure{fmt.Sprint(count(r.Probes, passed)), fmt.Sprintf("of %d", sent), "probes passed"})
		var slowest float64
		var sum float64
		answered := 0
		for _, p := range r.Probes {
			if p.Kind == KindPing && p.Received > 0 {
				slowest = max(slowest, p.RTT.Max)
				sum += p.RTT.Avg
				answered++
			}
		}
		if answered > 0 {
			all = append(all, figure{fmt.Sprintf("%.2f", sum/float64(answered)), "ms", "mean ping"}, figure{fmt.Sprintf("%.2f", slowest), "ms", "slowest ping"})
		}
	}
	return append(all, figure{fmt.Sprint(r.Changed), "", cmp.Or(map[bool]string{true: "object changed"}[r.Changed == 1], "objects changed")})
}

// maxProblems bounds the list of lost probes; the table below it has all.
const maxProblems = 100

func problems(r *Result) []problem {
	var all []problem
	if r.Error != "" {
		all = append(all, problem{Kind: r.Verb, Class: Fail, Text: r.Error})
	}
	for _, h := range r.Hosts {
		if h.Result != OK {
			all = append(all, problem{Kind: h.Name + " " + h.Result, Class: Fail, Text: cmp.Or(h.Error, "no reason is known"), Mend: h.Hint, Hosts: h.Name})
		}
	}
	for _, f := range r.Findings {
		row := problem{Kind: f.Layer, Class: cmp.Or(f.Severity, Fail), Text: f.Cause, Proof: f.Proof, Mend: f.Mend, Hosts: f.Host}
		if f.Host != "" {
			row.Kind += " on " + f.Host
		}
		all = append(all, row)
	}
	for _, g := range r.Gates {
		if g.Result == Fail {
			all = append(all, problem{Kind: "gate " + g.Name + " " + g.Limit, Class: SeverityWarning, Text: g.By})
		}
	}
	lost := 0
	for _, p := range r.Probes {
		if p.Result != Fail {
			continue
		}
		if lost++; lost <= maxProblems {
			from, to := end(p.From, p.FromHost), end(p.To, p.ToHost)
			if p.Kind == KindIsolation {
				from, to = from+" in "+p.Network, to+" in "+p.ToNetwork
			}
			all = append(all, problem{
				Kind: p.what() + " failed", Class: Fail, Text: fmt.Sprintf("%s → %s %s: %s", from, to, p.Address, p.why()),
				Mend: p.Hint, Hosts: p.FromHost + " " + p.ToHost, Network: p.Network, Stage: p.Stage,
			})
		}
	}
	if lost > maxProblems {
		all = append(all, problem{Kind: "probes failed", Class: Fail, Text: fmt.Sprintf("%d more, which the table of probes has", lost-maxProblems)})
	}
	for _, s := range skips(r.Probes) {
		if r.Result != Pass {
			all = append(all, problem{Kind: plural(s.count, "probe") + " skipped", Class: Skipped, Text: s.why})
		}
	}
	for _, l := range r.Left {
		all = append(all, problem{Kind: "left behind", Class: SeverityWarning, Text: fmt.Sprintf("the lab still stands on %s (%s), which the inventory has no more", l.Name, l.Address), Mend: l.Destroy})
	}
	return all
}

// timeline is hosts × stages over the run's time.
type timeline struct {
	Stages []string
	Ticks  []tick
	Rows   []timeRow
}

type tick struct{ X, Label string }

type timeRow struct {
	Host
	Bars []bar
	// Cells are the stages of the table that says the same, in Stages' order.
	Cells []string
}

type bar struct {
	X, Width string // percent of the run
	Class    string
	Stage    string
	Label    string
}

// stageColours is how many colours the style has for stages.
const stageColours = 10

func newTimeline(r *Result) timeline {
	var t timeline
	length := r.Seconds
	for _, h := range r.Hosts {
		for _, s := range h.Stages {
			length = max(length, s.Started+s.Seconds)
		}
	}
	// In the order in which they began, on whichever host did so first.
	began := map[string]float64{}
	for _, h := range r.Hosts {
		for _, s := range h.Stages {
			if first, ok := began[s.Name]; !ok || s.Started < first {
				began[s.Name] = s.Started
			}
			if !slices.Contains(t.Stages, s.Name) {
				t.Stages = append(t.Stages, s.Name)
			}
		}
	}
	slices.SortStableFunc(t.Stages, func(a, b string) int { return cmp.Or(cmp.Compare(began[a], began[b]), cmp.Compare(a, b)) })
	if length > 0 {
		step := tickStep(length)
		for i := 0; float64(i)*step <= length; i++ {
			t.Ticks = append(t.Ticks, tick{percent(float64(i) * step / length), fmt.Sprintf("%g s", round(float64(i)*step, 6))})
		}
	}
	for _, h := range r.Hosts {
		row := timeRow{Host: h, Cells: make([]string, len(t.Stages))}
		for _, s := range h.Stages {
			i := slices.Index(t.Stages, s.Name)
			row.Cells[i] = fmt.Sprintf("%s, %.3f s", s.Result, s.Seconds)
			if s.Result == Skipped {
				row.Cells[i] = Skipped
				continue
			}
			label := fmt.Sprintf("%s on %s: %s in %.3f s, from %.3f s on", s.Name, h.Name, s.Result, s.Seconds, s.Started)
			for _, more := range append([]string{s.Error}, s.Notes...) {
				if more != "" {
					label += "\n" + more
				}
			}
			class := fmt.Sprintf("s%d", i%stageColours)
			if s.Result == Failed {
				class += " failed"
			}
			if length > 0 {
				row.Bars = append(row.Bars, bar{X: percent(s.Started / length), Width: percent(max(s.Seconds/length, 0.002)), Class: class, Stage: s.Name, Label: label})
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// tickStep gives a round number of seconds that divides length into 4 to 10.
func tickStep(length float64) float64 {
	step := 1e-6
	for i := 0; length/step > 10; i++ {
		step *= [...]float64{2, 2.5, 2}[i%3]
	}
	return step
}

func percent(share float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", 100*share), "0"), ".") + "%"
}
