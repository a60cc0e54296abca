package virt

import (
	"context"
	"encoding/xml"
	"fmt"
	"slices"

	"github.com/digitalocean/go-libvirt"

	"vxorch/remote/hostapi"
)

// EnsureNetwork brings the network to the wanted state from whatever it finds
// and tells whether it had to change anything. m is whom it is marked for.
func (h *Host) EnsureNetwork(ctx context.Context, m hostapi.Mark, w hostapi.VirtNetwork) (changed bool, err error) {
	return h.change(ctx, w.Name, func(ctx context.Context, c *conn) (bool, error) { return h.ensureNetwork(ctx, c, m, w) })
}

func (h *Host) ensureNetwork(ctx context.Context, c *conn, m hostapi.Mark, w hostapi.VirtNetwork) (changed bool, err error) {
	n, err := c.network(w.Name)
	if err != nil {
		return false, err
	}
	if n != nil {
		if err := ours(n.Mark, m.Lab, hostapi.KindVirtNetwork, w.Name); err != nil {
			return false, err
		}
		changes, rebuild := w.Diff(n.VirtNetworkFacts)
		if len(changes) == 0 {
			return false, nil
		}
		if rebuild || !n.persistent { // what is not persistent cannot be started with libvirtd
			if err := c.removeNetwork(n); err != nil {
				return false, err
			}
			n = nil
		}
	}
	if n != nil {
		return true, c.startNetwork(n)
	}
	if err := c.makeNetwork(m, w); err != nil {
		return true, h.undo(ctx, err, func(c *conn) error {
			n, err := c.network(w.Name)
			if n == nil || err != nil || ours(n.Mark, m.Lab, hostapi.KindVirtNetwork, w.Name) != nil {
				return err
			}
			return c.removeNetwork(n)
		})
	}
	return true, nil
}

// RemoveNetwork removes lab's network of that name, if there is one.
func (h *Host) RemoveNetwork(ctx context.Context, lab, name string) (changed bool, err error) {
	return h.change(ctx, name, func(_ context.Context, c *conn) (bool, error) {
		n, err := c.network(name)
		if n == nil || err != nil {
			return false, err
		}
		if err := ours(n.Mark, lab, hostapi.KindVirtNetwork, name); err != nil {
			return false, err
		}
		return true, c.removeNetwork(n)
	})
}

// network is one as libvirt has it.
type network struct {
	hostapi.VirtNetworkFacts
	handle     libvirt.Network
	persistent bool
}

// network looks the network up; nil if there is none.
func (c *conn) network(name string) (*network, error) {
	handle, err := c.NetworkLookupByName(name)
	if err == nil {
		var n *network
		if n, err = c.readNetwork(handle); err == nil {
			return n, nil
		}
	}
	if is(err, libvirt.ErrNoNetwork) {
		return nil, nil
	}
	return nil, fmt.Errorf("look at libvirt network %s: %w", name, c.classify(err))
}

// networks gives lab's networks and those of the names asked for.
func (c *conn) networks(lab string, names []string) ([]hostapi.VirtNetworkFacts, error) {
	handles, _, err := c.ConnectListAllNetworks(1, 0)
	if err != nil {
		return nil, fmt.Errorf("list libvirt's networks: %w", c.classify(err))
	}
	var all []hostapi.VirtNetworkFacts
	for _, handle := range handles {
		n, err := c.readNetwork(handle)
		if is(err, libvirt.ErrNoNetwork) {
			continue // removed since they were listed
		}
		if err != nil {
			return nil, fmt.Errorf("look at libvirt network %s: %w", handle.Name, c.classify(err))
		}
		if n.Mark != nil && n.Mark.Lab == lab || slices.Contains(names, n.Name) {
			all = append(all, n.VirtNetworkFacts)
		}
	}
	hostapi.SortFunc(all, func(a, b hostapi.VirtNetworkFacts) int { return byName(a.Name, b.Name) })
	return all, nil
}

func (c *conn) readNetwork(handle libvirt.Network) (*network, error) {
	text, err := c.NetworkGetXMLDesc(handle, 0)
	if err != nil {
		return nil, err
	}
	var def networkXML
	if err := xml.Unmarshal([]byte(text), &def); err != nil {
		return nil, err
	}
	n := &network{handle: handle, VirtNetworkFacts: hostapi.VirtNetworkFacts{
		Name: handle.Name, Mark: def.Metadata.Mark.public(), Forward: def.Forward.Mode, Bridge: def.Bridge.Name,
	}}
	active, err := c.NetworkIsActive(handle)
	if err != nil {
		return nil, err
	}
	persistent, err := c.NetworkIsPersistent(handle)
	if err != nil {
		return nil, err
	}
	n.Active, n.persistent = active == 1, persistent == 1
	if n.persistent {
		autostart, err := c.NetworkGetAutostart(handle)
		if err != nil {
			return nil, err
		}
		n.Autostart = autostart == 1
	}
	return n, nil
}

func (c *conn) makeNetwork(m hostapi.Mark, w hostapi.VirtNetwork) error {
	text, err := xml.Marshal(networkXML{
		Name:     w.Name,
		Metadata: metadata{&mark{Lab: m.Lab, For: w.For, User: m.User, Controller: m.Controller}},
		Forward:  forwardXML{"bridge"},
		Bridge:   bridgeXML{w.Bridge},
	})
	if err != nil {
		return fmt.Errorf("define libvirt network %s: %w", w.Name, err)
	}
	handle, err := c.NetworkDefineXML(string(text))
	if err != nil {
		return fmt.Errorf("define libvirt network %s: %w", w.Name, c.classify(err))
	}
	return c.startNetwork(&network{handle: handle, VirtNetworkFacts: hostapi.VirtNetworkFacts{Name: w.Name}})
}

// startNetwork makes n active, now and whenever libvirt starts.
func (c *conn) startNetwork(n *network) error {
	if !n.Autostart {
		if err := c.NetworkSetAutostart(n.handle, 1); err != nil {
			return fmt.Errorf("have libvirt network %s started with libvirt: %w", n.Name, c.classify(err))
		}
	}
	if !n.Active {
		if err := c.NetworkCreate(n.handle); err != nil {
			return fmt.Errorf("start libvirt network %s: %w", n.Name, c.classify(err))
		}
	}
	return nil
}

// removeNetwork removes n. What is gone already is fine.
func (c *conn) removeNetwork(n *network) error {
	if n.Active {
		if err := c.NetworkDestroy(n.handle); err != nil && !is(err, libvirt.ErrNoNetwork) && !is(err, libvirt.ErrOperationInvalid) {
			return fmt.Errorf("stop libvirt network %s: %w", n.Name, c.classify(err))
		}
	}
	if err := c.NetworkUndefine(n.handle); err != nil && !is(err, libvirt.ErrNoNetwork) && !(is(err, libvirt.ErrOperationInvalid) && !n.persistent) {
		return fmt.Errorf("undefine libvirt network %s: %w", n.Name, c.classify(err))
	}
	return nil
}
