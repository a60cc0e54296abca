package helper

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"vxorch/remote/helper/internal/console"
	"vxorch/remote/helper/internal/dhcp"
	"vxorch/remote/helper/internal/probe"
	"vxorch/remote/hostapi"
)

// Probe is hostapi.Prober's. Each guest sends its own in one go.
func (h *host) Probe(ctx context.Context, probes []hostapi.Probe) ([]hostapi.ProbeResult, error) {
	done, err := h.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var own []int // places of the probes that this machine sends
	inside := map[string][]int{}
	var exchanges, solicitations []int
	results := make([]hostapi.ProbeResult, len(probes))
	for n, p := range probes {
		switch {
		case p.TCP != nil && p.Guest == nil:
			exchanges = append(exchanges, n)
		case p.Solicit != nil && p.Guest == nil:
			solicitations = append(solicitations, n)
		case p.Guest == nil:
			own = append(own, n)
		case p.Netns != "":
			results[n].Error = &hostapi.Error{Kind: hostapi.KindInvalid, Message: "a probe is sent from a namespace or from a guest, not from both"}
		default:
			inside[p.Guest.Domain] = append(inside[p.Guest.Domain], n)
		}
	}
	var group sync.WaitGroup
	for _, places := range inside {
		group.Go(func() { h.probeInside(ctx, probes, places, results) })
	}
	for _, n := range exchanges {
		group.Go(func() { results[n] = probe.Exchange(ctx, probes[n]) })
	}
	asked := make([]*hostapi.ProbeResult, len(solicitations))
	for i, n := range solicitations {
		asked[i] = &results[n]
	}
	questions := dhcp.Ask(at(probes, solicitations), asked)
	sent, err := probe.Run(ctx, at(probes, own))
	for n, r := range sent {
		results[own[n]] = r
	}
	questions.Answers(ctx, quiet(sent))
	group.Wait()
	if err != nil {
		return nil, failure(ctx, err)
	}
	if ctx.Err() != nil {
		return nil, canceled(ctx)
	}
	return results, nil
}

// How long answers to solicitations are waited for when all pings are done.
const (
	leastQuiet = 10 * time.Millisecond
	blindQuiet = 250 * time.Millisecond // where no ping tells how far others are
)

// quiet is as long as the slowest ping took: the answer to what was asked before it
// had even more time.
func quiet(pings []hostapi.ProbeResult) time.Duration {
	var longest time.Duration
	for _, r := range pings {
		longest = max(longest, r.RTT)
	}
	if longest == 0 {
		return blindQuiet
	}
	return max(longest, leastQuiet)
}

// probeInside sends the probes at places, all of one guest, from inside it.
func (h *host) probeInside(ctx context.Context, probes []hostapi.Probe, places []int, results []hostapi.ProbeResult) {
	guest := *probes[places[0]].Guest
	ctx, cancel := context.WithTimeout(ctx, guest.Deadline)
	defer cancel()
	var targets []netip.Addr
	tries := 0
	for _, p := range at(probes, places) {
		targets = append(targets, p.Target)
		tries = max(tries, p.Tries)
	}
	var pinged []console.PingResult
	err := h.onConsole(ctx, "", guest, func(c *console.Console) (err error) {
		pinged, err = c.Ping(ctx, targets, tries)
		return err
	})
	for n, place := range places {
		if n < len(pinged) {
			r := pinged[n]
			results[place] = hostapi.ProbeResult{Sent: r.Sent, Received: r.Received, RTT: r.RTT, Error: r.Error}
		} else {
			results[place].Error = hostapi.AsError(err)
		}
	}
}

// at gives the elements at places.
func at(all []hostapi.Probe, places []int) []hostapi.Probe {
	var some []hostapi.Probe
	for _, n := range places {
		some = append(some, all[n])
	}
	return some
}
