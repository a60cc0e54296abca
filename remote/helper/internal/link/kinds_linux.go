package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
)

// vtep says how w's link is made.
func (b *Batch) vtep(w hostapi.VTEP) outer {
	o := outer{kind: hostapi.KindVTEP, name: w.Name, usedBy: w.For, mac: w.MAC, mtu: w.MTU, bridge: w.Bridge}
	o.diff = func(d *device) (bool, bool, error) { return differs(w.Diff(b.named(d))) }
	o.create = func(mac net.HardwareAddr) error {
		link := &netlink.Vxlan{
			LinkAttrs: attributes(w.Name, mac),
			VxlanId:   w.VNI, Port: w.Port, Learning: !w.Static,
			Group: ipOf(w.Group), SrcAddr: ipOf(w.Local),
		}
		link.MTU = w.MTU
		if w.Device != "" {
			underlay, err := b.host.get(w.Device)
			if err != nil {
				return err
			}
			if underlay == nil {
				return invalid("underlay device %s does not exist", w.Device)
			}
			link.VtepDevIndex = underlay.Index
		}
		if w.VNI < 1 || w.VNI > 1<<24-1 || w.Port < 1 || w.Port > 65535 {
			return invalid("vni %d, port %d: want 1 to 16777215 and 1 to 65535", w.VNI, w.Port)
		}
		return b.host.library.LinkAdd(link)
	}
	o.joined = func(d *device) error {
		if d.PortLearning != w.Static && d.Suppress == w.Static {
			return nil
		}
		return b.host.setPort(d.Index, !w.Static, w.Static)
	}
	o.explain = func(err error) error {
		switch {
		case errors.Is(err, unix.EEXIST):
			return b.vniTaken(w, err)
		case errors.Is(err, unix.EADDRINUSE):
			return &hostapi.Error{
				Kind:    hostapi.KindBusy,
				Message: fmt.Sprintf("UDP port %d is taken: %v", w.Port, err),
				Hint:    fmt.Sprintf("a process (ss -lnpu 'sport = %d') or a VXLAN link with other settings holds it: give the network another port", w.Port),
			}
		}
		return err
	}
	return o
}

// vniTaken explains EEXIST where the name is free: the kernel allows one link a
// VNI and port.
func (b *Batch) vniTaken(w hostapi.VTEP, err error) error {
	devices, listErr := b.host.list()
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	for _, d := range devices {
		if d.VXLAN != nil && d.VXLAN.VNI == w.VNI && d.VXLAN.Port == w.Port {
			return &hostapi.Error{
				Kind:    hostapi.KindBusy,
				Message: fmt.Sprintf("vni %d on port %d is taken by link %s, %s", w.VNI, w.Port, d.Name, own.Describe(d.alias)),
				Hint:    "give the network another vni or port",
			}
		}
	}
	return err
}

// bridge says how w's link is made. The kernel makes bridges without STP.
func (b *Batch) bridge(w hostapi.Bridge) outer {
	o := outer{kind: hostapi.KindBridge, name: w.Name, usedBy: w.For, mac: w.MAC, mtu: w.MTU}
	o.diff = func(d *device) (bool, bool, error) { return differs(w.Diff(b.named(d))) }
	o.create = func(mac net.HardwareAddr) error {
		// Without an MTU: only one that is set later stays when ports with a
		// smaller one come (br_mtu_auto_adjust).
		return b.host.library.LinkAdd(&netlink.Bridge{LinkAttrs: attributes(w.Name, mac)})
	}
	o.more = func(d *device) error {
		if !d.STP {
			return nil
		}
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
		info.AddRtAttr(unix.IFLA_INFO_DATA, nil).AddRtAttr(unix.IFLA_BR_STP_STATE, nl.Uint32Attr(0))
		_, err := b.host.request(unix.RTM_NEWLINK, unix.NLM_F_ACK, d.Index, info).Execute(unix.NETLINK_ROUTE, 0)
		if err != nil {
			return fmt.Errorf("set stp off: %w", err)
		}
		return nil
	}
	return o
}

// differs puts what a Diff method gives as outer.diff wants it.
func differs(changes []hostapi.Change, rebuild bool) (differs, anew bool, err error) {
	return len(changes) > 0, rebuild, nil
}

// named gives d with the names that it refers to by index.
func (b *Batch) named(d *device) hostapi.Link {
	l := d.Link
	l.Master = b.nameOf(d.master)
	if d.VXLAN != nil {
		vxlan := *d.VXLAN
		vxlan.Device = b.nameOf(d.underlay)
		l.VXLAN = &vxlan
	}
	return l
}

// nameOf gives the name of the link with that index in the host's own
// namespace; none for 0.
func (b *Batch) nameOf(index int) string {
	if index == 0 {
		return ""
	}
	name, err := b.host.name(index)
	if err != nil {
		return fmt.Sprintf("link %d", index)
	}
	return name
}

func attributes(name string, mac net.HardwareAddr) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	a.HardwareAddr = mac
	return a
}

// ipOf gives a as the library takes it; nil for the zero address.
func ipOf(a netip.Addr) net.IP {
	if !a.IsValid() {
		return nil
	}
	return a.AsSlice()
}
