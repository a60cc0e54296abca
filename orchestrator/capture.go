package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator/packets"
	"vxorch/orchestrator/pcapng"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/trace"
	"vxorch/remote/hostapi"
)

const (
	// settling is how long packets wait for earlier ones of other hosts before they
	// are written; who comes later is written late.
	settling = 300 * time.Millisecond
	// capturePatience is how long a host waits for a packet before it is asked anew.
	capturePatience = 2 * time.Second
	// lastLook bounds fetching what was copied before the end.
	lastLook = 2 * time.Second
	// mostWaiting is how many bytes wait to be written before hosts are not asked.
	mostWaiting = 64 << 20
)

// CaptureOptions say what to capture.
type CaptureOptions struct {
	Points  []trace.Point
	Want    packets.Want
	Snaplen int           // bytes of a packet; 0: all
	Count   int           // packets of all points; 0: no such bound
	Bytes   int64         // copied, of all points; 0: no such bound
	For     time.Duration // 0: until ctx ends
	// Begin gives the file, once it is known what is in it; its Write is called from
	// one goroutine at a time.
	Begin func([]pcapng.Interface) (*pcapng.Writer, error)
}

// Captured is what came of a capture.
type Captured struct {
	Packets int
	Bytes   int64
	Lost    int64 // that hosts could not copy in time
	Bounded bool  // one of the bounds ended it
	Failed  []error
	Errs    []error
}

// errBound ends a capture that has reached one of its bounds.
var errBound = errors.New("a bound is reached")

// Capture writes the packets of all points to one file as they come, their times
// by this machine's clock, until a bound is reached or ctx ends. It changes
// nothing on the hosts and takes no lock.
func (c *Controller) Capture(ctx context.Context, lab *inventory.Lab, o CaptureOptions) Captured {
	var hosts []string
	for _, p := range o.Points {
		if !slices.Contains(hosts, p.Host) {
			hosts = append(hosts, p.Host)
		}
	}
	s := c.of(hosts).begin(lab)
	defer s.close()
	m := &merge{o: o, lost: map[string]int64{}}
	filters := map[string][]hostapi.FilterOp{}
	for _, name := range hosts {
		var err error
		want := o.Want
		if slices.ContainsFunc(o.Points, func(p trace.Point) bool { return p.Host == name && p.Outside }) {
			want = withoutOurselves(want, lab.Host(name))
		}
		if filters[name], err = want.Filter(); err != nil {
			return Captured{Errs: []error{err}}
		}
	}
	facts := s.gather(ctx, "", func(string) hostapi.ObserveRequest { return hostapi.ObserveRequest{Lab: lab.Name} })
	if errs := s.run.Errs(); len(errs) > 0 {
		return Captured{Errs: errs}
	}
	settleUnderlays(lab, o.Points, facts)
	m.clocks = s.clocks(ctx)
	s.capturers(ctx, "listen", func(ctx context.Context, name string, host hostapi.Capturer) error {
		return m.listen(ctx, name, host, filters[name])
	})
	errs := s.run.Errs()
	if len(m.failed) == len(o.Points) {
		errs = append(errs, m.failed...)
	}
	if len(errs) > 0 {
		return Captured{Errs: errs}
	}
	var err error
	if m.file, err = o.Begin(m.interfaces()); err != nil {
		return Captured{Errs: []error{err}}
	}
	s.copyPackets(ctx, m)
	return m.sum(s.run.Errs())
}

// withoutOurselves leaves SSH out, unless it is asked for by its port: at an underlay
// device each packet that is fetched would make others that are to be fetched.
func withoutOurselves(w packets.Want, h inventory.Host) packets.Want {
	for _, port := range []int{22, h.SSH.Port} {
		if port != 0 && !slices.Contains(w.Ports, port) && !slices.Contains(w.Without, port) {
			w.Without = append(slices.Clone(w.Without), port)
		}
	}
	return w
}

// settleUnderlays gives points at underlay devices their links, in place.
func settleUnderlays(lab *inventory.Lab, points []trace.Point, facts map[string]hostapi.Facts) {
	for i := range points {
		p := &points[i]
		if !p.Underlay {
			continue
		}
		f := facts[p.Host]
		for _, l := range f.Links {
			if l.VXLAN != nil && slices.ContainsFunc(lab.Networks, func(n inventory.Network) bool { return n.VXLAN == l.Name }) && p.At.Link == "" {
				p.At.Link = l.VXLAN.Device
			}
		}
		for _, r := range f.Routes {
			if p.At.Link == "" {
				p.At.Link = r.Device
			}
		}
		p.Name = p.Host + ":" + p.At.Link
	}
}

// copyPackets fetches packets from the hosts and writes them, until the end.
func (s *session) copyPackets(ctx context.Context, m *merge) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if m.o.For > 0 {
		timer := time.AfterFunc(m.o.For, func() {
			m.mu.Lock()
			m.bounded = true
			m.mu.Unlock()
			stop(errBound)
		})
		defer timer.Stop()
	}
	m.stop = stop
	var writing sync.WaitGroup
	fetched := make(chan struct{})
	writing.Go(func() {
		tick := time.NewTicker(settling / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.flush(time.Now().Add(-settling))
			case <-fetched:
				m.flush(time.Time{})
				return
			}
		}
	})
	// What the hosts have copied by the end is fetched after it.
	s.capturers(context.WithoutCancel(ctx), "capture", func(later context.Context, name string, host hostapi.Capturer) error {
		for {
			ended, err := m.fetch(ctx, name, host, capturePatience)
			if ctx.Err() != nil && (err == nil || errors.Is(err, hostapi.ErrCanceled)) {
				break
			}
			if ended || err != nil {
				return err
			}
		}
		later, cancel := context.WithTimeout(later, lastLook)
		defer cancel()
		_, err := m.fetch(later, name, host, 0)
		if errors.Is(err, hostapi.ErrCanceled) {
			return nil
		}
		return err
	})
	close(fetched)
	writing.Wait()
}

// merge puts the packets of all points into one file.
type merge struct {
	o      CaptureOptions
	clocks map[string]trace.Clock
	file   *pcapng.Writer
	stop   context.CancelCauseFunc

	mu      sync.Mutex
	places  map[string][]int // interfaces of each host's points
	failed  []error
	waiting []pcapng.Packet
	held    int64
	count   int
	bytes   int64
	lost    map[string]int64 // by host
	dropped int64            // here
	bounded bool
	broken  error // why nothing more can be written
}

// listen has a host copy what passes its points.
func (m *merge) listen(ctx context.Context, name string, host hostapi.Capturer, filter []hostapi.FilterOp) error {
	var places []int
	req := hostapi.CaptureRequest{Filter: filter, Snaplen: m.o.Snaplen, Count: m.o.Count, Bytes: m.o.Bytes, For: m.o.For}
	for i, p := range m.o.Points {
		if p.Host == name {
			places, req.Points = append(places, i), append(req.Points, p.At)
		}
	}
	failed, err := host.Capture(ctx, req)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.places == nil {
		m.places = map[string][]int{}
	}
	m.places[name] = places
	for i, f := range failed {
		if f != nil {
			m.failed = append(m.failed, fmt.Errorf("%s: %w", m.o.Points[places[i]].Name, f))
		}
	}
	return err
}

// interfaces are the points as the file has them.
func (m *merge) interfaces() (all []pcapng.Interface) {
	for _, p := range m.o.Points {
		clock := m.clocks[p.Host]
		all = append(all, pcapng.Interface{
			Name: p.Name, Description: p.Host, Snaplen: m.o.Snaplen,
			Comment: fmt.Sprintf("the clock of %s was %v ahead of the capturing machine's, to within %v; that is taken out of the times", p.Host, clock.Ahead, clock.Within),
		})
	}
	return all
}

// fetch takes what a host has copied.
func (m *merge) fetch(ctx context.Context, name string, host hostapi.Capturer, patience time.Duration) (ended bool, err error) {
	got, err := host.Packets(ctx, hostapi.PacketsRequest{Patience: patience})
	if err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost[name] = got.Lost
	for _, p := range got.Packets {
		if p.Point >= len(m.places[name]) {
			return false, fmt.Errorf("a packet of point %d of %d", p.Point, len(m.places[name]))
		}
		if m.full() {
			break
		}
		if m.held >= mostWaiting {
			m.dropped++
			continue
		}
		m.waiting = append(m.waiting, pcapng.Packet{
			Interface: m.places[name][p.Point], Time: p.Time.Add(-m.clocks[name].Ahead), Outgoing: p.Outgoing, Length: p.Length, Data: p.Data,
		})
		m.held += int64(len(p.Data))
		m.count++
		m.bytes += int64(len(p.Data))
	}
	if m.full() || got.Ended {
		m.bounded = true
	}
	if m.full() {
		m.stop(errBound)
	}
	return got.Ended || m.full() || m.broken != nil, nil
}

// full tells whether a bound on all points together is reached.
func (m *merge) full() bool {
	return m.o.Count > 0 && m.count >= m.o.Count || m.o.Bytes > 0 && m.bytes >= m.o.Bytes
}

// flush writes what was seen before then; all of it without a time.
func (m *merge) flush(then time.Time) {
	m.mu.Lock()
	slices.SortStableFunc(m.waiting, func(a, b pcapng.Packet) int { return a.Time.Compare(b.Time) })
	n := len(m.waiting)
	if !then.IsZero() {
		n, _ = slices.BinarySearchFunc(m.waiting, then, func(p pcapng.Packet, then time.Time) int { return p.Time.Compare(then) })
	}
	ready := m.waiting[:n:n]
	m.waiting = m.waiting[n:]
	for _, p := range ready {
		m.held -= int64(len(p.Data))
	}
	broken := m.broken
	m.mu.Unlock()
	if n == 0 || broken != nil {
		return
	}
	if err := m.file.Write(ready); err != nil {
		m.mu.Lock()
		m.broken = err
		m.mu.Unlock()
		m.stop(err)
	}
}

func (m *merge) sum(errs []error) Captured {
	m.mu.Lock() // the time's end may come yet, though the hosts have noticed theirs
	defer m.mu.Unlock()
	out := Captured{Packets: m.count, Bytes: m.bytes, Lost: m.dropped, Bounded: m.bounded, Errs: errs}
	for _, n := range m.lost {
		out.Lost += n
	}
	for _, err := range m.failed {
		out.Failed = append(out.Failed, errors.New(report.Clean(err.Error())))
	}
	if m.broken != nil {
		out.Errs = append(out.Errs, fmt.Errorf("write packets: %w", m.broken))
	}
	return out
}
