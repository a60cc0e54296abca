package verify_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/verify"
	"vxorch/remote/hostapi"
)

const lab = `
lab: lu
hosts: {h1: {address: 10.0.0.1}, h2: {address: 10.0.0.2}}
networks:
  blue: {vni: 1, subnet: 10.1.0.0/24}
  red: {vni: 2, subnet: 10.2.0.0/24}
containers:
  a: {host: h1, network: blue, address: 10.1.0.11}
  b: {host: h2, interfaces: [{network: blue, address: 10.1.0.12}, {network: red, address: 10.2.0.12}]}
  c: {host: h2, network: red, address: 10.2.0.13}
images:
  known: {path: /images/known, login: {user: cirros, password: gocubsgo}}
  mute: {path: /images/mute}
vms:
  v: {host: h1, network: blue, address: 10.1.0.21, image: known}
  w: {host: h2, network: blue, address: 10.1.0.22, image: mute}
checks:
  - {from: a, to: b, tcp: 80, max_rtt: 5ms}
  - {from: a, to: c, expect: unreachable}
  - {from: c, to: b, expect: unreachable}
  - {from: a, to: v}
  - {from: b, to: a, min_throughput: 100Mbit/s}
  - {from: b, to: c, min_throughput: 1Gbit/s, tcp: 5201}
`

func parse(t *testing.T) *inventory.Lab {
	t.Helper()
	l, err := inventory.Parse("lab.yaml", []byte(lab))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func lines(pairs []verify.Pair) []string {
	var all []string
	for _, p := range pairs {
		way := "from " + p.Netns
		switch {
		case p.Mute != "":
			way = "mute"
		case p.Guest != nil:
			way = "from inside " + p.Guest.Domain
		}
		if p.Whole {
			way += " whole"
		}
		if p.TCP != 0 {
			way += " by TCP to " + p.ToNetns
		}
		all = append(all, fmt.Sprintf("%s %s %s>%s %s %s", p.Stage, p.Network, p.From, p.To, p.Target, way))
	}
	slices.Sort(all)
	return all
}

func TestMeshHasEveryPairThatSharesANetworkOnce(t *testing.T) {
	containers, vms := verify.Mesh(parse(t), false)
	want := []string{
		"container blue a>b 10.1.0.12 from lu-a",
		"container blue a>b 10.1.0.12 from lu-a by TCP to lu-b",
		"container blue a>b 10.1.0.12 from lu-a whole",
		"container blue b>a 10.1.0.11 from lu-b",
		"container blue b>a 10.1.0.11 from lu-b by TCP to lu-a",
		"container blue b>a 10.1.0.11 from lu-b whole",
		"mesh red b>c 10.2.0.13 from lu-b",
		"mesh red c>b 10.2.0.12 from lu-c",
	}
	if diff := cmp.Diff(want, lines(containers)); diff != "" {
		t.Errorf("pairs of containers (-want +got):\n%s", diff)
	}
	want = []string{
		"mesh blue a>v 10.1.0.21 from lu-a",
		"mesh blue a>w 10.1.0.22 from lu-a",
		"mesh blue b>v 10.1.0.21 from lu-b",
		"mesh blue b>w 10.1.0.22 from lu-b",
		"mesh blue v>a 10.1.0.11 from inside lu-v",
		"mesh blue v>b 10.1.0.12 from inside lu-v",
		"mesh blue w>a 10.1.0.11 mute",
		"mesh blue w>b 10.1.0.12 mute",
		"vm blue v>w 10.1.0.22 from inside lu-v",
		"vm blue w>v 10.1.0.21 mute",
	}
	if diff := cmp.Diff(want, lines(vms)); diff != "" {
		t.Errorf("pairs with a VM (-want +got):\n%s", diff)
	}
}

func TestChecksArePairsInSharedNetworksOrApart(t *testing.T) {
	containers, vms := verify.Checks(parse(t))
	want := []string{
		"check blue a>b 10.1.0.12 from lu-a by TCP to lu-b",
		"check red a>c 10.2.0.13 from lu-a", // they share none: every address
		"check red c>b 10.2.0.12 from lu-c",
	}
	if diff := cmp.Diff(want, lines(containers)); diff != "" {
		t.Errorf("checks of containers (-want +got):\n%s", diff)
	}
	want = []string{ // what measures throughput waits for the VMs
		"check blue a>v 10.1.0.21 from lu-a",
		"check blue b>a 10.1.0.11 from lu-b by TCP to lu-a",
		"check red b>c 10.2.0.13 from lu-b by TCP to lu-c",
	}
	if diff := cmp.Diff(want, lines(vms)); diff != "" {
		t.Errorf("checks with a VM (-want +got):\n%s", diff)
	}
	for _, p := range containers {
		if got, want := p.Apart, p.To == "c"; got != want {
			t.Errorf("%s>%s apart %t, want %t", p.From, p.To, got, want)
		}
		if tries := p.Probe().Tries; tries != map[bool]int{true: 1}[p.Unreachable] {
			t.Errorf("%s>%s has %d tries", p.From, p.To, tries)
		}
	}
}

func TestThroughputIsMeasuredAfterwardsAndOneOfAHostAtOnce(t *testing.T) {
	pair := func(from, to string, rate int64) verify.Pair {
		return verify.Pair{FromHost: from, ToHost: to, MinThroughput: rate}
	}
	rounds := verify.Rounds([]verify.Pair{
		pair("a", "b", 0), pair("a", "b", 1), pair("c", "d", 1), pair("b", "a", 0), pair("d", "e", 1), pair("b", "a", 1), pair("f", "f", 1),
	})
	var got []string
	for _, round := range rounds {
		line := fmt.Sprint(verify.Measuring(round))
		for _, p := range round {
			line += " " + p.FromHost + p.ToHost
		}
		got = append(got, line)
	}
	if diff := cmp.Diff([]string{"false ab ba", "true ab cd ff", "true de ba"}, got); diff != "" {
		t.Errorf("rounds (-want +got):\n%s", diff)
	}
	if rounds := verify.Rounds(nil); len(rounds) > 0 {
		t.Errorf("rounds of nothing: %v", rounds)
	}
}

func TestChecksAreJudged(t *testing.T) {
	reachable := verify.Pair{Stage: report.StageCheck, From: "a", To: "b", Target: netip.MustParseAddr("10.1.0.12"), MaxRTT: 5 * time.Millisecond}
	apart := verify.Pair{Stage: report.StageCheck, From: "a", To: "c", Target: netip.MustParseAddr("10.2.0.13"), Unreachable: true, Apart: true}
	shut := apart
	shut.Apart = false
	port := shut
	port.TCP = 80
	failed := func(kind hostapi.Kind, sent int) hostapi.ProbeResult {
		return hostapi.ProbeResult{Sent: sent, Error: &hostapi.Error{Kind: kind, Message: "why"}}
	}
	answered := hostapi.ProbeResult{Sent: 1, Received: 1, RTT: 5 * time.Millisecond}
	fast := shut
	fast.Unreachable, fast.TCP, fast.MinThroughput = false, 30000, 100_000_000
	enough, slow := answered, answered
	enough.BitRate, slow.BitRate = 100_000_000, 93_100_000
	late := answered
	late.RTT += 1234 * time.Microsecond
	for name, c := range map[string]struct {
		pair   verify.Pair
		result hostapi.ProbeResult
		want   string
	}{
		"within its time":                     {reachable, answered, "pass "},
		"too late":                            {reachable, late, "fail answered in 6.234ms, more than 5ms"},
		"lost":                                {reachable, hostapi.ProbeResult{Sent: 3}, "fail "},
		"apart without a route":               {apart, failed(hostapi.KindUnreachable, 0), "pass "},
		"apart and lost":                      {apart, hostapi.ProbeResult{Sent: 1}, "pass "},
		"apart and answered":                  {apart, answered, "fail answered, but is to be unreachable"},
		"apart from nobody":                   {apart, failed(hostapi.KindInvalid, 0), "fail nothing is proved: why"},
		"shut and lost":                       {shut, hostapi.ProbeResult{Sent: 1}, "pass "},
		"shut and answered":                   {shut, answered, "fail answered, but is to be unreachable"},
		"shut without a route proves nothing": {shut, failed(hostapi.KindUnreachable, 0), "fail nothing is proved: why"},
		"port that nobody answers at":         {port, failed(hostapi.KindUnreachable, 1), "pass "},
		"port that takes a connection":        {port, failed(hostapi.KindInternal, 1), "fail nothing is proved: why"},
		"fast enough":                         {fast, enough, "pass "},
		"too slow":                            {fast, slow, "fail 93.1 Mbit/s, less than 100 Mbit/s"},
		"not measured":                        {fast, failed(hostapi.KindUnreachable, 1), "fail why"},
	} {
		t.Run(name, func(t *testing.T) {
			row := c.pair.Judge(c.result)
			if got := row.Result + " " + row.Error; got != c.want {
				t.Errorf("Judge gives %q, want %q", got, c.want)
			}
			if (row.Expect == report.ExpectUnreachable) != c.pair.Unreachable || row.Port != c.pair.TCP {
				t.Errorf("Judge gives %+v, which is not the pair", row)
			}
		})
	}
}

func TestVTEPsArePairedWhereOneEndChanged(t *testing.T) {
	network := inventory.Network{Name: "blue", VTEPs: map[string]netip.Addr{
		"h1": netip.MustParseAddr("10.1.0.1"), "h2": netip.MustParseAddr("10.1.0.2"), "h3": netip.MustParseAddr("10.1.0.3"),
	}}
	hosts := []string{"h1", "h2", "h3"}
	for name, c := range map[string]struct {
		changed map[string]bool
		want    string
	}{
		"none": {nil, ""},
		"one":  {map[string]bool{"h3": true}, "h1>h3 h2>h3 h3>h1 h3>h2"},
		"all":  {map[string]bool{"h1": true, "h2": true, "h3": true}, "h1>h2 h1>h3 h2>h1 h2>h3 h3>h1 h3>h2"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range verify.VTEPs(network, hosts, c.changed, false) {
				if p.Target != network.VTEPs[p.To] {
					t.Errorf("%s>%s goes to %s", p.From, p.To, p.Target)
				}
				got = append(got, p.From+">"+p.To)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("pairs %q, want %q", got, c.want)
			}
		})
	}
}

func TestProbesAreJudged(t *testing.T) {
	pair := verify.Pair{Stage: report.StageMesh, Network: "blue", From: "a", FromHost: "h1", To: "b", ToHost: "h2", Target: netip.MustParseAddr("10.1.0.12")}
	for name, c := range map[string]struct {
		result hostapi.ProbeResult
		want   string
	}{
		"answered at once":       {hostapi.ProbeResult{Sent: 1, Received: 1, RTT: 1500 * time.Microsecond}, "pass 1/1 1.5 "},
		"answered at last":       {hostapi.ProbeResult{Sent: 3, Received: 1, RTT: time.Millisecond}, "pass 1/3 1 "},
		"lost":                   {hostapi.ProbeResult{Sent: 3}, "fail 0/3 0 "},
		"could not even be sent": {hostapi.ProbeResult{Error: &hostapi.Error{Message: "no route"}}, "fail 0/0 0 no route"},
	} {
		t.Run(name, func(t *testing.T) {
			p := pair.Judge(c.result)
			if got := fmt.Sprintf("%s %d/%d %v %s", p.Result, p.Received, p.Sent, p.RTT.Avg, p.Error); got != c.want {
				t.Errorf("Judge gives %q, want %q", got, c.want)
			}
			if p.From != "a" || p.To != "b" || p.Address != "10.1.0.12" || p.Bytes != 56 {
				t.Errorf("Judge gives %+v, which is not the pair", p)
			}
		})
	}
}
