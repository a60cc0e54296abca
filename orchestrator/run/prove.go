package run

import (
	"context"
	"fmt"

	"vxorch/orchestrator/report"
	"vxorch/orchestrator/verify"
	"vxorch/remote/hostapi"
)

// Prove sends the probes, all of a host at once, and records a row for each; what
// measures throughput it sends afterwards. Those from or to a host that has failed
// are skipped, and so is what needs both hosts at once where not all can be worked
// on at once.
func (r *Run) Prove(ctx context.Context, stage string, pairs []verify.Pair, hosts map[string]hostapi.Host) {
	for _, round := range verify.Rounds(pairs) {
		name := stage
		if verify.Measuring(round) {
			name = stageThroughput
		}
		r.round(ctx, name, round, hosts)
	}
}

// stageThroughput is the stage of checks that measure it.
const stageThroughput = "throughput"

func (r *Run) round(ctx context.Context, stage string, pairs []verify.Pair, hosts map[string]hostapi.Host) {
	var rows []report.Probe
	byHost := map[string][]verify.Pair{}
	serving := map[string][]hostapi.Probe{}
	for _, p := range pairs {
		why := r.absent(p, hosts)
		if why == "" && p.TCP != 0 && len(hosts) > r.abreast {
			why = fmt.Sprintf("it needs both hosts at once, and %d of %d are worked on at once (--parallel)", r.abreast, len(hosts))
		}
		if why != "" {
			rows = append(rows, p.Skip(why))
			continue
		}
		byHost[p.FromHost] = append(byHost[p.FromHost], p)
		if p.TCP != 0 {
			serving[p.ToHost] = serve(serving[p.ToHost], p.Serving())
		}
	}
	r.addRows(rows)
	each(hosts, func(name string, host hostapi.Host) {
		pairs := byHost[name]
		if len(pairs)+len(serving[name]) == 0 {
			return
		}
		probes := make([]hostapi.Probe, len(pairs), len(pairs)+len(serving[name]))
		for i, p := range pairs {
			probes[i] = p.Probe()
		}
		probes = append(probes, serving[name]...) // what came of them, the other side tells
		var results []hostapi.ProbeResult
		err := r.Stage(ctx, name, stage, func(ctx context.Context) (changed []string, err error) {
			results, err = host.Probe(ctx, probes)
			return nil, err
		})
		rows := make([]report.Probe, len(pairs))
		for i, p := range pairs {
			if err != nil {
				rows[i] = p.Skip(name + " failed")
			} else {
				rows[i] = p.Judge(results[i])
			}
		}
		r.addRows(rows)
	})
}

// serve adds a serving side, of which there is one for all clients of a port.
func serve(sides []hostapi.Probe, side hostapi.Probe) []hostapi.Probe {
	for i, s := range sides {
		if s.Netns == side.Netns && s.Target == side.Target && s.TCP.Port == side.TCP.Port {
			s.TCP.Clients, s.TCP.For = max(s.TCP.Clients, 1)+1, max(s.TCP.For, side.TCP.For)
			sides[i] = s
			return sides
		}
	}
	return append(sides, side)
}

// absent tells why a probe cannot be sent; empty: it can.
func (r *Run) absent(p verify.Pair, hosts map[string]hostapi.Host) string {
	if p.Mute != "" {
		return p.Mute
	}
	for _, end := range []hostVM{{p.FromHost, p.FromVM}, {p.ToHost, p.ToVM}} {
		if hosts[end.host] == nil || r.Err(end.host) != nil {
			return end.host + " failed"
		}
		if why := r.lacks(end); why != "" {
			return why
		}
	}
	return ""
}

func (r *Run) addRows(rows []report.Probe) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, rows...)
}
