// Package ns enters, makes and removes named network namespaces the way
// iproute2 does, so that `ip netns` sees what is made here and the other way
// round. What is in a namespace, and whose it is, it leaves to others.
package ns

// Dir is where named network namespaces are bound, one file each.
const Dir = "/run/netns"

// Entry is a file in Dir.
type Entry struct {
	Name string
	// Valid: a namespace is bound to it. If not, it is what a maker or remover
	// that died half-way left behind.
	Valid bool
}
