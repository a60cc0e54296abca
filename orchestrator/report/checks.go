package report

import (
	"fmt"
	"slices"
)

// checks are the probes of the inventory's checks.
func checks(probes []Probe) []Probe {
	return slices.DeleteFunc(slices.Clone(probes), func(p Probe) bool { return p.Stage != StageCheck })
}

// pings are the pings that the lab implies, without those of checks.
func pings(probes []Probe) []Probe {
	return slices.DeleteFunc(ofKind(probes, KindPing), func(p Probe) bool { return p.Stage == StageCheck })
}

// what names a probe's kind, with the port of a check's.
func (p Probe) what() string {
	if p.Port > 0 {
		return fmt.Sprintf("%s port %d", p.Kind, p.Port)
	}
	return p.Kind
}

// isolated are the probes of isolation that were sent.
func isolated(probes []Probe) []Probe {
	return slices.DeleteFunc(ofKind(probes, KindIsolation), func(p Probe) bool { return p.Result == Skipped })
}

// expected says in a line what a check asks for, or a proof of isolation.
func (p Probe) expected() string {
	if p.Kind == KindIsolation {
		return fmt.Sprintf("%s %s in %s -> %s in %s %s", p.Kind, end(p.From, p.FromHost), p.Network, end(p.To, p.ToHost), p.ToNetwork, p.Address)
	}
	line := fmt.Sprintf("%s %s -> %s %s", p.what(), end(p.From, p.FromHost), end(p.To, p.ToHost), p.Address)
	switch {
	case p.Expect != "":
		line += " " + p.Expect
	case p.MaxRTT > 0:
		line += fmt.Sprintf(" within %g ms", p.MaxRTT)
	case p.MinThroughput > 0:
		line += " at least " + Throughput(p.MinThroughput)
	}
	return line
}

// Throughput writes Mbit/s as people do.
func Throughput(mbits float64) string {
	switch {
	case mbits >= 1000:
		return fmt.Sprintf("%.4g Gbit/s", mbits/1000)
	case mbits >= 1 || mbits == 0:
		return fmt.Sprintf("%.4g Mbit/s", mbits)
	}
	return fmt.Sprintf("%.4g kbit/s", mbits*1000)
}

// outcome says what a check came to.
func (p Probe) outcome() string {
	switch {
	case p.Result == Skipped:
		return p.Error
	case p.Result == Fail:
		return p.why()
	case p.Expect != "":
		return "no reply came"
	case p.Kind == KindThroughput:
		return Throughput(p.Throughput)
	}
	return fmt.Sprintf("%.2f ms", p.RTT.Avg)
}

// checks writes a line each, the failing ones having been named before.
func (t *textWriter) checks() {
	all := checks(t.Probes)
	if len(all) == 0 {
		return
	}
	t.line("")
	t.line("checks: %d of %d hold", count(all, passed), len(all))
	for _, p := range all {
		how := map[string]string{Pass: t.good("ok  "), Fail: t.bad("FAIL"), Skipped: t.odd("skip")}[p.Result]
		t.line("  %s %s: %s", how, p.expected(), p.outcome())
	}
}

// checks writes a line each.
func (m *markdownWriter) checks() {
	all := checks(m.Probes)
	if len(all) == 0 {
		return
	}
	lines := []string{fmt.Sprintf("**checks**: %d of %d hold", count(all, passed), len(all)), ""}
	for i, p := range all {
		if i == maxFailures {
			lines = append(lines, fmt.Sprintf("- %d more", len(all)-i))
			break
		}
		mark := map[string]string{Pass: "✅", Fail: "❌", Skipped: "➖"}[p.Result]
		lines = append(lines, fmt.Sprintf("- %s %s: %s", mark, markdown(p.expected()), markdown(p.outcome())))
	}
	m.section(lines)
}
