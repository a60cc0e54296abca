// Package survey looks at this machine before a lab is built on it: what its
// kernel can make, what would be in the lab's way, and whether the datagrams of
// a tunnel come through the underlay. It changes nothing and judges nothing.
package survey
