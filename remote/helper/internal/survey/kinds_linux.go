package survey

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// lacks tries to make each kind of link that a lab consists of, in a network
// namespace that is gone afterwards.
func lacks() []hostapi.Lack {
	attributes := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return a
	}
	return lacking([]netlink.Link{
		&netlink.Vxlan{LinkAttrs: attributes("vxlan1"), VxlanId: 1, Port: 4789, Learning: true},
		&netlink.Bridge{LinkAttrs: attributes("bridge1")},
		&netlink.Veth{LinkAttrs: attributes("veth1"), PeerName: "veth2"},
	})
}

// lacking gives the kinds of links that the kernel does not make.
func lacking(links []netlink.Link) (out []hostapi.Lack) {
	err := ns.Unnamed(func() error {
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		for _, l := range links {
			if err := handle.LinkAdd(l); err != nil {
				out = append(out, hostapi.Lack{Kind: l.Type(), Error: explain(err, "modprobe "+l.Type())})
			}
		}
		return nil
	})
	if err != nil {
		out = append(out, hostapi.Lack{Kind: "network namespace", Error: explain(err, "a kernel with CONFIG_NET_NS, and the right to use it")})
	}
	return out
}

// explain gives the kernel's refusal its kind.
func explain(err error, hint string) *hostapi.Error {
	e := &hostapi.Error{Kind: hostapi.KindUnsupported, Message: fmt.Sprintf("the kernel says: %v", err), Hint: hint}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		e.Kind, e.Hint = hostapi.KindPermission, "log in as root, or as a user who may use sudo"
	}
	return e
}
