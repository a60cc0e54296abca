package survey

import (
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/hostapi"
)

// What iptables itself was told is read back, its counters too.
func TestLegacyTablesAreRead(t *testing.T) {
	if got := LegacyDrops(t.Context()); len(got) > 0 {
		t.Fatalf("drops %+v where nothing was told", got)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		run("iptables-legacy", "-P", "FORWARD", "ACCEPT")
		run("iptables-legacy", "-F")
		run("iptables-legacy", "-X")
		run("ip6tables-legacy", "-F")
	})
	for _, args := range [][]string{
		{"iptables-legacy", "-P", "FORWARD", "DROP"},
		{"iptables-legacy", "-N", "USER"},
		{"iptables-legacy", "-A", "FORWARD", "-j", "USER"},
		{"iptables-legacy", "-A", "USER", "-i", "eth0", "-j", "ACCEPT"},
		{"iptables-legacy", "-A", "USER", "-p", "udp", "-m", "comment", "--comment", "not -j DROP", "-j", "DROP", "-c", "3", "252"},
		{"ip6tables-legacy", "-A", "INPUT", "-j", "REJECT"},
	} {
		run(args...)
	}
	want := []hostapi.Drop{
		{Family: "ip", Table: "filter", Chain: "FORWARD", Hook: hostapi.HookForward, Legacy: true, Counts: true},
		{Family: "ip", Table: "filter", Chain: "USER", Handle: 2, Legacy: true, Counts: true, Packets: 3},
		{Family: "ip6", Table: "filter", Chain: "INPUT", Hook: hostapi.HookInput, Handle: 1, Legacy: true, Counts: true},
	}
	got := LegacyDrops(t.Context())
	for i := range got {
		got[i].Sysctl = "" // as the machine has it
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
	bridges := []string{"eth", "eth0", "br0"} // eth0 is named by a rule
	filter := hostapi.Filter{Family: "ip", Table: "filter", Chain: "FORWARD", Legacy: true, Sysctl: callIPv4, Named: []string{"eth0"}}
	for _, c := range []struct {
		on   map[string]bool
		want []hostapi.Filter
	}{
		{map[string]bool{callIPv4: true, callIPv6: true}, []hostapi.Filter{filter}},
		{map[string]bool{callIPv6: true}, nil},
	} {
		if diff := cmp.Diff(c.want, legacyFilters(t.Context(), bridges, c.on)); diff != "" {
			t.Errorf("chains that drop bridged frames where %v are on (-want +got):\n%s", c.on, diff)
		}
	}
}

func TestNonsenseOfIptablesIsNothing(t *testing.T) {
	for _, table := range []string{"", "*filter\n:FORWARD\n", "[x] -A FORWARD -j", "[1:2] -A FORWARD -p udp -j ACCEPT", ":FORWARD ACCEPT [1:2]"} {
		if got := parseLegacy(table); len(got) > 0 {
			t.Errorf("%q gives %+v", table, got)
		}
	}
}
