package nlattr

import (
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Each calls f for every attribute in b, up to its first error. A kind has no flag
// that its value is nested.
func Each(b []byte, f func(kind uint16, value []byte) error) error {
	attributes, err := nl.ParseRouteAttr(b)
	if err != nil {
		return err
	}
	for _, a := range attributes {
		if err := f(a.Attr.Type&^unix.NLA_F_NESTED, a.Value); err != nil {
			return err
		}
	}
	return nil
}
