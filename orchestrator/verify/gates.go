package verify

import (
	"fmt"
	"time"

	"vxorch/orchestrator/report"
)

// Limits are the bounds that a user sets on a run, beyond that every probe
// passes. nil sets none.
type Limits struct {
	Duration *time.Duration // of the whole run
	Loss     *float64       // percent of all echo requests of the run's pings
	RTT      *time.Duration // of every ping
}

// Gate holds a run against limits. A limit on pings of a run that has none is
// crossed: nothing was proved.
func (l Limits) Gate(r *report.Result) []report.Gate {
	var gates []report.Gate
	add := func(name, limit string, crossed bool, by string) {
		g := report.Gate{Name: name, Limit: limit, Result: report.Pass, By: by}
		if crossed {
			g.Result = report.Fail
		}
		gates = append(gates, g)
	}
	if l.Duration != nil {
		add("max-duration", l.Duration.String(), r.Seconds > l.Duration.Seconds(), took(r))
	}
	if l.Loss != nil {
		percent, by := loss(r)
		add("max-loss", fmt.Sprintf("%g%%", *l.Loss), percent > *l.Loss, by)
	}
	if l.RTT != nil {
		crossed, by := slow(r, *l.RTT)
		add("max-rtt", l.RTT.String(), crossed, by)
	}
	return gates
}

// took names the stage that a run spent most of its time in.
func took(r *report.Result) string {
	by := fmt.Sprintf("the run took %.2f s", r.Seconds)
	var longest report.Stage
	var where string
	for _, h := range r.Hosts {
		for _, s := range h.Stages {
			if s.Seconds > longest.Seconds {
				longest, where = s, h.Name
			}
		}
	}
	if where != "" {
		by += fmt.Sprintf(", longest %s on %s: %.2f s", longest.Name, where, longest.Seconds)
	}
	return by
}

// loss gives the share of lost echo requests, in percent, and the ping that lost
// most. One that could not be sent counts as one that was lost.
func loss(r *report.Result) (percent float64, by string) {
	var sent, lost, most int
	var worst report.Probe
	for _, p := range r.Probes {
		if p.Kind != report.KindPing || p.Result == report.Skipped || p.Expect == report.ExpectUnreachable {
			continue
		}
		s := max(p.Sent, 1)
		sent += s
		lost += s - p.Received
		if s-p.Received > most {
			most, worst = s-p.Received, p
		}
	}
	if sent == 0 {
		return 100, "no ping was sent"
	}
	percent = 100 * float64(lost) / float64(sent)
	by = fmt.Sprintf("%d of %d requests lost, %.1f%%", lost, sent, percent)
	if lost > 0 {
		by += fmt.Sprintf(", most by %s: %d", way(worst), most)
	}
	return percent, by
}

// slow tells whether any ping took longer than limit, or none was answered.
func slow(r *report.Result, limit time.Duration) (crossed bool, by string) {
	var answered, over int
	var longest report.Probe
	for _, p := range r.Probes {
		if p.Kind != report.KindPing || p.Received == 0 || p.Expect == report.ExpectUnreachable {
			continue
		}
		answered++
		if p.RTT.Max > float64(limit)/float64(time.Millisecond) {
			over++
		}
		if p.RTT.Max > longest.RTT.Max {
			longest = p
		}
	}
	if answered == 0 {
		return true, "no ping was answered"
	}
	by = fmt.Sprintf("longest %s: %.3f ms", way(longest), longest.RTT.Max)
	if over > 0 {
		by = fmt.Sprintf("%d of %d answered pings took longer, ", over, answered) + by
	}
	return over > 0, by
}

func way(p report.Probe) string {
	if p.Stage == report.StageVTEP {
		return p.From + " -> " + p.To
	}
	return fmt.Sprintf("%s (%s) -> %s (%s)", p.From, p.FromHost, p.To, p.ToHost)
}
