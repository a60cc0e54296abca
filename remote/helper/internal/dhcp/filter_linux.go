package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// What a classifier says of a frame (linux/pkt_cls.h).
const (
	actUnspec = math.MaxUint32 // go on to the next one
	actShot   = 2              // drop
)

// Where our filter stands among others: a number to find it again by, also after
// a helper that died.
const (
	filterPriority = 0x7668 // after whatever somebody set by hand
	filterHandle   = 1
)

// toServers is a program that returns match for an untagged IPv4 frame to UDP
// port 67, and miss for any other. With incoming, what this host itself sends is
// a miss too.
func toServers(incoming bool, match, miss uint32) ([]bpf.RawInstruction, error) {
	const packetOutgoing = 4 // linux/if_packet.h
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 9},
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv4, SkipTrue: 7},
		bpf.LoadAbsolute{Off: 14 + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolUDP, SkipTrue: 5},
		bpf.LoadAbsolute{Off: 14 + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 3}, // a fragment without ports
		bpf.LoadMemShift{Off: 14},
		bpf.LoadIndirect{Off: 14 + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: serverPort, SkipTrue: 1},
		bpf.RetConstant{Val: miss},
		bpf.RetConstant{Val: match},
	}
	if incoming {
		program = append([]bpf.Instruction{
			bpf.LoadExtension{Num: bpf.ExtType},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: packetOutgoing, SkipTrue: 1},
			bpf.RetConstant{Val: miss},
		}, program...)
	}
	return bpf.Assemble(program)
}

// filter drops DHCP requests where frames come in from a link, after packet
// sockets have seen them and before the bridge does.
type filter struct {
	handle *netlink.Handle
	index  int
}

// install puts the filter on the link of that index. It takes the place of one
// that a helper left that died.
//
// It is a classic BPF program in a classifier that acts on its own: of the ways
// to drop a frame there the one that needs the least of a kernel, the modules
// sch_ingress and cls_bpf, which every distribution has, and neither a separate
// action nor the right to load eBPF.
func install(index int) (*filter, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	f := &filter{handle: handle, index: index}
	// There are two of the kind, clsact and ingress; where one stands already, its
	// ingress does.
	if err := handle.QdiscAdd(f.qdisc()); err != nil && !errors.Is(err, unix.EEXIST) {
		handle.Close()
		return nil, explain("add a clsact qdisc", err)
	}
	if err := f.add(); err != nil {
		return nil, errors.Join(explain("add a filter for DHCP requests", err), f.remove())
	}
	return f, nil
}

func (f *filter) qdisc() netlink.Qdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: f.index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

// add says what the library has no words for: it knows eBPF alone.
func (f *filter) add() error {
	program, err := toServers(false, actShot, actUnspec)
	if err != nil {
		return err
	}
	var code []byte
	for _, i := range program {
		code = binary.NativeEndian.AppendUint16(code, i.Op)
		code = append(code, i.Jt, i.Jf)
		code = binary.NativeEndian.AppendUint32(code, i.K)
	}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_BPF_OPS_LEN, nl.Uint16Attr(uint16(len(program))))
	options.AddRtAttr(nl.TCA_BPF_OPS, code)
	options.AddRtAttr(nl.TCA_BPF_FLAGS, nl.Uint32Attr(nl.TCA_BPF_FLAG_ACT_DIRECT))
	return f.request(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE, options)
}

func (f *filter) request(message, flags int, more ...nl.NetlinkRequestData) error {
	req := nl.NewNetlinkRequest(message, flags|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{
		Family:  unix.AF_UNSPEC,
		Ifindex: int32(f.index),
		Handle:  filterHandle,
		Parent:  netlink.HANDLE_MIN_INGRESS,
		Info:    netlink.MakeHandle(filterPriority, nl.Swap16(unix.ETH_P_ALL)),
	})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bpf")))
	for _, data := range more {
		req.AddData(data)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// remove takes the filter away, and what it stood in if nobody else uses that. A
// link that is gone took both along.
func (f *filter) remove() error {
	defer f.handle.Close()
	if err := f.request(unix.RTM_DELTFILTER, 0); err != nil && !gone(err) {
		return fmt.Errorf("remove the filter for DHCP requests: %w", err)
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		others, err := f.others(parent)
		if err != nil && !gone(err) {
			return fmt.Errorf("list filters: %w", err)
		}
		if others {
			return nil
		}
	}
	qdiscs, err := f.handle.QdiscList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: f.index}})
	if err != nil && !gone(err) {
		return fmt.Errorf("list qdiscs: %w", err)
	}
	for _, q := range qdiscs {
		if q.Type() != "clsact" {
			continue
		}
		if err := f.handle.QdiscDel(f.qdisc()); err != nil && !gone(err) {
			return fmt.Errorf("remove the clsact qdisc: %w", err)
		}
	}
	return nil
}

// others tells whether anybody has a filter there. The library's FilterList takes
// every kind of filter and action apart, which is a hundredth of the helper's size.
func (f *filter) others(parent uint32) (bool, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETTFILTER, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: int32(f.index), Parent: parent})
	filters, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWTFILTER)
	return len(filters) > 0, err
}

// gone tells that there was nothing to remove: the kernel says EINVAL where the
// qdisc is missing.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}

// explain gives the kernel's errors their kinds.
func explain(act string, err error) error {
	e := &hostapi.Error{Kind: hostapi.KindInternal, Message: fmt.Sprintf("%s: %v", act, err)}
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		e.Kind = hostapi.KindPermission
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAFNOSUPPORT):
		e.Kind, e.Hint = hostapi.KindUnsupported, "modprobe -a sch_ingress cls_bpf, or provision the guest without DHCP"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Kind = hostapi.KindInvalid
	}
	return e
}
