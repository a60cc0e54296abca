package capture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

const (
	maxSnaplen  = 1<<16 - 1
	maxPatience = 5 * time.Second
	maxFilter   = 4096 // instructions, as the kernel has it

	// gather is how long the first packet of an answer waits for others: a ping's
	// way through a host takes less, and who watches a live capture does not see it.
	gather = 20 * time.Millisecond

	// mostHeld bounds what waits to be fetched, in bytes, and mostHanded what one
	// answer has: with base64 and the rest that stays below a frame of the wire.
	mostHeld   = 16 << 20
	mostHanded = 4 << 20
	// perPacket is what a packet counts for beside its bytes.
	perPacket = 128
)

// Capture is copying under way. Close ends it.
type Capture struct {
	limits hostapi.CaptureRequest
	taps   []*tap
	ended  sync.WaitGroup
	timer  *time.Timer

	mu    sync.Mutex
	held  []hostapi.Packet
	room  int64 // taken by held, in bytes
	count int   // of all packets copied
	bytes int64 // of all packets copied
	lost  int64
	over  bool          // a bound was reached
	news  chan struct{} // closed, and made anew, when a packet or the end came
}

// Begin opens all points and tells which cannot be.
func Begin(req hostapi.CaptureRequest) (*Capture, []*hostapi.Error, error) {
	if req.Snaplen == 0 {
		req.Snaplen = maxSnaplen
	}
	if err := check(req); err != nil {
		return nil, nil, err
	}
	c := &Capture{limits: req, news: make(chan struct{})}
	failed := make([]*hostapi.Error, len(req.Points))
	for i, p := range req.Points {
		t, err := c.open(i, p)
		if err != nil {
			failed[i] = pointError(p, err)
			continue
		}
		c.taps = append(c.taps, t)
	}
	for _, t := range c.taps {
		c.ended.Go(t.copy)
	}
	if req.For > 0 {
		c.timer = time.AfterFunc(req.For, c.end)
	}
	return c, failed, nil
}

func check(req hostapi.CaptureRequest) error {
	var problem string
	switch {
	case len(req.Points) == 0 || len(req.Points) > hostapi.MostPoints:
		problem = fmt.Sprintf("%d points are not within 1…%d", len(req.Points), hostapi.MostPoints)
	case req.Snaplen < 0 || req.Snaplen > maxSnaplen:
		problem = fmt.Sprintf("%d bytes of a frame are not within 0…%d", req.Snaplen, maxSnaplen)
	case req.Count < 0 || req.Bytes < 0 || req.For < 0:
		problem = "a bound is negative"
	case len(req.Filter) > maxFilter:
		problem = fmt.Sprintf("a filter of %d instructions, more than %d", len(req.Filter), maxFilter)
	default:
		return nil
	}
	return &hostapi.Error{Kind: hostapi.KindInvalid, Message: "capture: " + problem}
}

// pointError says why nothing is copied at p.
func pointError(p hostapi.CapturePoint, err error) *hostapi.Error {
	e := &hostapi.Error{Kind: hostapi.KindInternal, Message: err.Error()}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Message = hostapi.KindInvalid, fmt.Sprintf("there is no namespace %q", p.Netns)
	case errors.Is(err, errNoLink):
		e.Kind, e.Message = hostapi.KindInvalid, fmt.Sprintf("there is no link %q", p.Link)
	case errors.Is(err, fs.ErrPermission):
		e.Kind = hostapi.KindPermission
	}
	return e
}

// Packets hands over what was copied, and waits for the first until patience or
// ctx ends.
func (c *Capture) Packets(ctx context.Context, req hostapi.PacketsRequest) hostapi.Packets {
	up := time.NewTimer(min(max(req.Patience, 0), maxPatience))
	defer up.Stop()
	for {
		c.mu.Lock()
		have, over, news := len(c.held) > 0, c.over, c.news
		c.mu.Unlock()
		if over {
			break
		}
		if have {
			select {
			case <-time.After(gather):
			case <-ctx.Done():
			}
			break
		}
		select {
		case <-news:
			continue
		case <-up.C:
		case <-ctx.Done():
		}
		break
	}
	for _, t := range c.taps {
		t.sweep()
	}
	return c.take()
}

// take gives the oldest of what is held, as much as one answer may have.
func (c *Capture) take() hostapi.Packets {
	var dropped int64
	for _, t := range c.taps {
		dropped += t.dropped()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost += dropped
	n, size := 0, int64(0)
	for n < len(c.held) && size < mostHanded {
		size += perPacket + int64(len(c.held[n].Data))
		n++
	}
	out := hostapi.Packets{Packets: c.held[:n:n], Lost: c.lost, Ended: c.over && n == len(c.held)}
	c.held, c.room = c.held[n:], c.room-size
	return out
}

// add keeps a copy. It gives false when no more is wanted.
func (c *Capture) add(p hostapi.Packet) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	size := int64(len(p.Data))
	if c.room+perPacket+size > mostHeld {
		c.lost++ // nobody fetches
		return true
	}
	c.held = append(c.held, p)
	c.room += perPacket + size
	c.count++
	c.bytes += size
	if c.limits.Count > 0 && c.count >= c.limits.Count || c.limits.Bytes > 0 && c.bytes >= c.limits.Bytes {
		c.over = true
	}
	c.tell()
	return !c.over
}

// end says that a bound was reached.
func (c *Capture) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.tell()
}

// tell wakes those who wait; c.mu is held.
func (c *Capture) tell() {
	close(c.news)
	c.news = make(chan struct{})
}

// Close ends the copying.
func (c *Capture) Close() {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.end()
	for _, t := range c.taps {
		t.file.Close()
	}
	c.ended.Wait()
}

var errNoLink = errors.New("no such link")

// open opens a point.
func (c *Capture) open(number int, p hostapi.CapturePoint) (*tap, error) {
	t := &tap{capture: c, number: number}
	err := ns.Do(p.Netns, func() error {
		link, err := net.InterfaceByName(p.Link)
		if err != nil {
			return errNoLink
		}
		// Of no protocol until it is bound, so that it gets nothing from elsewhere.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open a packet socket: %w", err)
		}
		if err := prepare(fd, link.Index, c.limits.Filter); err != nil {
			unix.Close(fd)
			return err
		}
		t.file = os.NewFile(uintptr(fd), "packets of "+p.Link)
		return nil
	})
	return t, err
}
