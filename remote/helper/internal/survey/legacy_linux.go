package survey

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"vxorch/remote/helper/internal/program"
	"vxorch/remote/hostapi"
)

// legacyLimit bounds a program that only reads.
const legacyLimit = 2 * time.Second

// legacy is iptables from before nftables, of one IP version.
type legacy struct {
	family string
	tables string // where the kernel says which are in use
	reader string // who can read them
	sysctl string // what hands bridged frames to them
}

var legacies = []legacy{
	{"ip", "/proc/net/ip_tables_names", "iptables", callIPv4},
	{"ip6", "/proc/net/ip6_tables_names", "ip6tables", callIPv6},
}

// read gives its filter table, as iptables-save says it with counters. The kernel
// hands these tables out to their own programs alone: without those, and where the
// table is not in use, there is nothing.
func (l legacy) read(ctx context.Context) string {
	names, err := os.ReadFile(l.tables)
	if err != nil || !strings.Contains("\n"+string(names), "\nfilter\n") {
		return ""
	}
	reader := legacyReader(l.reader)
	if reader == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, legacyLimit)
	defer cancel()
	table, err := exec.CommandContext(ctx, reader, "-c", "-t", "filter").Output()
	if err != nil {
		return ""
	}
	return string(table)
}

// LegacyDrops gives where the filter tables of legacy iptables drop packets.
func LegacyDrops(ctx context.Context) (out []hostapi.Drop) {
	bridged := bridgeCalls()
	for _, l := range legacies {
		for _, d := range parseLegacy(l.read(ctx)) {
			d.Family, d.Table, d.Legacy, d.Counts = l.family, "filter", true, true
			if bridged[l.sysctl] {
				d.Sysctl = l.sysctl
			}
			out = append(out, d)
		}
	}
	return out
}

// legacyFilters gives the chains of legacy iptables that drop by policy what passes
// through a bridge; on tells which sysctls are.
func legacyFilters(ctx context.Context, bridges []string, on map[string]bool) (out []hostapi.Filter) {
	for _, l := range legacies {
		if !on[l.sysctl] {
			continue
		}
		table := l.read(ctx)
		for _, d := range parseLegacy(table) {
			if d.Hook == hostapi.HookForward && d.Handle == 0 { // the policy
				out = append(out, hostapi.Filter{
					Family: l.family, Table: "filter", Chain: d.Chain, Legacy: true, Sysctl: l.sysctl, Named: legacyNamed(table, bridges),
				})
			}
		}
	}
	return out
}

// legacyNamed gives those bridges that a rule names.
func legacyNamed(table string, bridges []string) (named []string) {
	words := strings.Fields(table)
	for _, b := range bridges {
		if slices.Contains(words, b) {
			named = append(named, b)
		}
	}
	return named
}

// legacyReader is the program that reads legacy tables; empty: there is none. Before
// there were two kinds, that of the plain name was of this one.
func legacyReader(name string) string {
	if path, err := program.Find(name + "-legacy-save"); err == nil {
		return path
	}
	if _, err := program.Find(name + "-nft-save"); err == nil {
		return ""
	}
	path, err := program.Find(name + "-save")
	if err != nil {
		return ""
	}
	return path
}

var legacyHooks = map[string]string{"INPUT": hostapi.HookInput, "FORWARD": hostapi.HookForward, "OUTPUT": hostapi.HookOutput}

// parseLegacy reads what iptables-save says with counters: the policies and rules
// that drop, rules by their place in their chain.
func parseLegacy(table string) (out []hostapi.Drop) {
	places := map[string]uint64{}
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && strings.HasPrefix(f[0], ":") && f[1] == "DROP":
			out = append(out, hostapi.Drop{Chain: f[0][1:], Hook: legacyHooks[f[0][1:]], Packets: legacyPackets(f[2])})
		case len(f) > 4 && f[1] == "-A":
			places[f[2]]++
			for i, word := range f[:len(f)-1] {
				if (word == "-j" || word == "-g") && (f[i+1] == "DROP" || f[i+1] == "REJECT") {
					out = append(out, hostapi.Drop{Chain: f[2], Hook: legacyHooks[f[2]], Handle: places[f[2]], Packets: legacyPackets(f[0])})
					break
				}
			}
		}
	}
	return out
}

// legacyPackets reads "[packets:bytes]".
func legacyPackets(counters string) uint64 {
	packets, _, _ := strings.Cut(strings.TrimPrefix(counters, "["), ":")
	n, _ := strconv.ParseUint(packets, 10, 64) // 0 of nonsense
	return n
}
