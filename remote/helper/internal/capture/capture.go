// Package capture copies packets that pass links of this machine, in its own
// network namespace and inside named ones, with the kernel's times. It makes no
// link promiscuous and looks into no packet: which are wanted, a filter says that
// is handed in.
package capture
