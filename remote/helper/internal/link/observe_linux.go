package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// Observe reads the host as req asks; the lock is not its business.
func (k *Kernel) Observe(ctx context.Context, req hostapi.ObserveRequest, store own.Store) (hostapi.Facts, error) {
	intents, err := store.Intents(req.Lab)
	if err != nil {
		return hostapi.Facts{}, err
	}
	facts, err := machine()
	if err != nil {
		return hostapi.Facts{}, err
	}
	if facts.Routes, err = k.routes(req.Peers); err != nil {
		return hostapi.Facts{}, err
	}
	devices, err := k.host.list()
	if err != nil {
		return hostapi.Facts{}, err
	}
	addresses, err := k.host.addresses()
	if err != nil {
		return hostapi.Facts{}, err
	}
	all := complete(devices, addresses, req.Lab, intents)
	if facts.Overlaps, err = k.overlaps(req.Subnets, all); err != nil {
		return hostapi.Facts{}, err
	}
	if facts.Holders, err = portHolders(req.Ports, all); err != nil {
		return hostapi.Facts{}, err
	}
	facts.Links = choose(all, req, facts.Routes)
	if err := k.readForwarding(facts.Links, devices, req.Lab); err != nil {
		return hostapi.Facts{}, err
	}
	if err := ctx.Err(); err != nil {
		return hostapi.Facts{}, err
	}
	entries, err := ns.List()
	if err != nil {
		return hostapi.Facts{}, err
	}
	if facts.Namespaces, err = namespaces(ctx, entries, req, intents); err != nil {
		return hostapi.Facts{}, err
	}
	for _, i := range leftovers(intents, devices, entries) {
		facts.Leftovers = append(facts.Leftovers, store.IntentPath(req.Lab, i))
	}
	for _, e := range entries {
		if !e.Valid && own.Matches(intents, hostapi.KindNamespace, e.Name, "") {
			facts.Leftovers = append(facts.Leftovers, filepath.Join(ns.Dir, e.Name))
		}
	}
	return facts, nil
}

// readForwarding adds what the lab's VTEPs among links were told of the others.
func (k *Kernel) readForwarding(links []hostapi.Link, devices []*device, lab string) error {
	for _, l := range links {
		if l.VXLAN == nil || l.Mark == nil || l.Mark.Lab != lab {
			continue
		}
		at := slices.IndexFunc(devices, func(d *device) bool { return d.Index == l.Index })
		entries, err := k.host.forwarding(l.Index, devices[at].master)
		if err != nil {
			return fmt.Errorf("link %s: %w", l.Name, err)
		}
		l.VXLAN.Forwarding = hostapi.SummarizeForwarding(entries)
	}
	return nil
}

// machine says what this host is.
func machine() (hostapi.Facts, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return hostapi.Facts{}, fmt.Errorf("uname: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return hostapi.Facts{}, fmt.Errorf("read the boot id: %w", err)
	}
	return hostapi.Facts{
		Hostname: unix.ByteSliceToString(uts.Nodename[:]),
		Kernel:   unix.ByteSliceToString(uts.Release[:]),
		Machine:  unix.ByteSliceToString(uts.Machine[:]),
		BootID:   strings.TrimSpace(string(boot)),
	}, nil
}

// routes looks up how each peer is reached. The way to an address of the host
// itself is the loopback device.
func (k *Kernel) routes(peers []netip.Addr) ([]hostapi.Route, error) {
	var routes []hostapi.Route
	for _, peer := range peers {
		if !peer.IsValid() {
			return nil, invalid("a peer without an address")
		}
		route := hostapi.Route{Peer: peer}
		found, err := k.host.library.RouteGet(ipOf(peer.Unmap()))
		if err != nil && !noRoute(err) {
			return nil, fmt.Errorf("look up the route to %s: %w", peer, err)
		}
		if len(found) > 0 {
			if route.Device, err = k.host.name(found[0].LinkIndex); err != nil {
				return nil, fmt.Errorf("look up the route to %s: %w", peer, err)
			}
			route.Source = addrOf(found[0].Src)
		}
		routes = append(routes, route)
	}
	return routes, nil
}

// noRoute says whether err is the kernel's way to say that there is no route,
// or one that forbids: unreachable, blackhole, prohibit, no such family.
func noRoute(err error) bool {
	for _, errno := range []unix.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EINVAL, unix.EACCES, unix.EAFNOSUPPORT, unix.EOPNOTSUPP} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// complete gives devices with addresses, marks, and names for indices, sorted.
func complete(devices []*device, addresses map[int][]netlink.Addr, lab string, intents []own.Intent) []hostapi.Link {
	names := map[int]string{}
	for _, d := range devices {
		names[d.Index] = d.Name
	}
	var links []hostapi.Link
	for _, d := range devices {
		l := d.Link
		l.Mark = ownership(d, lab, intents)
		l.Addresses = prefixes(addresses[d.Index])
		l.Master = names[d.master]
		if l.VXLAN != nil {
			l.VXLAN.Device = names[d.underlay]
		}
		links = append(links, l)
	}
	hostapi.SortFunc(links, func(a, b hostapi.Link) int { return cmp.Compare(a.Name, b.Name) })
	return links
}

// choose leaves the links that are to be reported.
func choose(links []hostapi.Link, req hostapi.ObserveRequest, routes []hostapi.Route) []hostapi.Link {
	wanted := map[string]bool{}
	for _, name := range req.Links {
		wanted[name] = true
	}
	for _, r := range routes {
		wanted[r.Device] = true
	}
	for _, l := range links {
		if l.VXLAN != nil {
			wanted[l.Name] = true
			wanted[l.VXLAN.Device] = true
		}
		if l.Mark != nil && l.Mark.Lab == req.Lab {
			wanted[l.Name] = true
		}
	}
	return slices.DeleteFunc(links, func(l hostapi.Link) bool { return !wanted[l.Name] })
}

// namespaces gives the lab's namespaces and those that req names.
func namespaces(ctx context.Context, entries []ns.Entry, req hostapi.ObserveRequest, intents []own.Intent) ([]hostapi.NamespaceFacts, error) {
	var out []hostapi.NamespaceFacts
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		facts := &hostapi.NamespaceFacts{Name: e.Name}
		if e.Valid {
			var err error
			if facts, err = lookInto(e.Name, req.Lab); err != nil {
				return nil, err
			}
			if facts == nil {
				continue // removed since they were listed
			}
		} else if own.Matches(intents, hostapi.KindNamespace, e.Name, "") {
			facts.Mark = &hostapi.Mark{Lab: req.Lab, Intended: true}
		}
		if facts.Mark != nil && facts.Mark.Lab == req.Lab || slices.Contains(req.Namespaces, e.Name) {
			out = append(out, *facts)
		}
	}
	return out, nil
}

// lookInto reads whose a namespace is and, if it is the lab's, what is in it;
// nil if there is none.
func lookInto(name, lab string) (*hostapi.NamespaceFacts, error) {
	s, err := openSpace(name)
	if s == nil || err != nil {
		return nil, err
	}
	defer s.close()
	facts := &hostapi.NamespaceFacts{Name: name, Mark: s.mark}
	if s.mark == nil || s.mark.Lab != lab {
		return facts, nil
	}
	devices, err := s.inner.list()
	if err != nil {
		return nil, fmt.Errorf("look into namespace %s: %w", name, err)
	}
	addresses, err := s.inner.addresses()
	if err != nil {
		return nil, fmt.Errorf("look into namespace %s: %w", name, err)
	}
	for index := range addresses {
		addresses[index] = given(addresses[index])
	}
	facts.Links = complete(devices, addresses, lab, nil)
	return facts, nil
}

// leftovers gives the intents whose object does not exist or bears its mark.
func leftovers(intents []own.Intent, devices []*device, entries []ns.Entry) []own.Intent {
	return slices.DeleteFunc(slices.Clone(intents), func(i own.Intent) bool {
		if i.Kind == hostapi.KindNamespace {
			return slices.Contains(entries, ns.Entry{Name: i.Name, Valid: false})
		}
		return slices.ContainsFunc(devices, func(d *device) bool { return announced(d, []own.Intent{i}) })
	})
}
