package survey

import (
	"bytes"
	"context"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// What hands bridged frames to the chains of a family (br_netfilter), and the
// families' names, as nft has them.
const (
	callIPv4 = "net.bridge.bridge-nf-call-iptables"
	callIPv6 = "net.bridge.bridge-nf-call-ip6tables"
)

var families = map[uint8]struct {
	name    string
	sysctls []string // any of them; none: bridged frames are its business anyway
}{
	unix.NFPROTO_IPV4:   {"ip", []string{callIPv4}},
	unix.NFPROTO_IPV6:   {"ip6", []string{callIPv6}},
	unix.NFPROTO_INET:   {"inet", []string{callIPv4, callIPv6}},
	unix.NFPROTO_BRIDGE: {"bridge", nil},
}

// forwardHook is NF_INET_FORWARD, and NF_BR_FORWARD too.
const forwardHook = 2

// dropPolicy is NF_DROP.
const dropPolicy = 0

// filters gives the chains that drop what passes through a bridge, those of legacy
// iptables last.
func filters(ctx context.Context, bridges []string) []hostapi.Filter {
	on := bridgeCalls()
	return append(nftablesFilters(bridges, on), legacyFilters(ctx, bridges, on)...)
}

// nftablesFilters gives those of nftables, where iptables of the last years stands
// too. Where the kernel has none there is nothing to tell.
func nftablesFilters(bridges []string, on map[string]bool) []hostapi.Filter {
	chains, err := dump(unix.NFT_MSG_GETCHAIN)
	if err != nil {
		return nil
	}
	var out []hostapi.Filter
	for _, message := range chains {
		f, ok := parseChain(message)
		if !ok {
			continue
		}
		if sysctls := families[message[0]].sysctls; len(sysctls) > 0 {
			i := slices.IndexFunc(sysctls, func(s string) bool { return on[s] })
			if i < 0 {
				continue
			}
			f.Sysctl = sysctls[i]
		}
		out = append(out, f)
	}
	if len(out) > 0 {
		nameBridges(out, bridges)
	}
	return out
}

// bridgeCalls tells which of br_netfilter's sysctls are on.
func bridgeCalls() map[string]bool {
	return map[string]bool{
		callIPv4: number("/proc/sys/net/bridge/bridge-nf-call-iptables") != 0,
		callIPv6: number("/proc/sys/net/bridge/bridge-nf-call-ip6tables") != 0,
	}
}

// dump asks for all objects of a kind. Each answer begins with struct nfgenmsg.
func dump(kind int) ([][]byte, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|kind, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_UNSPEC})
	return req.Execute(unix.NETLINK_NETFILTER, 0)
}

// parseChain gives a base chain that forwards and drops by policy.
func parseChain(message []byte) (f hostapi.Filter, ok bool) {
	key, d, ok := parseBase(message)
	f = hostapi.Filter{Family: families[key.family].name, Table: key.table, Chain: key.chain}
	return f, ok && d.drops && d.hook == hostapi.HookForward
}

// nameBridges notes at each filter which bridges the rules of its table name: a
// rule that lets a bridge's frames through does, whatever else it says.
func nameBridges(filters []hostapi.Filter, bridges []string) {
	rules, err := dump(unix.NFT_MSG_GETRULE)
	if err != nil {
		return
	}
	for _, rule := range rules {
		if len(rule) < nl.SizeofNfgenmsg {
			continue
		}
		attributes, err := nl.ParseRouteAttr(rule[nl.SizeofNfgenmsg:])
		if err != nil {
			continue
		}
		table := ""
		for _, a := range attributes {
			if a.Attr.Type == unix.NFTA_RULE_TABLE {
				table = unix.ByteSliceToString(a.Value)
			}
		}
		for i := range filters {
			f := &filters[i]
			if f.Table != table || families[rule[0]].name != f.Family {
				continue
			}
			for _, b := range bridges {
				if bytes.Contains(rule, append([]byte(b), 0)) && !slices.Contains(f.Named, b) {
					f.Named = append(f.Named, b)
				}
			}
		}
	}
}
