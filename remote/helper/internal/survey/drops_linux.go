package survey

import (
	"encoding/binary"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"vxorch/remote/helper/internal/nlattr"
	"vxorch/remote/hostapi"
)

var hooks = map[uint32]string{1: hostapi.HookInput, forwardHook: hostapi.HookForward, 3: hostapi.HookOutput}

// chainKey names a chain of nftables.
type chainKey struct {
	family       uint8
	table, chain string
}

// Drops gives where nftables drops packets, iptables of the last years among it.
// Where the kernel has none, or does not tell, there is nothing.
func Drops() (out []hostapi.Drop) {
	chains, err := dump(unix.NFT_MSG_GETCHAIN)
	if err != nil {
		return nil
	}
	hookOf := map[chainKey]string{}
	bridged := bridgeCalls()
	for _, message := range chains {
		key, d, ok := parseBase(message)
		if !ok {
			continue
		}
		hookOf[key] = d.hook
		if d.drops && d.hook != "" {
			out = append(out, d.as(key, 0, bridged))
		}
	}
	rules, err := dump(unix.NFT_MSG_GETRULE)
	if err != nil {
		return out
	}
	for _, message := range rules {
		key, d, handle, ok := parseRule(message)
		if ok && d.drops {
			d.hook = hookOf[key]
			out = append(out, d.as(key, handle, bridged))
		}
	}
	return out
}

// dropper is what a chain's policy or a rule does.
type dropper struct {
	hook    string
	drops   bool
	counts  bool
	packets uint64
}

func (d dropper) as(key chainKey, handle uint64, bridged map[string]bool) hostapi.Drop {
	f := families[key.family]
	out := hostapi.Drop{
		Family: f.name, Table: key.table, Chain: key.chain, Hook: d.hook, Handle: handle, Counts: d.counts, Packets: d.packets,
	}
	if i := slices.IndexFunc(f.sysctls, func(s string) bool { return bridged[s] }); i >= 0 {
		out.Sysctl = f.sysctls[i]
	}
	return out
}

// parseBase reads a chain.
func parseBase(message []byte) (key chainKey, d dropper, ok bool) {
	if len(message) < nl.SizeofNfgenmsg || families[message[0]].name == "" {
		return key, d, false
	}
	key.family = message[0]
	err := nlattr.Each(message[nl.SizeofNfgenmsg:], func(kind uint16, value []byte) error {
		switch kind {
		case unix.NFTA_CHAIN_TABLE:
			key.table = unix.ByteSliceToString(value)
		case unix.NFTA_CHAIN_NAME:
			key.chain = unix.ByteSliceToString(value)
		case unix.NFTA_CHAIN_POLICY:
			d.drops = len(value) == 4 && binary.BigEndian.Uint32(value) == dropPolicy
		case unix.NFTA_CHAIN_COUNTERS:
			return d.count(value)
		case unix.NFTA_CHAIN_HOOK:
			return nlattr.Each(value, func(kind uint16, value []byte) error {
				if kind == unix.NFTA_HOOK_HOOKNUM && len(value) == 4 {
					d.hook = hooks[binary.BigEndian.Uint32(value)]
				}
				return nil
			})
		}
		return nil
	})
	return key, d, err == nil
}

// parseRule reads a rule: whether it can drop, and what it has counted.
func parseRule(message []byte) (key chainKey, d dropper, handle uint64, ok bool) {
	if len(message) < nl.SizeofNfgenmsg || families[message[0]].name == "" {
		return key, d, 0, false
	}
	key.family = message[0]
	err := nlattr.Each(message[nl.SizeofNfgenmsg:], func(kind uint16, value []byte) error {
		switch kind {
		case unix.NFTA_RULE_TABLE:
			key.table = unix.ByteSliceToString(value)
		case unix.NFTA_RULE_CHAIN:
			key.chain = unix.ByteSliceToString(value)
		case unix.NFTA_RULE_HANDLE:
			if len(value) == 8 {
				handle = binary.BigEndian.Uint64(value)
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			return nlattr.Each(value, func(_ uint16, value []byte) error { return d.expression(value) })
		}
		return nil
	})
	return key, d, handle, err == nil
}

// expression reads one of a rule's.
func (d *dropper) expression(value []byte) error {
	name := ""
	return nlattr.Each(value, func(kind uint16, value []byte) error {
		switch {
		case kind == unix.NFTA_EXPR_NAME:
			name = unix.ByteSliceToString(value)
			d.drops = d.drops || name == "reject"
		case kind != unix.NFTA_EXPR_DATA:
		case name == "counter":
			return d.count(value)
		case name == "target":
			return nlattr.Each(value, func(kind uint16, value []byte) error {
				d.drops = d.drops || kind == unix.NFTA_TARGET_NAME && unix.ByteSliceToString(value) == "REJECT"
				return nil
			})
		case name == "immediate":
			return d.verdict(value)
		}
		return nil
	})
}

func (d *dropper) verdict(value []byte) error {
	return nlattr.Each(value, func(kind uint16, value []byte) error {
		if kind != unix.NFTA_IMMEDIATE_DATA {
			return nil
		}
		return nlattr.Each(value, func(kind uint16, value []byte) error {
			if kind != unix.NFTA_DATA_VERDICT {
				return nil
			}
			return nlattr.Each(value, func(kind uint16, value []byte) error {
				d.drops = d.drops || kind == unix.NFTA_VERDICT_CODE && len(value) == 4 && binary.BigEndian.Uint32(value) == dropPolicy
				return nil
			})
		})
	})
}

func (d *dropper) count(value []byte) error {
	return nlattr.Each(value, func(kind uint16, value []byte) error {
		if kind == unix.NFTA_COUNTER_PACKETS && len(value) == 8 {
			d.counts, d.packets = true, binary.BigEndian.Uint64(value)
		}
		return nil
	})
}

// Counters gives those of the host's own namespace that hostapi names.
func Counters() map[string]uint64 {
	out := map[string]uint64{}
	for _, file := range []string{"/proc/net/snmp", "/proc/net/netstat"} {
		pairedCounters(text(file), out)
	}
	if b, err := os.ReadFile("/proc/net/snmp6"); err == nil {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 2 {
				note(out, f[0], f[1])
			}
		}
	}
	return out
}

// pairedCounters reads a file of lines in pairs: "Udp: InDatagrams …", "Udp: 17 …".
func pairedCounters(content string, out map[string]uint64) {
	var names []string
	for line := range strings.Lines(content) {
		f := strings.Fields(line)
		if len(f) == 0 || len(names) != len(f) || names[0] != f[0] {
			names = f
			continue
		}
		group := strings.TrimSuffix(f[0], ":")
		if strings.HasSuffix(group, "Ext") {
			group = "" // their names are whole
		}
		for i := 1; i < len(f); i++ {
			note(out, group+names[i], f[i])
		}
		names = nil
	}
}

func note(out map[string]uint64, name, value string) {
	switch name {
	case hostapi.CounterReversePath, hostapi.CounterUDPChecksum, hostapi.CounterUDP6Checksum,
		hostapi.CounterMD5Failure, hostapi.CounterMD5NotFound, hostapi.CounterMD5Unexpected:
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			out[name] = n
		}
	}
}
