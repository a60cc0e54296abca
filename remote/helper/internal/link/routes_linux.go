package link

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

const (
	lookEvery  = 50 * time.Millisecond // for routes that are awaited
	speakEvery = time.Second           // after which the host's own endpoints are told anew
	deafAfter  = 5 * time.Second       // without any route, after which something is wrong
	maxMissing = 8                     // routes that a note names
)

// waiting is what the waits of a batch share: who waits for ten networks, one after
// the other, waits no longer than for one.
type waiting struct {
	began  time.Time // the first wait
	spoken time.Time // when the host's own endpoints were told last
	heard  bool      // a tunnel end of another host came, in any network
	deaf   bool      // the host was taken for deaf
}

// took is how long the batch has waited.
func (w *waiting) took(now time.Time) time.Duration {
	if w.began.IsZero() {
		w.began = now
	}
	return now.Sub(w.began)
}

// speaks tells whether the host's own endpoints are to be told now.
func (w *waiting) speaks(now time.Time) bool {
	if !w.spoken.IsZero() && now.Sub(w.spoken) < speakEvery {
		return false
	}
	w.spoken = now
	return true
}

// deafened tells, once, that in five seconds not one of the ends came that are
// awaited, nor any of another network before.
func (w *waiting) deafened(now time.Time, ends []netip.Addr, entries []hostapi.ForwardingEntry) bool {
	w.heard = w.heard || slices.ContainsFunc(entries, func(e hostapi.ForwardingEntry) bool {
		return e.Kind == hostapi.EntryFlood && slices.Contains(ends, e.Addr)
	})
	if w.heard || w.deaf || len(ends) == 0 || w.took(now) < deafAfter {
		return false
	}
	w.deaf = true
	return true
}

// Await waits until a VTEP of the lab's and its bridge have what w says, and tells
// how long that took, or what is missing still, counted from the batch's first wait.
// It has the bridges of all the batch's steps know the host's own endpoints, since who
// has not sent a frame is unknown to them and to the others, which wait meanwhile.
// deaf is called once a batch, after five seconds in which not one of the others'
// tunnel ends has come.
func (b *Batch) Await(ctx context.Context, w hostapi.Routes, steps []hostapi.Step, deaf func()) (note string, err error) {
	vtep, bridge, err := b.awaited(w)
	if err != nil {
		return "", err
	}
	for {
		now := time.Now()
		if b.waiting.speaks(now) {
			if err := b.speak(steps); err != nil {
				return "", err
			}
		}
		entries, err := b.host.forwarding(vtep, bridge)
		if err != nil {
			return "", err
		}
		missing := missingRoutes(w, entries)
		deafened := b.waiting.deafened(now, w.Ends, entries)
		took := b.waiting.took(now)
		switch {
		case len(missing) == 0:
			return fmt.Sprintf("%s knows tunnel ends: %d, endpoints: %d, after %s", w.VTEP, len(w.Ends), len(w.Remotes), time.Since(b.waiting.began).Round(time.Millisecond)), nil
		case took > w.Patience:
			more := ""
			if left := len(missing) - maxMissing; left > 0 {
				missing, more = missing[:maxMissing], fmt.Sprintf(" and %d more", left)
			}
			return fmt.Sprintf("%s does not know after %s: %s%s", w.VTEP, w.Patience, strings.Join(missing, ", "), more), nil
		case deafened:
			deaf()
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return "", hostapi.Errorf(hostapi.KindCanceled, "", "%v", context.Cause(ctx))
		}
	}
}

// awaited finds the lab's VTEP and bridge that w is about.
func (b *Batch) awaited(w hostapi.Routes) (vtep, bridge int, err error) {
	d, err := b.look(w.VTEP)
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("%s: %w", w.VTEP, classify(err))
	case d == nil || d.VXLAN == nil:
		return 0, 0, invalid("%s is no VTEP", w.VTEP)
	}
	bridge, err = b.master(w.Bridge)
	if err == nil && (bridge == 0 || bridge != d.master) {
		err = invalid("%s is not a port of bridge %q", w.VTEP, w.Bridge)
	}
	return d.Index, bridge, err
}

// speak has the bridges of all steps that wait for routes know the host's own
// endpoints. What is wrong with another step than the one at hand is said when its
// turn comes.
func (b *Batch) speak(steps []hostapi.Step) error {
	for _, step := range steps {
		if step.Routes == nil || len(step.Routes.Own) == 0 {
			continue
		}
		_, bridge, err := b.awaited(*step.Routes)
		if err != nil {
			continue
		}
		if err := b.host.speak(bridge, step.Routes.Own); err != nil {
			return err
		}
	}
	return nil
}

// missingRoutes names what w has and entries have not.
func missingRoutes(w hostapi.Routes, entries []hostapi.ForwardingEntry) (missing []string) {
	have := make(map[hostapi.ForwardingEntry]bool, len(entries))
	for _, e := range entries {
		have[e] = true
	}
	for _, end := range w.Ends {
		if !have[hostapi.ForwardingEntry{Kind: hostapi.EntryFlood, Addr: end}] {
			missing = append(missing, "tunnel end "+end.String())
		}
	}
	for _, r := range w.Remotes {
		if !have[hostapi.ForwardingEntry{Kind: hostapi.EntryRemote, MAC: r.MAC, Addr: r.Via}] || !have[hostapi.ForwardingEntry{Kind: hostapi.EntryPort, MAC: r.MAC}] {
			missing = append(missing, r.For)
		}
	}
	return missing
}

// speak has a bridge take stations for ones that have just sent a frame (NTF_USE),
// where their links are its ports.
func (c *conn) speak(bridge int, stations []hostapi.Station) error {
	for _, s := range stations {
		mac, err := parseMAC(s.MAC)
		if err != nil {
			return err
		}
		d, err := c.get(s.Link)
		if err != nil {
			return err
		}
		if d == nil || d.master != bridge {
			continue
		}
		err = c.library.NeighSet(&netlink.Neigh{
			LinkIndex: d.Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER | netlink.NTF_USE, State: netlink.NUD_REACHABLE, HardwareAddr: mac,
		})
		if err != nil {
			return fmt.Errorf("tell the bridge of %s behind %s: %w", s.MAC, s.Link, err)
		}
	}
	return nil
}
