package link

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

const (
	lookEvery  = 50 * time.Millisecond // for routes that are awaited
	speakEvery = 20                    // looks, after which the host's own endpoints are told anew
	deafAfter  = 100                   // looks without any route, after which something is wrong
	maxMissing = 8                     // routes that a note names
)

// Await waits until a VTEP of the lab's and its bridge have what w says, and tells
// how long that took, or what is missing still. It has the bridge know the host's
// own endpoints, since who has not sent a frame is unknown to it and to the others.
// deaf is called once, after five seconds in which not one of the others' tunnel
// ends has come.
func (b *Batch) Await(ctx context.Context, w hostapi.Routes, deaf func()) (note string, err error) {
	vtep, err := b.look(w.VTEP)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", w.VTEP, classify(err))
	case vtep == nil || vtep.VXLAN == nil:
		return "", invalid("%s is no VTEP", w.VTEP)
	}
	bridge, err := b.master(w.Bridge)
	if err == nil && (bridge == 0 || bridge != vtep.master) {
		err = invalid("%s is not a port of bridge %q", w.VTEP, w.Bridge)
	}
	if err != nil {
		return "", err
	}
	began := time.Now()
	for n := 0; ; n++ {
		if n%speakEvery == 0 {
			if err := b.host.speak(bridge, w.Own); err != nil {
				return "", err
			}
		}
		entries, err := b.host.forwarding(vtep.Index, bridge)
		if err != nil {
			return "", err
		}
		missing := missingRoutes(w, entries)
		took := time.Since(began)
		switch {
		case len(missing) == 0:
			return fmt.Sprintf("%s knows tunnel ends: %d, endpoints: %d, after %s", w.VTEP, len(w.Ends), len(w.Remotes), took.Round(time.Millisecond)), nil
		case took > w.Patience:
			more := ""
			if left := len(missing) - maxMissing; left > 0 {
				missing, more = missing[:maxMissing], fmt.Sprintf(" and %d more", left)
			}
			return fmt.Sprintf("%s does not know after %s: %s%s", w.VTEP, w.Patience, strings.Join(missing, ", "), more), nil
		}
		if n == deafAfter && len(w.Ends) > 0 && !slices.ContainsFunc(entries, func(e hostapi.ForwardingEntry) bool {
			return e.Kind == hostapi.EntryFlood && slices.Contains(w.Ends, e.Addr)
		}) {
			deaf()
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return "", hostapi.Errorf(hostapi.KindCanceled, "", "%v", context.Cause(ctx))
		}
	}
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
