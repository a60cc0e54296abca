package history

import (
	"cmp"
	"fmt"
	"slices"

	"vxorch/orchestrator/report"
)

// What counts as slower or faster: by half of the shorter time and more than a
// bit, since times of a few milliseconds jump about.
const (
	factor      = 1.5
	leastPing   = 0.5  // milliseconds
	leastLength = 0.25 // seconds
)

// Compare tells what differs in after from before, two runs of a lab. What one of
// them has not tried, because a host failed or the verb was another, is left out.
func Compare(before, after *report.Result) report.Diff {
	d := differ{}
	d.length("run", "as a whole", before.Seconds, after.Seconds)
	d.hosts(before, after)
	d.probes(before, after)
	d.endpoints(before, after)
	d.networks(before, after)
	d.findings(before, after)
	slices.SortStableFunc(d.all, func(a, b report.Difference) int {
		return cmp.Compare(slices.Index(report.Changes, a.Change), slices.Index(report.Changes, b.Change))
	})
	return report.Diff{Version: version, Lab: after.Lab, Before: before.Summary(), After: after.Summary(), Differences: d.all}
}

type differ struct{ all []report.Difference }

func (d *differ) add(change, what, name, before, after, why string) {
	d.all = append(d.all, report.Difference{Change: change, What: what, Name: name, Before: before, After: after, Why: why})
}

// length compares times of what is longer than a moment, in seconds.
func (d *differ) length(what, name string, before, after float64) {
	if change := pace(before, after, leastLength); change != "" {
		d.add(change, what, name, fmt.Sprintf("%.2f s", before), fmt.Sprintf("%.2f s", after), "")
	}
}

func pace(before, after, least float64) string {
	switch {
	case after > before*factor && after-before >= least:
		return report.Slower
	case before > after*factor && before-after >= least:
		return report.Faster
	}
	return ""
}

func (d *differ) hosts(before, after *report.Result) {
	pair(before.Hosts, after.Hosts, func(h report.Host) string { return h.Name }, func(name string, b, a *report.Host) {
		switch {
		case b == nil:
			d.add(report.New, "host", name, "", a.Address, "")
			return
		case a == nil:
			d.add(report.Gone, "host", name, b.Address, "", "")
			return
		case b.Result == report.OK && a.Result != report.OK:
			d.add(report.Broke, "host", name, b.Result, a.Result, a.Error)
		case b.Result != report.OK && a.Result == report.OK:
			d.add(report.Mended, "host", name, b.Result, a.Result, "")
		case b.Address != a.Address:
			d.add(report.Other, "host", name, b.Address, a.Address, "")
		}
		if before.Verb != after.Verb {
			return // stages of one name do other things then
		}
		pair(b.Stages, a.Stages, func(s report.Stage) string { return s.Name }, func(stage string, b, a *report.Stage) {
			tried := func(s *report.Stage) bool { return s != nil && s.Result != report.Skipped && s.Result != report.Failed }
			if tried(b) && tried(a) {
				d.length("stage", stage+" on "+name, b.Seconds, a.Seconds)
			}
		})
	})
}

func (d *differ) probes(before, after *report.Result) {
	name := func(p report.Probe) string {
		way := p.From + " -> " + p.To
		if p.Stage == report.StageCheck {
			way += fmt.Sprintf(" %s check", p.Address)
		}
		if p.Port > 0 {
			way += fmt.Sprintf(" of port %d", p.Port)
		}
		return fmt.Sprintf("%s %s in %s", p.Kind, way, p.Network)
	}
	key := func(p report.Probe) string { return name(p) + " " + p.Stage + " " + p.Address }
	pair(before.Probes, after.Probes, key, func(_ string, b, a *report.Probe) {
		if b == nil || a == nil {
			return // an endpoint came or went, which is said of that
		}
		result := func(p *report.Probe) string { return fmt.Sprintf("%s, %d of %d", p.Result, p.Received, p.Sent) }
		switch {
		case b.Result == report.Skipped || a.Result == report.Skipped:
		case b.Result != a.Result && a.Result == report.Fail:
			d.add(report.Broke, "probe", name(*a), result(b), result(a), a.Error)
		case b.Result != a.Result:
			d.add(report.Mended, "probe", name(*a), result(b), result(a), "")
		case a.Kind == report.KindThroughput: // what takes longer is slower, and so is what has less of it
			if change := pace(a.Throughput, b.Throughput, 0); change != "" {
				d.add(change, "probe", name(*a), report.Throughput(b.Throughput), report.Throughput(a.Throughput), "")
			}
		case a.Received > 0 && b.Received > 0:
			if change := pace(b.RTT.Avg, a.RTT.Avg, leastPing); change != "" {
				d.add(change, "probe", name(*a), fmt.Sprintf("%.2f ms", b.RTT.Avg), fmt.Sprintf("%.2f ms", a.RTT.Avg), "")
			}
		}
	})
}

func (d *differ) endpoints(before, after *report.Result) {
	key := func(e report.Endpoint) string { return e.Kind + " " + e.Name + " in " + e.Network }
	place := func(e *report.Endpoint) string { return e.Address + " on " + e.Host }
	pair(before.Topology.Endpoints, after.Topology.Endpoints, key, func(name string, b, a *report.Endpoint) {
		switch {
		case b == nil:
			d.add(report.New, "endpoint", name, "", place(a), "")
		case a == nil:
			d.add(report.Gone, "endpoint", name, place(b), "", "")
		case place(b) != place(a):
			d.add(report.Other, "endpoint", name, place(b), place(a), "")
		}
	})
}

func (d *differ) networks(before, after *report.Result) {
	pair(before.Topology.Networks, after.Topology.Networks, func(n report.Network) string { return n.Name }, func(name string, b, a *report.Network) {
		what := func(n *report.Network) string { return fmt.Sprintf("VNI %d, UDP port %d, %s", n.VNI, n.Port, n.Subnet) }
		// Those that a verify leaves open.
		settled := func(n *report.Network) string { return fmt.Sprintf("%s, MTU %d", n.Flood, n.MTU) }
		switch {
		case b == nil:
			d.add(report.New, "network", name, "", what(a), "")
		case a == nil:
			d.add(report.Gone, "network", name, what(b), "", "")
		case what(b) != what(a):
			d.add(report.Other, "network", name, what(b), what(a), "")
		case b.MTU > 0 && a.MTU > 0 && settled(b) != settled(a):
			d.add(report.Other, "network", name, settled(b), settled(a), a.FloodWhy)
		}
	})
}

func (d *differ) findings(before, after *report.Result) {
	key := func(f report.Finding) string { return f.Layer + " on " + cmp.Or(f.Host, "all hosts") + ": " + f.Cause }
	pair(before.Findings, after.Findings, key, func(name string, b, a *report.Finding) {
		switch {
		case b == nil:
			d.add(report.New, "finding", name, "", a.Severity, a.Mend)
		case a == nil:
			d.add(report.Gone, "finding", name, b.Severity, "", "")
		}
	})
}

// pair calls f for every name in either list, in the order of after and then of
// what only before has, with what each has of it: nil is nothing.
func pair[T any](before, after []T, name func(T) string, f func(name string, before, after *T)) {
	old := map[string]*T{}
	for i := range before {
		old[name(before[i])] = &before[i]
	}
	seen := map[string]bool{}
	for i := range after {
		n := name(after[i])
		seen[n] = true
		f(n, old[n], &after[i])
	}
	for i := range before {
		if n := name(before[i]); !seen[n] {
			f(n, &before[i], nil)
		}
	}
}
