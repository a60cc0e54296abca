package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/nlattr"
	"vxorch/remote/hostapi"
)

// From linux/rtnetlink.h and linux/ipv6.h; not in x/sys/unix.
const (
	rtextFilterSkipStats = 1 << 3
	devconfAcceptRA      = 3
	// Of IPv4, which counts from 1 (linux/ip.h).
	devconfForwarding = 1
	devconfRPFilter   = 8
	devconfARPIgnore  = 19
)

// conn is the links and addresses of one network namespace. It holds the
// namespace alive: close it before the namespace is removed. Safe for
// concurrent use.
type conn struct {
	library *netlink.Handle
	// The library neither reads a bridge's STP state and a link's IPv6 settings,
	// nor sets several properties in one request: for that, a socket of ours.
	own map[int]*nl.SocketHandle
}

// dial opens the namespace at, netns.None() being the calling thread's.
func dial(at netns.NsHandle) (*conn, error) {
	library, err := netlink.NewHandleAt(at, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	socket, err := nl.GetNetlinkSocketAt(at, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		library.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	// The kernel's own words for why it refuses; kernels before 4.12 have none.
	_ = socket.SetExtAck(true)
	return &conn{library: library, own: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}}, nil
}

func (c *conn) close() {
	c.library.Close()
	for _, s := range c.own {
		s.Close()
	}
}

// device is a link as the kernel shows it, before indices are names and an
// alias is a mark.
type device struct {
	hostapi.Link
	alias    string
	master   int // index; 0: none
	underlay int // index; of a VXLAN link, 0: none
}

// request is one about the link of that index; 0: that attributes name, or all.
func (c *conn) request(kind, flags int, index int, attributes ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	return c.requestWith(kind, flags, msg, attributes...)
}

func (c *conn) requestWith(kind, flags int, msg *nl.IfInfomsg, attributes ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = c.own
	req.AddData(msg)
	for _, a := range attributes {
		req.AddData(a)
	}
	return req
}

func skipStats() nl.NetlinkRequestData {
	return nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(rtextFilterSkipStats))
}

// get gives the link of that name; nil if there is none.
func (c *conn) get(name string) (*device, error) {
	req := c.request(unix.RTM_GETLINK, unix.NLM_F_ACK, 0,
		skipStats(), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up link %s: %w", name, err)
	}
	if len(messages) != 1 {
		return nil, fmt.Errorf("look up link %s: %d answers", name, len(messages))
	}
	return parseDevice(messages[0])
}

// name gives the name of the link with that index.
func (c *conn) name(index int) (string, error) {
	messages, err := c.request(unix.RTM_GETLINK, unix.NLM_F_ACK, index, skipStats()).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil || len(messages) != 1 {
		return "", fmt.Errorf("look up link %d: %d answers: %w", index, len(messages), err)
	}
	d, err := parseDevice(messages[0])
	if err != nil {
		return "", err
	}
	return d.Name, nil
}

// list gives all links.
func (c *conn) list() ([]*device, error) {
	messages, err := consistent(func() ([][]byte, error) {
		return c.request(unix.RTM_GETLINK, unix.NLM_F_DUMP, 0, skipStats()).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var devices []*device
	for _, m := range messages {
		d, err := parseDevice(m)
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, nil
}

// consistent repeats a dump that the kernel says it was interrupted in.
func consistent[T any](dump func() (T, error)) (result T, err error) {
	for range 30 {
		result, err = dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return result, err
}

// set changes a link's properties in one request.
func (c *conn) set(index int, attributes ...nl.NetlinkRequestData) error {
	_, err := c.request(unix.RTM_SETLINK, unix.NLM_F_ACK, index, attributes...).Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// setPort sets how the bridge that a link is a port of uses the port.
func (c *conn) setPort(index int, learning, suppress bool) error {
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(index)
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	port.AddRtAttr(nl.IFLA_BRPORT_LEARNING, boolByte(learning))
	port.AddRtAttr(nl.IFLA_BRPORT_NEIGH_SUPPRESS, boolByte(suppress))
	_, err := c.requestWith(unix.RTM_SETLINK, unix.NLM_F_ACK, msg, port).Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func boolByte(b bool) []byte {
	if b {
		return []byte{1}
	}
	return []byte{0}
}

// up sets a link up or down.
func (c *conn) up(index int, up bool) error {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	msg.Change = unix.IFF_UP
	if up {
		msg.Flags = unix.IFF_UP
	}
	_, err := c.requestWith(unix.RTM_SETLINK, unix.NLM_F_ACK, msg).Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// remove removes a link. One that is gone is fine.
func (c *conn) remove(index int) error {
	_, err := c.request(unix.RTM_DELLINK, unix.NLM_F_ACK, index).Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// addresses gives every link's addresses, by index.
func (c *conn) addresses() (map[int][]netlink.Addr, error) {
	all, err := consistent(func() ([]netlink.Addr, error) { return c.library.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	byIndex := map[int][]netlink.Addr{}
	for _, a := range all {
		byIndex[a.LinkIndex] = append(byIndex[a.LinkIndex], a)
	}
	return byIndex, nil
}

// prefixes gives addresses as prefixes, sorted.
func prefixes(addresses []netlink.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addresses {
		out = append(out, prefixOf(a))
	}
	hostapi.SortFunc(out, netip.Prefix.Compare)
	return out
}

func prefixOf(a netlink.Addr) netip.Prefix {
	ones, _ := a.Mask.Size()
	return netip.PrefixFrom(addrOf(a.IP), ones)
}

// given leaves the addresses that somebody gave a container's link: none that
// IPv6 makes itself, link-local or from a router's advertisement.
func given(addresses []netlink.Addr) []netlink.Addr {
	return slices.DeleteFunc(slices.Clone(addresses), func(a netlink.Addr) bool {
		return a.IP.To4() == nil && (a.IP.IsLinkLocalUnicast() || a.Flags&unix.IFA_F_PERMANENT == 0)
	})
}

// addrOf gives ip as an address; the zero one for none.
func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func parseDevice(message []byte) (*device, error) {
	parsed, err := netlink.LinkDeserialize(nil, message)
	if err != nil {
		return nil, fmt.Errorf("parse a link: %w", err)
	}
	attrs := parsed.Attrs()
	d := &device{
		Link: hostapi.Link{
			Name: attrs.Name, Index: attrs.Index, MAC: attrs.HardwareAddr.String(), MTU: attrs.MTU,
			Up: attrs.Flags&net.FlagUp != 0, Quiet: true,
		},
		alias:  attrs.Alias,
		master: attrs.MasterIndex,
	}
	if parsed.Type() != "device" {
		d.Kind = parsed.Type()
	}
	switch l := parsed.(type) {
	case *netlink.Vxlan:
		d.underlay = l.VtepDevIndex
		d.VXLAN = &hostapi.VXLAN{VNI: l.VxlanId, Port: l.Port, Group: addrOf(l.Group), Local: addrOf(l.SrcAddr), Learning: l.Learning, Shares: shares(l)}
	case *netlink.Veth:
		d.PeerIndex = attrs.ParentIndex
	}
	if err := d.parseMore(message); err != nil {
		return nil, fmt.Errorf("parse link %s: %w", d.Name, err)
	}
	return d, nil
}

// parseMore reads what the library does not.
func (d *device) parseMore(message []byte) error {
	return nlattr.Each(message[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) error {
		switch kind {
		case unix.IFLA_LINKINFO:
			return d.parseInfo(value)
		case unix.IFLA_AF_SPEC:
			return nlattr.Each(value, func(kind uint16, value []byte) error {
				switch kind {
				case unix.AF_INET:
					return d.parseIPv4(value)
				case unix.AF_INET6:
					return d.parseIPv6(value)
				}
				return nil
			})
		}
		return nil
	})
}

// parseIPv4 reads whether the link is quiet.
func (d *device) parseIPv4(attributes []byte) error {
	return nlattr.Each(attributes, func(kind uint16, value []byte) error {
		const at = 4 * (devconfARPIgnore - 1)
		if kind == unix.IFLA_INET_CONF && len(value) >= at+4 {
			d.Quiet = d.Quiet && binary.NativeEndian.Uint32(value[at:]) != 0
		}
		return nil
	})
}

// parseInfo reads what is particular to a bridge and to a bridge's port.
func (d *device) parseInfo(attributes []byte) error {
	master := ""
	return nlattr.Each(attributes, func(kind uint16, value []byte) error {
		switch {
		case kind == unix.IFLA_INFO_SLAVE_KIND:
			master = unix.ByteSliceToString(value)
		case kind == unix.IFLA_INFO_DATA && d.Kind == "bridge":
			return nlattr.Each(value, func(kind uint16, value []byte) error {
				if kind == unix.IFLA_BR_STP_STATE {
					d.STP = !bytes.Equal(value, make([]byte, 4))
				}
				return nil
			})
		case kind == unix.IFLA_INFO_SLAVE_DATA && master == "bridge":
			return nlattr.Each(value, func(kind uint16, value []byte) error {
				switch kind {
				case nl.IFLA_BRPORT_LEARNING:
					d.PortLearning = !bytes.Equal(value, []byte{0})
				case nl.IFLA_BRPORT_NEIGH_SUPPRESS:
					d.Suppress = !bytes.Equal(value, []byte{0})
				}
				return nil
			})
		}
		return nil
	})
}

// parseIPv6 reads whether the link is quiet. A link without IPv6, for its small
// MTU or since the kernel has none, says nothing of it.
func (d *device) parseIPv6(attributes []byte) error {
	generates, accepts := true, true
	err := nlattr.Each(attributes, func(kind uint16, value []byte) error {
		switch {
		case kind == unix.IFLA_INET6_ADDR_GEN_MODE && len(value) == 1:
			generates = value[0] != nl.IN6_ADDR_GEN_MODE_NONE
		case kind == unix.IFLA_INET6_CONF && len(value) >= 4*(devconfAcceptRA+1):
			accepts = binary.NativeEndian.Uint32(value[4*devconfAcceptRA:]) != 0
		}
		return nil
	})
	d.Quiet = d.Quiet && !generates && !accepts
	return err
}
