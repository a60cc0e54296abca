package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/own"
)

// outer is what is wanted of a link in the host's own namespace, whatever its
// kind.
type outer struct {
	kind   string // one of hostapi's
	name   string
	usedBy string // the mark's For
	mac    string
	mtu    int
	bridge string // to be a port of; empty: none

	diff   func(d *device) (differs, rebuild bool, err error)
	create func(mac net.HardwareAddr) error
	// more does what the kind has beyond the common properties, before the link
	// is set up. nil: nothing.
	more func(d *device) error
	// joined does what the kind wants of its bridge port, once it is one. nil:
	// nothing.
	joined func(d *device) error
	// explain says more about an error of create or of setting up. nil: nothing.
	explain func(err error) error
}

// ensure makes the link, changes it in place or makes it anew.
func (b *Batch) ensure(w outer) (changed bool, err error) {
	mac, err := parseMAC(w.mac)
	if err != nil {
		return false, err
	}
	current, err := b.look(w.name)
	if err != nil {
		return false, err
	}
	master, err := b.master(w.bridge)
	if err != nil {
		return false, err
	}
	if current != nil {
		differs, rebuild, err := w.diff(current)
		if !differs || err != nil {
			return false, err
		}
		if !rebuild {
			return true, w.explained(b.adjust(w, current, mac, master))
		}
		if err := b.host.remove(current.Index); err != nil {
			return false, fmt.Errorf("remove it to make it anew: %w", err)
		}
	}
	err = b.make(w, mac, master)
	return err == nil || current != nil, err
}

// make creates the link, announced by an intent until it bears its mark.
func (b *Batch) make(w outer, mac net.HardwareAddr, master int) error {
	intent := own.Intent{Kind: w.kind, Name: w.name, MAC: mac.String()}
	if err := b.lock.Intend(intent); err != nil {
		return err
	}
	if err := w.create(mac); err != nil {
		return errors.Join(w.explained(unsupported(err, w.kind)), b.lock.Forget(intent))
	}
	if b.afterCreate != nil {
		b.afterCreate(w.kind, w.name)
	}
	created, err := b.host.get(w.name)
	if err == nil && (created == nil || created.MAC != intent.MAC) {
		err = errors.New("it vanished as soon as it was made")
	}
	if err != nil {
		return err // the intent says whose it is, if it is there after all
	}
	if err := b.adjust(w, created, mac, master); err != nil {
		err = w.explained(err)
		if undo := b.host.remove(created.Index); undo != nil {
			return errors.Join(err, fmt.Errorf("remove it again: %w", undo))
		}
		return errors.Join(err, b.lock.Forget(intent))
	}
	return b.lock.Forget(intent)
}

func (w outer) explained(err error) error {
	if err == nil || w.explain == nil {
		return err
	}
	return w.explain(err)
}

// minIPv6 is the smallest MTU with which a link has IPv6 (RFC 8200 §5), in bytes.
const minIPv6 = 1280

// adjust brings a link that exists to what is wanted, in the order that keeps it
// quiet: its IP settings come before it is up.
func (b *Batch) adjust(w outer, d *device, mac net.HardwareAddr, master int) error {
	loud := !d.Quiet || d.MTU < minIPv6 && w.mtu >= minIPv6
	if d.Up && loud {
		// The addresses and routes that it has made itself go when it is down.
		if err := b.host.up(d.Index, false); err != nil {
			return fmt.Errorf("set it down: %w", err)
		}
		d.Up = false
	}
	if err := b.identify(w, d, mac); err != nil {
		return err
	}
	if loud {
		if err := b.hush(d); err != nil {
			return err
		}
	}
	if w.more != nil {
		if err := w.more(d); err != nil {
			return err
		}
	}
	if d.master != master {
		if err := b.host.set(d.Index, nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(master)))); err != nil {
			return fmt.Errorf("make it a port of %q: %w", w.bridge, err)
		}
		d.PortLearning, d.Suppress = true, false // as every new port
	}
	if master != 0 && w.joined != nil {
		if err := w.joined(d); err != nil {
			return fmt.Errorf("set up its port of %q: %w", w.bridge, err)
		}
	}
	if !d.Up {
		if err := b.host.up(d.Index, true); err != nil {
			return fmt.Errorf("set it up: %w", err)
		}
	}
	return nil
}

// identify sets mark, MAC and MTU where they differ, in one request.
func (b *Batch) identify(w outer, d *device, mac net.HardwareAddr) error {
	var changes []nl.NetlinkRequestData
	if d.Mark == nil || d.Mark.Intended {
		mark := b.mark
		mark.For = w.usedBy
		changes = append(changes, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(own.FormatMark(mark))))
	}
	changes = append(changes, d.properties(mac, w.mtu)...)
	if len(changes) == 0 {
		return nil
	}
	if err := b.host.set(d.Index, changes...); err != nil {
		return fmt.Errorf("set mark, mac %s and mtu %d: %w", mac, w.mtu, err)
	}
	return nil
}

// properties gives MAC and MTU where they differ.
func (d *device) properties(mac net.HardwareAddr, mtu int) (changes []nl.NetlinkRequestData) {
	if d.MAC != mac.String() {
		changes = append(changes, nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	}
	if d.MTU != mtu {
		changes = append(changes, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	}
	return changes
}

// hush keeps the host from being spoken to over a link, so that nobody in the lab
// reaches its daemons. All of it goes with the link.
func (b *Batch) hush(d *device) error {
	if err := b.hushIPv4(d); err != nil {
		return err
	}
	return b.hushIPv6(d)
}

// hushIPv4 has the host answer ARP for the link's own addresses only, which are
// those of a proof: the kernel would answer for every address that the host has
// (Documentation/networking/ip-sysctl.rst, arp_ignore). Who knows the link's
// hardware address needs no ARP; what he sends is dropped, since no route leads
// back to him over the link (rp_filter), and it is not passed on (forwarding).
// Others may set the latter two, as systemd-sysctl does on every link, so that
// their drift is none of ours.
func (b *Batch) hushIPv4(d *device) error {
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	conf := spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(unix.IFLA_INET_CONF, nil)
	conf.AddRtAttr(devconfARPIgnore, nl.Uint32Attr(1))
	conf.AddRtAttr(devconfRPFilter, nl.Uint32Attr(1))
	conf.AddRtAttr(devconfForwarding, nl.Uint32Attr(0))
	if err := b.host.set(d.Index, spec); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("answer ARP for its own addresses only: %w", err)
	}
	return nil
}

// hushIPv6 keeps a link from making itself a link-local address and from listening
// to router advertisements. Netlink shows the latter but cannot set it. The link's
// name was checked.
func (b *Batch) hushIPv6(d *device) error {
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	spec.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, nl.Uint8Attr(nl.IN6_ADDR_GEN_MODE_NONE))
	err := b.host.set(d.Index, spec)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil // no IPv6, here or on this link
	}
	if err != nil {
		return fmt.Errorf("set IPv6 address generation off: %w", err)
	}
	err = os.WriteFile("/proc/sys/net/ipv6/conf/"+d.Name+"/accept_ra", []byte("0"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ignore router advertisements: %w", err)
	}
	return nil
}

// master gives the index of the lab's bridge; 0 for no name.
func (b *Batch) master(bridge string) (int, error) {
	if bridge == "" {
		return 0, nil
	}
	d, err := b.look(bridge)
	switch {
	case err != nil:
		return 0, fmt.Errorf("bridge %s: %w", bridge, err)
	case d == nil:
		return 0, invalid("bridge %s does not exist", bridge)
	case d.Kind != "bridge":
		return 0, invalid("%s is a %s, not a bridge", bridge, d.Kind)
	}
	return d.Index, nil
}
