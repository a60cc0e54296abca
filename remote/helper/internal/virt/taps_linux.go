package virt

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"vxorch/remote/hostapi"
)

// stateCutOff is of a domain that runs with a tap that is not a port of its
// network's bridge: libvirt joins the two when the domain starts, and only then.
// A bridge that was made anew has none of its old ports.
const stateCutOff = "cut off"

// errNoTap is of a domain that runs without its tap.
var errNoTap = errors.New("its tap is gone")

// connected says whether each of d's taps is a port of its network's bridge.
func (c *conn) connected(d *domain) (bool, error) {
	for _, i := range d.Interfaces {
		n, err := c.network(i.Network)
		if err != nil {
			return false, err
		}
		if n == nil {
			continue // nobody can say where it belongs
		}
		tap, bridge, err := ends(i.Tap, n.Bridge)
		if err != nil || tap.Attrs().MasterIndex != bridge.Attrs().Index {
			return false, nil
		}
	}
	return true, nil
}

// connect makes each of d's taps a port of its network's bridge. The error is
// errNoTap if there is none of one's name.
func (c *conn) connect(d *domain) error {
	for _, i := range d.Interfaces {
		n, err := c.network(i.Network)
		if err != nil {
			return err
		}
		if n == nil {
			return invalid("there is no libvirt network %s", i.Network)
		}
		tap, bridge, err := ends(i.Tap, n.Bridge)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(tap, bridge); err != nil {
			return fmt.Errorf("make tap %s a port of %s: %w", i.Tap, n.Bridge, err)
		}
		if err := netlink.LinkSetUp(tap); err != nil {
			return fmt.Errorf("set tap %s up: %w", i.Tap, err)
		}
	}
	return nil
}

func ends(tapName, bridgeName string) (tap, bridge netlink.Link, err error) {
	if bridge, err = netlink.LinkByName(bridgeName); err != nil {
		return nil, nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("look up bridge %s: %v", bridgeName, err)}
	}
	tap, err = netlink.LinkByName(tapName)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil, errNoTap
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look up tap %s: %w", tapName, err)
	}
	return tap, bridge, nil
}
