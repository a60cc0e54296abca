package wire

import (
	"cmp"
	"sync"
	"time"

	"vxorch/remote/hostapi"
)

// mostLength is more bytes than any frame has: what a network card puts together
// or takes apart is 64 KiB and its headers, of IPv6 jumbograms a few more.
const mostLength = 1 << 20

// captures is what a client knows of the packets that its host is to hand over.
type captures struct {
	mu      sync.Mutex
	points  int
	snaplen int
}

// begin notes what was asked for and refuses an answer that does not fit.
func (c *captures) begin(points []*hostapi.Error, req hostapi.CaptureRequest) error {
	if got, want := len(points), len(req.Points); got != want {
		return strange("results of %d points to a request of %d", got, want)
	}
	for i := range points {
		points[i] = known(points[i])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.points, c.snaplen = len(req.Points), cmp.Or(req.Snaplen, 1<<16-1)
	return nil
}

// check refuses packets that were not asked for, or that cannot be.
func (c *captures) check(got hostapi.Packets) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if got.Lost < 0 {
		return strange("%d packets as lost", got.Lost)
	}
	for _, p := range got.Packets {
		switch {
		case p.Point < 0 || p.Point >= c.points:
			return strange("a packet of point %d of %d", p.Point, c.points)
		case len(p.Data) > c.snaplen || len(p.Data) > p.Length || p.Length > mostLength:
			return strange("%d bytes of a packet of %d where %d were asked for", len(p.Data), p.Length, c.snaplen)
		case p.Time.Before(time.Unix(0, 0)) || p.Time.Year() > 2200: // nanoseconds fit
			return strange("a packet of %v", p.Time)
		}
	}
	return nil
}
