package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

const maxMatrix = 12 // names; a wider matrix is summed up

// proofs writes the pings of every network: between VTEPs, then between
// endpoints.
func (t *textWriter) proofs() {
	var networks []string
	settled := map[string]Network{}
	for _, n := range t.Topology.Networks {
		networks = append(networks, n.Name)
		settled[n.Name] = n
	}
	for _, p := range t.Probes {
		networks = append(networks, p.Network)
	}
	slices.Sort(networks)
	for _, network := range slices.Compact(networks) {
		of := func(vtep bool) []Probe {
			return slices.DeleteFunc(pings(t.Probes), func(p Probe) bool {
				return p.Network != network || (p.Stage == StageVTEP) != vtep
			})
		}
		if n := settled[network]; n.FloodWhy != "" {
			t.line("")
			t.line("flooding of %s: %s, since %s", network, n.Flood, n.FloodWhy)
		}
		vteps := of(true)
		t.matrix("VTEPs of "+network, vteps)
		if why := settled[network].Unproved; why != "" {
			t.line("")
			t.line("VTEPs of %s: proof skipped, %s", network, why)
		}
		t.matrix("pings in "+network, of(false))
		full := slices.DeleteFunc(ofKind(t.Probes, KindMTU), func(p Probe) bool { return p.Network != network || p.Result == Skipped })
		if len(full) > 0 {
			t.line("")
			t.line("packets of full size between hosts in %s: %d of %d passed whole", network, count(full, passed), len(full))
		}
		exchanges := slices.DeleteFunc(ofKind(t.Probes, KindTCP), func(p Probe) bool {
			return p.Network != network || p.Result == Skipped || p.Stage == StageCheck
		})
		if len(exchanges) > 0 {
			t.line("data over TCP between hosts in %s: %d of %d exchanged whole", network, count(exchanges, passed), len(exchanges))
		}
	}
	if all := isolated(t.Probes); len(all) > 0 {
		t.line("")
		t.line("isolation of networks: %d of %d tries found nobody of another", count(all, passed), len(all))
	}
}

func ofKind(probes []Probe, kind string) []Probe {
	return slices.DeleteFunc(slices.Clone(probes), func(p Probe) bool { return p.Kind != kind })
}

// matrix writes the probes as a table from × to, round-trip times in it; or in
// one line where that says as much.
func (t *textWriter) matrix(title string, probes []Probe) {
	if len(probes) == 0 {
		return
	}
	t.line("")
	if all := skips(probes); len(all) == 1 && all[0].count == len(probes) {
		t.line("%s: %s, %s", title, t.odd("skipped"), all[0].why)
		return
	}
	var names []string
	cells := map[[2]string]string{}
	for _, p := range probes {
		names = append(names, p.From, p.To)
		// Of several between the same two, the worst is what matters.
		pair := [2]string{p.From, p.To}
		if old, ok := cells[pair]; !ok || p.Result != Pass && !strings.Contains(old, "FAIL") {
			cells[pair] = t.cell(p)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > maxMatrix {
		t.line("%s: %s", title, summary(probes))
		return
	}
	t.line("%s, rtt in ms:", title)
	tab := newTable(append([]string{"from \\ to"}, names...)...)
	for _, from := range names {
		row := table.Row{from}
		for _, to := range names {
			row = append(row, cmp.Or(cells[[2]string{from, to}], "-"))
		}
		tab.AppendRow(row)
	}
	var columns []table.ColumnConfig
	for i := range names {
		columns = append(columns, table.ColumnConfig{Number: i + 2, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	tab.SetColumnConfigs(columns)
	t.line("%s", tab.Render())
}

func (t *textWriter) cell(p Probe) string {
	switch p.Result {
	case Pass:
		return t.good(fmt.Sprintf("%.2f", p.RTT.Avg))
	case Fail:
		return t.bad("FAIL")
	}
	return t.odd("skip")
}

// summary says in one line what a matrix would be too wide for.
func summary(probes []Probe) string {
	answered := slices.DeleteFunc(slices.Clone(probes), func(p Probe) bool { return !passed(p) })
	s := fmt.Sprintf("%d of %d passed", len(answered), len(probes))
	if len(answered) == 0 {
		return s
	}
	all := answered[0].RTT
	all.Avg = 0
	for _, p := range answered {
		all.Min, all.Max = min(all.Min, p.RTT.Min), max(all.Max, p.RTT.Max)
		all.Avg += p.RTT.Avg / float64(len(answered))
	}
	return fmt.Sprintf("%s, rtt min/avg/max %.2f/%.2f/%.2f ms", s, all.Min, all.Avg, all.Max)
}

// skip counts the probes that were skipped for one reason.
type skip struct {
	why   string
	count int
}

// skips gives the reasons in the order of the probes.
func skips(probes []Probe) []skip {
	var all []skip
	for _, p := range probes {
		if p.Result != Skipped {
			continue
		}
		why := cmp.Or(p.Error, "no reason is known")
		i := slices.IndexFunc(all, func(s skip) bool { return s.why == why })
		if i < 0 {
			i = len(all)
			all = append(all, skip{why: why})
		}
		all[i].count++
	}
	return all
}
