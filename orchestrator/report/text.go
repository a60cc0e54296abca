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

const (
	maxMatrix   = 12 // names; a wider matrix is summed up
	maxFailures = 40 // lines; further ones are counted
)

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

// advice says where to look for the cause of lost pings: in the lowest layer
// that lost one.
func (t *textWriter) advice() string {
	const bridges = "look on the hosts for a firewall that filters bridged frames (net.bridge.bridge-nf-call-iptables = 1 with a FORWARD policy of DROP)"
	is := func(what func(Probe) bool) bool { return slices.ContainsFunc(t.Probes, what) }
	if i := slices.IndexFunc(t.Probes, func(p Probe) bool { return p.Lost() && p.Hint != "" }); i >= 0 {
		return t.Probes[i].Hint
	}
	switch {
	case is(func(p Probe) bool { return p.Lost() && p.Sent == 0 }):
		return "what could not even be sent lacks a link or an address: `vxorch deploy` mends that"
	case is(func(p Probe) bool { return p.Lost() && p.Stage == StageVTEP }):
		return t.underlay()
	case !is(func(p Probe) bool { return p.Lost() && (!p.OverTCP() || p.Stage != StageCheck) }):
		return "everything else passes: look for a firewall in the containers, or one on the hosts that filters bridged frames"
	case !is(func(p Probe) bool { return p.Lost() && !p.OverTCP() }):
		return "pings pass and TCP does not: look for faults of checksum offloading: ethtool -K VTEP tx-checksum-ip-generic off"
	case !is(func(p Probe) bool { return p.Lost() && p.Kind == KindPing }):
		return "small packets pass, so the underlay carries less than its devices' mtu says: give the network a smaller mtu in the inventory, or mend the path"
	case is(func(p Probe) bool { return p.Lost() && p.FromHost == p.ToHost }):
		return "pings within one host are lost, so " + bridges
	case is(func(p Probe) bool { return p.Result == Pass && p.Stage == StageVTEP }):
		return "the tunnels work, so " + bridges
	}
	return t.underlay() + "; then " + bridges
}

// underlay says what the first network that lost a ping needs of the underlay.
func (t *textWriter) underlay() string {
	port, group := "the VXLAN port", "the group"
	first := slices.IndexFunc(t.Probes, Probe.Lost)
	for _, n := range t.Topology.Networks {
		if n.Name == t.Probes[first].Network {
			port, group = fmt.Sprintf("port %d", n.Port), cmp.Or(n.Group, group)
		}
	}
	return fmt.Sprintf("between the hosts UDP to %s must pass (look at firewalls and security groups) and the underlay must carry multicast to %s", port, group)
}

// next is the command to go on with after a host failed.
func (t *textWriter) next() string {
	switch {
	case t.Verb == "deploy" && slices.ContainsFunc(t.Hosts, Host.refused):
		return "nothing was changed anywhere: mend that, then `vxorch deploy`"
	case t.Verb == "deploy":
		return "`vxorch deploy` goes on from what stands, `vxorch destroy` takes it away"
	case t.Verb == "destroy":
		return "`vxorch destroy` takes away what is left"
	}
	return fmt.Sprintf("`vxorch %s` tries again", t.Verb)
}

// refused tells whether the plan was refused for h: no stage of it failed.
func (h Host) refused() bool {
	return h.Result == Failed && !slices.ContainsFunc(h.Stages, func(s Stage) bool { return s.Result == Failed })
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
