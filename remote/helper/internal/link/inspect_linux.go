package link

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/nlattr"
	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// portStates are the kernel's (linux/if_bridge.h), by number.
var portStates = []string{"disabled", "listening", "learning", "forwarding", "blocking"}

// Inspect reads what links count, and the entries and neighbours that req asks
// for. The packet filter and the host's counters are not its business.
func (k *Kernel) Inspect(ctx context.Context, req hostapi.InspectRequest) (hostapi.Inspection, error) {
	var out hostapi.Inspection
	messages, err := consistent(func() ([][]byte, error) {
		return k.host.request(unix.RTM_GETLINK, unix.NLM_F_DUMP, 0).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	})
	if err != nil {
		return out, fmt.Errorf("list links: %w", err)
	}
	names := map[int]string{}
	wanted := map[int]bool{} // and their ports
	masters := map[int]int{}
	for _, m := range messages {
		parsed, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			return out, fmt.Errorf("parse a link: %w", err)
		}
		attrs := parsed.Attrs()
		names[attrs.Index], masters[attrs.Index] = attrs.Name, attrs.MasterIndex
		if !slices.Contains(req.Links, attrs.Name) {
			continue
		}
		wanted[attrs.Index] = true
		state, err := linkState(attrs, m)
		if err != nil {
			return out, fmt.Errorf("parse link %s: %w", attrs.Name, err)
		}
		out.Links = append(out.Links, state)
	}
	hostapi.SortFunc(out.Links, func(a, b hostapi.LinkState) int { return strings.Compare(a.Name, b.Name) })
	for index, master := range masters {
		if wanted[master] {
			wanted[index] = true
		}
	}
	if out.Entries, err = k.entries(req.MACs, names, wanted); err != nil {
		return out, err
	}
	for _, name := range req.Namespaces {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		neighbours, err := neighboursIn(name, req)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, fmt.Errorf("neighbours in namespace %s: %w", name, err)
		}
		out.Neighbours = append(out.Neighbours, neighbours...)
	}
	return out, nil
}

func linkState(attrs *netlink.LinkAttrs, message []byte) (hostapi.LinkState, error) {
	s := hostapi.LinkState{Name: attrs.Name, Running: attrs.RawFlags&unix.IFF_LOWER_UP != 0}
	if c := attrs.Statistics; c != nil {
		s.Received, s.Sent = c.RxPackets, c.TxPackets
		s.TXDropped, s.TXCarrier, s.Collided = c.TxDropped, c.TxCarrierErrors, c.Collisions
	}
	err := nlattr.Each(message[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) error {
		if kind != unix.IFLA_LINKINFO {
			return nil
		}
		return nlattr.Each(value, func(kind uint16, value []byte) error {
			if kind != unix.IFLA_INFO_SLAVE_DATA {
				return nil
			}
			return nlattr.Each(value, func(kind uint16, value []byte) error {
				if kind == nl.IFLA_BRPORT_STATE && len(value) == 1 && int(value[0]) < len(portStates) {
					s.Port = portStates[value[0]]
				}
				return nil
			})
		})
	})
	return s, err
}

// entries reads the forwarding tables of the wanted links: what concerns macs,
// and what a VTEP does with frames to any other.
func (k *Kernel) entries(macs []string, names map[int]string, wanted map[int]bool) ([]hostapi.FDBEntry, error) {
	table, err := k.host.neighbours(&netlink.Ndmsg{Family: unix.AF_BRIDGE})
	if err != nil {
		return nil, fmt.Errorf("read the FDB: %w", err)
	}
	var out []hostapi.FDBEntry
	for _, n := range table {
		mac := n.HardwareAddr.String()
		if !wanted[n.LinkIndex] || !slices.Contains(macs, mac) && !isZero(n.HardwareAddr) {
			continue
		}
		e := hostapi.FDBEntry{
			Link: names[n.LinkIndex], MAC: mac, Via: addrOf(n.IP),
			Static: n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 || n.Flags&netlink.NTF_EXT_LEARNED != 0,
		}
		if e.Via.IsValid() != (n.Flags&netlink.NTF_SELF != 0) {
			continue // a device's own address
		}
		out = append(out, e)
	}
	hostapi.SortFunc(out, func(a, b hostapi.FDBEntry) int {
		if c := strings.Compare(a.Link+" "+a.MAC, b.Link+" "+b.MAC); c != 0 {
			return c
		}
		return a.Via.Compare(b.Via)
	})
	return out, nil
}

// neighboursIn reads what the named namespace knows of the addresses of req.
func neighboursIn(name string, req hostapi.InspectRequest) ([]hostapi.Neighbour, error) {
	file, err := ns.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	inner, err := dial(netns.NsHandle(file.Fd()))
	if err != nil {
		return nil, err
	}
	defer inner.close()
	table, err := inner.neighbours(&netlink.Ndmsg{})
	if err != nil {
		return nil, err
	}
	var out []hostapi.Neighbour
	for _, n := range table {
		address := addrOf(n.IP)
		if !slices.Contains(req.Addresses, address) {
			continue
		}
		row := hostapi.Neighbour{Netns: name, Address: address}
		if n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			row.MAC = n.HardwareAddr.String()
		}
		out = append(out, row)
	}
	hostapi.SortFunc(out, func(a, b hostapi.Neighbour) int { return a.Address.Compare(b.Address) })
	return out, nil
}
