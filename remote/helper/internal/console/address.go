package console

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"vxorch/remote/hostapi"
)

// Interface is one of the guest's, found by its MAC, and what it shall have.
type Interface struct {
	MAC       string
	MTU       int // bytes; 0: as it is
	Addresses []netip.Prefix
}

// SetAddresses sets the guest's interfaces up and gives them the addresses that
// they do not have yet. It takes none away. It needs a session, of root's or of a
// user who may use sudo without a password. The error names the interface.
func (c *Console) SetAddresses(ctx context.Context, interfaces []Interface) error {
	giveBack, err := c.take(ctx)
	if err != nil {
		return err
	}
	defer giveBack()
	for _, i := range interfaces {
		mac, err := net.ParseMAC(i.MAC)
		if err != nil {
			return &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("interface %q: that is no MAC", i.MAC)}
		}
		if c.session == nil {
			return errNoSession()
		}
		i.MAC = mac.String() // as the kernel writes it
		output, exit, err := c.asRoot(ctx, i.script())
		if err != nil {
			return fmt.Errorf("interface %s: %w", i.MAC, err)
		}
		if exit != 0 {
			e := &hostapi.Error{
				Kind:    hostapi.KindInternal,
				Message: fmt.Sprintf("interface %s of the guest: %s (exit code %d)", i.MAC, oneLine(output), exit),
			}
			if !c.session.root && strings.Contains(output, "sudo") {
				e.Kind, e.Hint = hostapi.KindPermission, "log in as root, or as a user who may use sudo without a password"
			}
			return e
		}
	}
	return nil
}

// script is what root runs in the guest. Of several devices with the MAC the one
// of the hardware is meant, not a bridge or VLAN above it. It works with busybox'
// ip and with iproute2: both say "exists" or "already" of an address that is there.
func (i Interface) script() string {
	var b strings.Builder
	fmt.Fprintf(&b, `n=; for d in /sys/class/net/*; do if [ "$(cat $d/address 2>/dev/null)" = %s ] && { [ -z "$n" ] || [ -e $d/device ]; }; then n=${d##*/}; fi; done; `, i.MAC)
	b.WriteString(`[ "$n" ] || { echo no such device; exit 1; }; `)
	if i.MTU != 0 {
		fmt.Fprintf(&b, "ip link set dev $n mtu %d || exit 1; ", i.MTU)
	}
	b.WriteString("ip link set dev $n up || exit 1")
	for _, a := range i.Addresses {
		fmt.Fprintf(&b, `; o=$(ip addr add %s dev $n 2>&1) || case $o in *exists*|*already*) ;; *) echo "$o"; exit 1;; esac`, a)
	}
	return b.String()
}

// oneLine gives the beginning of what a command said, on one line.
func oneLine(output string) string {
	const most = 300
	text := strings.Join(strings.Fields(printable(output)), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

func errNoSession() error {
	return &hostapi.Error{Kind: hostapi.KindInvalid, Message: "nobody is logged in on the console"}
}
