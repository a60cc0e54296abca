package link

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// forwarding tells a VTEP of the lab's about the others, and its bridge about
// the endpoints behind them: exactly what w says. What is there already stays
// untouched, so that traffic goes on.
func (b *Batch) forwarding(w hostapi.Forwarding) (changed bool, err error) {
	vtep, err := b.look(w.VTEP)
	switch {
	case err != nil:
		return false, err
	case vtep == nil:
		return false, invalid("link %s does not exist", w.VTEP)
	case vtep.VXLAN == nil:
		return false, invalid("%s is a %s, not a VTEP", w.VTEP, vtep.Kind)
	}
	bridge, err := b.master(w.Bridge)
	switch {
	case err != nil:
		return false, err
	case len(w.Remotes) > 0 && (bridge == 0 || bridge != vtep.master):
		return false, invalid("%s is not a port of bridge %q, on which the remote endpoints were to be", w.VTEP, w.Bridge)
	}
	wanted := map[hostapi.ForwardingEntry]bool{}
	for _, e := range w.Entries() {
		wanted[e] = true
	}
	// A second round repairs what the first lost: a learned entry that came in
	// between, an insertion while the kernel's hash table grew.
	for range 2 {
		entries, err := b.host.forwarding(vtep.Index, vtep.master)
		if err != nil {
			return changed, err
		}
		extra, missing := compare(entries, wanted)
		if len(extra)+len(missing) == 0 {
			return changed, nil
		}
		changed = true
		if err := b.host.correct(vtep.Index, vtep.master, extra, missing); err != nil {
			return changed, err
		}
	}
	entries, err := b.host.forwarding(vtep.Index, vtep.master)
	if err != nil {
		return changed, err
	}
	if extra, missing := compare(entries, wanted); len(extra)+len(missing) > 0 {
		return changed, fmt.Errorf("the kernel's tables do not keep what was written: %d entries too many, %d missing", len(extra), len(missing))
	}
	return changed, nil
}

// compare tells which entries have to go and which to come. wanted is left as it
// is.
func compare(entries []hostapi.ForwardingEntry, wanted map[hostapi.ForwardingEntry]bool) (extra, missing []hostapi.ForwardingEntry) {
	have := make(map[hostapi.ForwardingEntry]bool, len(entries))
	for _, e := range entries {
		have[e] = true
		if !wanted[e] {
			extra = append(extra, e)
		}
	}
	for e := range wanted {
		if !have[e] {
			missing = append(missing, e)
		}
	}
	return extra, missing
}

// forwarding reads what the VTEP and the bridge that it is a port of (0: none)
// were told about other VTEPs, by us or by a control plane: neither what they
// learned themselves nor the VTEP's own multicast group.
func (c *conn) forwarding(vtep, bridge int) ([]hostapi.ForwardingEntry, error) {
	// An ifinfomsg, not an ndmsg, is what the kernel takes as a filter by port
	// (valid_fdb_dump_legacy in net/core/rtnetlink.c).
	port := nl.NewIfInfomsg(unix.AF_BRIDGE)
	port.Index = int32(vtep)
	fdb, err := c.neighbours(port)
	if err != nil {
		return nil, fmt.Errorf("read the FDB: %w", err)
	}
	var entries []hostapi.ForwardingEntry
	for _, n := range fdb {
		if n.LinkIndex != vtep {
			continue
		}
		switch {
		case n.Flags&netlink.NTF_SELF != 0 && (n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 || n.Flags&netlink.NTF_EXT_LEARNED != 0) && n.IP != nil:
			e := hostapi.ForwardingEntry{Kind: hostapi.EntryRemote, MAC: n.HardwareAddr.String(), Addr: addrOf(n.IP)}
			if isZero(n.HardwareAddr) {
				e.Kind, e.MAC = hostapi.EntryFlood, ""
			}
			if !n.IP.IsMulticast() {
				entries = append(entries, e)
			}
		case bridge != 0 && n.MasterIndex == bridge && n.Flags&netlink.NTF_EXT_LEARNED != 0:
			entries = append(entries, hostapi.ForwardingEntry{Kind: hostapi.EntryPort, MAC: n.HardwareAddr.String()})
		}
	}
	if bridge == 0 {
		return entries, nil
	}
	neighbours, err := c.neighbours(&netlink.Ndmsg{Index: uint32(bridge)})
	if err != nil {
		return nil, fmt.Errorf("read the neighbours: %w", err)
	}
	for _, n := range neighbours {
		if n.LinkIndex == bridge && n.State&netlink.NUD_PERMANENT != 0 {
			entries = append(entries, hostapi.ForwardingEntry{Kind: hostapi.EntryNeighbour, MAC: n.HardwareAddr.String(), Addr: addrOf(n.IP)})
		}
	}
	return entries, nil
}

// neighbours dumps the tables that header asks for.
func (c *conn) neighbours(header nl.NetlinkRequestData) ([]netlink.Neigh, error) {
	messages, err := consistent(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		req.Sockets = c.own
		req.AddData(header)
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	})
	if err != nil {
		return nil, err
	}
	neighbours := make([]netlink.Neigh, 0, len(messages))
	for _, m := range messages {
		n, err := netlink.NeighDeserialize(m)
		if err != nil {
			return nil, fmt.Errorf("parse an entry: %w", err)
		}
		neighbours = append(neighbours, *n)
	}
	return neighbours, nil
}

// correct removes and adds entries. One that is gone already need not go.
func (c *conn) correct(vtep, bridge int, extra, missing []hostapi.ForwardingEntry) error {
	for _, e := range extra {
		n, err := neighbour(e, vtep, bridge)
		if err == nil {
			err = c.library.NeighDel(n)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove %s %s %s: %w", e.Kind, e.MAC, e.Addr, err)
		}
	}
	for _, e := range missing {
		n, err := neighbour(e, vtep, bridge)
		switch {
		case err != nil:
		case e.Kind == hostapi.EntryFlood:
			err = c.library.NeighAppend(n) // the list is one entry's, of the MAC of zeros
		default:
			err = c.library.NeighSet(n)
		}
		if err != nil {
			return fmt.Errorf("add %s %s %s: %w", e.Kind, e.MAC, e.Addr, err)
		}
	}
	return nil
}

// neighbour is an entry as the kernel takes it.
func neighbour(e hostapi.ForwardingEntry, vtep, bridge int) (*netlink.Neigh, error) {
	n := &netlink.Neigh{LinkIndex: vtep, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT}
	if e.Kind != hostapi.EntryPort {
		if !e.Addr.IsValid() {
			return nil, invalid("an entry without an address")
		}
		n.IP = ipOf(e.Addr)
	}
	if e.Kind == hostapi.EntryFlood {
		n.HardwareAddr = make(net.HardwareAddr, 6)
		return n, nil
	}
	mac, err := parseMAC(e.MAC)
	if err != nil {
		return nil, err
	}
	n.HardwareAddr = mac
	switch e.Kind {
	case hostapi.EntryPort:
		n.Flags, n.State = netlink.NTF_MASTER|netlink.NTF_EXT_LEARNED, netlink.NUD_NOARP
	case hostapi.EntryNeighbour:
		n.LinkIndex, n.Flags, n.Family = bridge, 0, unix.AF_INET
		if e.Addr.Is6() {
			n.Family = unix.AF_INET6
		}
	}
	return n, nil
}

func isZero(mac net.HardwareAddr) bool {
	for _, b := range mac {
		if b != 0 {
			return false
		}
	}
	return true
}
