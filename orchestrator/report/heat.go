package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxHeat is how many names a heat map has; of more it shows the hosts instead,
// and of more hosts than that nothing.
const maxHeat = 128

// heats are the upper bounds of the colours of round trips, in milliseconds; the
// same in every report, so that two can be compared by eye.
var heats = []float64{0.2, 0.5, 1, 2, 5, 10, 50}

// matrix is a heat map of probes, row to column.
type matrix struct {
	Network string
	Title   string
	Summary string
	Compact bool // many names: colours without numbers
	Heads   []head
	Rows    []heatRow
}

type head struct {
	Name string
	Host string
	Edge bool // the first of its host
}

type heatRow struct {
	head
	Cells []cell
}

type cell struct {
	Class  string
	Text   string
	Probes string // indices into Result.Probes, separated by blanks
	Edge   bool
}

// matrices gives a heat map a network, of VTEPs and of endpoints.
func matrices(r *Result) []matrix {
	type group struct {
		network string
		vtep    bool
	}
	groups := map[group][]int{}
	var order []group
	for i, p := range r.Probes {
		if p.Stage == StageCheck || p.Stage == StageIsolation {
			continue // the table of probes has it
		}
		g := group{p.Network, p.Stage == StageVTEP}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], i)
	}
	slices.SortStableFunc(order, func(a, b group) int { return cmp.Compare(a.network, b.network) })
	var all []matrix
	for _, g := range order {
		title := "Endpoints of " + g.network
		if g.vtep {
			title = "VTEPs of " + g.network
		}
		m := heatMap(r, groups[g], func(p Probe) (from, to string) { return p.From, p.To })
		if m == nil {
			title += ", by host"
			m = heatMap(r, groups[g], func(p Probe) (from, to string) { return p.FromHost, p.ToHost })
		}
		if m == nil {
			m = &matrix{}
		}
		m.Network, m.Title = g.network, title
		var probes []Probe
		for _, i := range groups[g] {
			if r.Probes[i].Kind == KindPing {
				probes = append(probes, r.Probes[i])
			}
		}
		if m.Summary = "no pings"; len(probes) > 0 {
			m.Summary = summary(probes)
		}
		all = append(all, *m)
	}
	return all
}

// heatMap is nil of too many names.
func heatMap(r *Result, probes []int, ends func(Probe) (from, to string)) *matrix {
	m := &matrix{}
	at := map[[2]string][]int{}
	for _, i := range probes {
		p := r.Probes[i]
		from, to := ends(p)
		m.Heads = append(m.Heads, head{Name: from, Host: p.FromHost}, head{Name: to, Host: p.ToHost})
		at[[2]string{from, to}] = append(at[[2]string{from, to}], i)
	}
	slices.SortFunc(m.Heads, func(a, b head) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Name, b.Name)) })
	m.Heads = slices.Compact(m.Heads)
	if len(m.Heads) > maxHeat {
		return nil
	}
	for i := range m.Heads {
		m.Heads[i].Edge = i > 0 && m.Heads[i].Host != m.Heads[i-1].Host
	}
	m.Compact = len(m.Heads) > 16
	for _, from := range m.Heads {
		row := heatRow{head: from}
		for _, to := range m.Heads {
			c := heatCell(r, at[[2]string{from.Name, to.Name}])
			c.Edge = to.Edge
			row.Cells = append(row.Cells, c)
		}
		m.Rows = append(m.Rows, row)
	}
	return m
}

// heatCell sums up the probes between two ends: the worst result, the mean of
// the round trips.
func heatCell(r *Result, indices []int) cell {
	if len(indices) == 0 {
		return cell{Class: "none"}
	}
	var failed, sent, received, skipped int
	var sum float64
	var pings, lostPings, answered int
	var numbers []string
	for _, i := range indices {
		p := r.Probes[i]
		numbers = append(numbers, strconv.Itoa(i))
		switch p.Result {
		case Fail:
			failed++
		case Skipped:
			skipped++
		}
		if p.Kind != KindPing || p.Result == Skipped {
			continue
		}
		pings++
		sent, received = sent+p.Sent, received+p.Received
		if p.Result == Fail {
			lostPings++
		}
		if p.Received > 0 {
			sum += p.RTT.Avg
			answered++
		}
	}
	c := cell{Probes: strings.Join(numbers, " ")}
	mean := sum / float64(max(answered, 1))
	switch {
	case pings > 0 && lostPings == pings:
		c.Class, c.Text = "lost", "lost"
	case failed > 0 && lostPings > 0:
		c.Class, c.Text = "partly", fmt.Sprintf("%d/%d", answered, pings)
	case failed > 0:
		c.Class, c.Text = "partly", fmt.Sprintf("%.2f", mean)
	case skipped == len(indices):
		c.Class, c.Text = "skipped", "skip"
	case answered == 0:
		c.Class, c.Text = "other", "ok"
	default:
		c.Class, c.Text = fmt.Sprintf("h%d", heat(mean)), fmt.Sprintf("%.2f", mean)
		if received < sent {
			c.Class += " thin"
		}
	}
	return c
}

func heat(ms float64) int {
	for i, bound := range heats {
		if ms < bound {
			return i
		}
	}
	return len(heats)
}

type legend struct{ Class, Label string }

func heatLegend() []legend {
	var all []legend
	for i, bound := range heats {
		all = append(all, legend{fmt.Sprintf("h%d", i), fmt.Sprintf("< %g ms", bound)})
	}
	return append(all, legend{fmt.Sprintf("h%d", len(heats)), "more"}, legend{"h1 thin", "some requests lost"}, legend{"partly", "a probe failed"},
		legend{"lost", "lost"}, legend{"skipped", "skipped"})
}
