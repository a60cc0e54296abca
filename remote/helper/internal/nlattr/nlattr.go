// Package nlattr walks the attributes of netlink messages. What they mean is its
// callers' to know.
package nlattr
