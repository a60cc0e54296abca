package wire

import (
	"time"

	"vxorch/remote/hostapi"
)

// patienceFor is how long a host may take over a request before it counts as
// hung: far longer than any host needs, since what is given up is the session.
// That a peer is gone is noticed much sooner, by whoever made the stream; this is
// for one that is there, and even talks, but does not answer.
func patienceFor(request any) time.Duration {
	switch r := request.(type) {
	case hostapi.Batch:
		all := time.Minute
		for _, s := range r.Steps {
			switch {
			case s.Guest != nil:
				all += time.Minute + s.Guest.Deadline
			case s.Domain != nil:
				all += 5 * time.Minute // libvirt starts one after the other
			case s.Routes != nil:
				all += 10*time.Second + s.Routes.Patience
			case s.FRR != nil:
				all += time.Minute // daemons end and start
			default:
				all += 10 * time.Second
			}
		}
		return all
	case []hostapi.Probe:
		longest := time.Duration(0) // all run at once
		for _, p := range r {
			if p.Guest != nil {
				longest = max(longest, p.Guest.Deadline)
			}
		}
		return time.Minute + 2*longest
	case hostapi.ImageChunk:
		return 15 * time.Minute // 4 MiB over the slowest line; after the last, the sum over the whole
	case hostapi.PrepareRequest:
		return time.Hour // packages are fetched
	}
	return 3 * time.Minute
}
