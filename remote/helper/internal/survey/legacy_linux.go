package survey

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"vxorch/remote/helper/internal/program"
	"vxorch/remote/hostapi"
)

// legacyLimit bounds a program that only reads.
const legacyLimit = 2 * time.Second

// legacies are the tables of iptables from before nftables, by IP version: where the
// kernel says which there are, who can read them, and what hands bridged frames to
// them.
var legacies = []struct{ family, tables, reader, sysctl string }{
	{"ip", "/proc/net/ip_tables_names", "iptables", callIPv4},
	{"ip6", "/proc/net/ip6_tables_names", "ip6tables", callIPv6},
}

// LegacyDrops gives where the filter tables of legacy iptables drop packets. The
// kernel hands their counters out to their own programs alone: without these, and
// where the tables are not in use, there is nothing.
func LegacyDrops(ctx context.Context) (out []hostapi.Drop) {
	bridged := bridgeCalls()
	for _, l := range legacies {
		names, err := os.ReadFile(l.tables)
		if err != nil || !strings.Contains("\n"+string(names), "\nfilter\n") {
			continue
		}
		reader := legacyReader(l.reader)
		if reader == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, legacyLimit)
		table, err := exec.CommandContext(ctx, reader, "-c", "-t", "filter").Output()
		cancel()
		if err != nil {
			continue
		}
		for _, d := range parseLegacy(string(table)) {
			d.Family, d.Table, d.Legacy, d.Counts = l.family, "filter", true, true
			if bridged[l.sysctl] {
				d.Sysctl = l.sysctl
			}
			out = append(out, d)
		}
	}
	return out
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
