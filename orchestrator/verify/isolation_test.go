package verify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/verify"
	"vxorch/remote/hostapi"
)

func apartLines(pairs []verify.Pair) []string {
	var all []string
	for _, p := range pairs {
		from := p.Netns
		if from == "" {
			from = p.FromHost
		}
		all = append(all, fmt.Sprintf("%s>%s %s>%s %s from %s of %s", p.Network, p.ToNetwork, p.From, p.To, p.Target, p.Link, from))
	}
	return all
}

func parsed(t *testing.T, text string) *inventory.Lab {
	t.Helper()
	lab, err := inventory.Parse("lab.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return lab
}

func TestNetworksAreApart(t *testing.T) {
	containers, vms := verify.Isolation(parse(t), false)
	want := []string{
		"blue>red b>c 10.2.0.13 from eth0 of lu-b",
		"blue>red a>c 10.2.0.13 from eth0 of lu-a", // c, which is in red alone
	}
	if diff := cmp.Diff(want, apartLines(containers)); diff != "" {
		t.Errorf("between containers (-want +got):\n%s", diff)
	}
	if len(vms) > 0 {
		t.Errorf("with a VM: %q, where there are containers", apartLines(vms))
	}
	containers, vms = verify.Isolation(parsed(t, `
lab: lu
hosts: {h1: {address: 10.0.0.1}, h2: {address: 10.0.0.2}}
networks: {blue: {vni: 1, subnet: 10.1.0.0/24}, red: {vni: 2, subnet: 10.2.0.0/24}}
containers: {a: {host: h1, network: blue, address: 10.1.0.11}}
images: {i: {path: /i}}
vms: {v: {host: h1, network: red, address: 10.2.0.21}, w: {host: h2, network: blue, address: 10.1.0.22}}
`), false)
	want = []string{"blue>red a>v 10.2.0.21 from eth0 of lu-a", "blue>red w>v 10.2.0.21 from blue of h2"} // a VM's bridge asks
	if diff := cmp.Diff(want, apartLines(vms)); diff != "" || len(containers) > 0 {
		t.Errorf("between containers %q, with a VM (-want +got):\n%s", apartLines(containers), diff)
	}
	for _, p := range vms {
		if p.Guest != nil || p.Mute != "" || p.Probe().Solicit == nil || p.Probe().Guest != nil {
			t.Errorf("%s>%s is asked as %+v, want no guest to be needed", p.From, p.To, p.Probe())
		}
	}
}

func TestOneNetworkHasNothingToBeApartFrom(t *testing.T) {
	containers, vms := verify.Isolation(parsed(t, "lab: try\nhosts: {a: {address: 10.0.0.1}, b: {address: 10.0.0.2}}\n"), true)
	if len(containers)+len(vms) > 0 {
		t.Errorf("pairs %q %q", apartLines(containers), apartLines(vms))
	}
}

// grid is a lab with a container in each network on each host.
func grid(t *testing.T, networks, hosts int) *inventory.Lab {
	var text strings.Builder
	fmt.Fprintf(&text, "lab: lu\nhosts: {\"h[001-%03d]\": {address: \"10.0.0.[1-%d]\"}}\nnetworks:\n", hosts, hosts)
	for n := range networks {
		fmt.Fprintf(&text, "  n%d: {vni: %d, subnet: 10.%d.%d.0/24}\n", n, n+1, 1+n/250, n%250)
	}
	text.WriteString("containers:\n")
	for n := range networks {
		fmt.Fprintf(&text, "  c%d: {hosts: all, network: n%d}\n", n, n)
	}
	return parsed(t, text.String())
}

func TestIsolationTouchesEverythingAndStaysSmall(t *testing.T) {
	for name, c := range map[string]struct {
		networks, hosts int
		pairs           int // of networks
		each            int // pairs of hosts of those
		full            bool
	}{
		"every pair of few hosts":     {2, 4, 1, 16, false},
		"of more each with the next":  {2, 9, 1, 18, false},
		"unless all are asked for":    {2, 9, 1, 81, true},
		"three networks":              {3, 3, 3, 9, false},
		"an even number of networks":  {6, 2, 15, 4, false},
		"some of each of many":        {20, 9, 190, 2, false},
		"one of some of a great many": {40, 5, 512, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			lab := grid(t, c.networks, c.hosts)
			pairs, _ := verify.Isolation(lab, c.full)
			if len(pairs) != c.pairs*c.each {
				t.Errorf("%d pairs, want %d", len(pairs), c.pairs*c.each)
			}
			networks, of, hosts := map[string]bool{}, map[[2]string]int{}, map[string]bool{}
			seen := map[string]bool{}
			for _, p := range pairs {
				networks[p.Network], networks[p.ToNetwork] = true, true
				hosts[p.FromHost] = true
				of[[2]string{p.Network, p.ToNetwork}]++
				line := p.From + ">" + p.To
				if p.Network == p.ToNetwork || seen[line] {
					t.Errorf("%s is asked twice, or in one network", line)
				}
				seen[line] = true
			}
			if len(networks) != c.networks || len(hosts) != c.hosts || len(of) != c.pairs {
				t.Errorf("%d networks in %d pairs on %d hosts; want %d, %d, %d", len(networks), len(of), len(hosts), c.networks, c.pairs, c.hosts)
			}
			again, _ := verify.Isolation(lab, c.full)
			if !slices.Equal(apartLines(pairs), apartLines(again)) {
				t.Error("another choice the second time")
			}
		})
	}
}

func TestIsolationIsJudged(t *testing.T) {
	pairs, _ := verify.Isolation(parse(t), false)
	for name, c := range map[string]struct {
		result hostapi.ProbeResult
		want   string
	}{
		"nobody answers":     {hostapi.ProbeResult{Sent: 2}, "pass "},
		"somebody does":      {hostapi.ProbeResult{Sent: 2, Received: 1}, "fail it answers, although it is in another network"},
		"nobody was asked":   {hostapi.ProbeResult{Error: &hostapi.Error{Message: "why"}}, "fail nothing is proved: why"},
		"half of it arrived": {hostapi.ProbeResult{Sent: 1, Received: 1, Error: &hostapi.Error{Message: "why"}}, "fail it answers, although it is in another network"},
	} {
		t.Run(name, func(t *testing.T) {
			row := pairs[0].Judge(c.result)
			if got := row.Result + " " + row.Error; got != c.want {
				t.Errorf("Judge gives %q, want %q", got, c.want)
			}
			if row.Kind != report.KindIsolation || row.Stage != report.StageIsolation || row.Network != "blue" || row.ToNetwork != "red" || row.Expect != report.ExpectUnreachable || row.Lost() {
				t.Errorf("Judge gives %+v, which is not the pair", row)
			}
			if row.Leaked() != (c.result.Received > 0) {
				t.Errorf("leaked: %t", row.Leaked())
			}
		})
	}
}
