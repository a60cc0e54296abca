package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// underlayBridge is the bridge in the controller namespace that joins the hosts.
const underlayBridge = "underlay"

// makeController makes the controller namespace and binds it to a file: not
// where `ip netns` looks, since it is no namespace of the machine's user.
func (s *Sandbox) makeController() error {
	path := filepath.Join(s.dir, controllerFile)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	file.Close()
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make the controller namespace: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keep the controller namespace: %w", err)
		}
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		snooping := false // there is no querier to keep memberships alive
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = underlayBridge, s.record.MTU
		// Given, since a bridge else takes another address with every new port,
		// and hosts that know the last one answer into the void.
		attrs.HardwareAddr = net.HardwareAddr{0x02, 0x76, 0x78, 0, 0, 254}
		if err := handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
			return fmt.Errorf("make the underlay: %w", err)
		}
		return errors.Join(
			up(handle, "lo"),
			address(handle, underlayBridge, s.prefix(s.record.Controller.AsSlice())),
			up(handle, underlayBridge),
		)
	})
}

// connect gives the host whose network namespace that is its underlay device.
func (s *Sandbox) connect(host HostInfo, namespace *os.File) error {
	outside, err := s.controllerHandle()
	if err != nil {
		return err
	}
	defer outside.Close()
	inside, err := netlink.NewHandleAt(netns.NsHandle(namespace.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer inside.Close()
	bridge, err := outside.LinkByName(underlayBridge)
	if err != nil {
		return fmt.Errorf("find the underlay: %w", err)
	}
	mac, err := net.ParseMAC(host.MAC)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = host.Name, s.record.MTU, bridge.Attrs().Index
	veth := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         s.record.Device,
		PeerHardwareAddr: mac,
		PeerNamespace:    netlink.NsFd(namespace.Fd()),
	}
	if err := outside.LinkAdd(veth); err != nil {
		return fmt.Errorf("connect %s to the underlay: %w", host.Name, err)
	}
	return errors.Join(
		up(inside, "lo"),
		address(inside, s.record.Device, s.prefix(host.Address.AsSlice())),
		up(inside, s.record.Device),
		up(outside, host.Name),
	)
}

// forget drops what the controller believes of a host's link address, so that
// it asks anew at once instead of a second after it asked in vain.
func (s *Sandbox) forget(host HostInfo) error {
	handle, err := s.controllerHandle()
	if err != nil {
		return err
	}
	defer handle.Close()
	bridge, err := handle.LinkByName(underlayBridge)
	if err == nil {
		err = handle.NeighDel(&netlink.Neigh{LinkIndex: bridge.Attrs().Index, IP: host.Address.AsSlice()})
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("forget the link address of %s: %w", host.Name, err)
	}
	return nil
}

// disconnect takes a host's underlay device away. The kernel would do so too
// when the host's namespace ends, but some time later.
func (s *Sandbox) disconnect(host string) error {
	handle, err := s.controllerHandle()
	if err != nil {
		return err
	}
	defer handle.Close()
	link, err := handle.LinkByName(host)
	if err == nil {
		err = handle.LinkDel(link)
	}
	if errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("disconnect %s: %w", host, err)
	}
	return nil
}

func (s *Sandbox) controllerHandle() (*netlink.Handle, error) {
	namespace, err := s.openController()
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	return netlink.NewHandleAt(netns.NsHandle(namespace.Fd()), unix.NETLINK_ROUTE)
}

func (s *Sandbox) prefix(ip net.IP) *net.IPNet {
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(s.record.Prefix, 8*len(ip))}
}

func up(handle *netlink.Handle, name string) error {
	link, err := handle.LinkByName(name)
	if err == nil {
		err = handle.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

func address(handle *netlink.Handle, name string, prefix *net.IPNet) error {
	link, err := handle.LinkByName(name)
	if err == nil {
		// No duplicate address detection: an IPv6 address serves at once.
		err = handle.AddrAdd(link, &netlink.Addr{IPNet: prefix, Flags: unix.IFA_F_NODAD})
	}
	if err != nil {
		return fmt.Errorf("give %s %s: %w", name, prefix, err)
	}
	return nil
}
