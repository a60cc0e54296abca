package report

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"regexp"
	"strings"
	"testing"
)

// largeRun is a lab of 64 endpoints on 32 hosts, of which one host is not
// reached and two endpoints are mute.
func largeRun() *Result {
	r := passedRun()
	r.Result, r.Hosts, r.Probes, r.Topology.Endpoints = Fail, nil, nil, nil
	r.Run, r.Seconds, r.Changed = 12, 7.4, 210
	const hosts, lostHost = 32, 29
	for i := range hosts {
		h := Host{Name: fmt.Sprintf("node%02d", i+1), Address: fmt.Sprintf("192.0.2.%d", i+101), Result: OK, Changed: 7}
		at := 0.0
		for j, name := range []string{"connect", "observe", "vtep", "vtep-proof", "build", "proof", "vm", "guest", "vm-proof"} {
			s := Stage{Name: name, Result: OK, Started: at, Seconds: 0.05 + float64((i*7+j*13)%11)/40}
			if name == "guest" {
				s.Seconds = 2.5 + float64(i%5)/3
			}
			at += s.Seconds
			h.Stages = append(h.Stages, s)
			if i == lostHost {
				h.Result, h.Error, h.Hint, h.Changed = Unreachable, "connect: dial tcp: connection refused", "is sshd running there?", 0
				h.Stages[0].Result, h.Stages[0].Error = Failed, h.Error
				break
			}
		}
		r.Hosts = append(r.Hosts, h)
		r.Topology.Underlays = append(r.Topology.Underlays, Underlay{Host: h.Name, Device: "eth0", Address: h.Address, MTU: 1500})
		for j, kind := range []string{"container", "vm"} {
			r.Topology.Endpoints = append(r.Topology.Endpoints, Endpoint{
				Name: fmt.Sprintf("%s-%s", map[string]string{"container": "web", "vm": "db"}[kind], h.Name), Kind: kind, Host: h.Name, Network: "lu-br0",
				Address: fmt.Sprintf("192.168.100.%d", 11+2*i+j), MAC: fmt.Sprintf("02:00:00:00:%02x:%02x", i, j),
			})
		}
	}
	r.Topology.Networks[0].VTEP = "vxlan0"
	ends := r.Topology.Endpoints
	for i, from := range ends {
		for j, to := range ends {
			if i == j {
				continue
			}
			ms := 0.1 + float64((i*31+j*17)%23)/30
			if from.Kind == "vm" || to.Kind == "vm" {
				ms *= 12
			}
			p := ping(StageMesh, from.Name, to.Name, 0, 0, to.Address, ms)
			p.FromHost, p.ToHost = from.Host, to.Host
			switch lost := fmt.Sprintf("node%02d", lostHost+1); {
			case from.Host == lost || to.Host == lost:
				p.Result, p.Error, p.RTT, p.Sent, p.Received = Skipped, lost+" failed", RTT{}, 0, 0
			case from.Name == "db-node05" || to.Name == "db-node05":
				p.Result, p.RTT, p.Sent, p.Received = Fail, RTT{}, 3, 0
			case (i*j)%97 == 5:
				p.Sent = 2
			}
			r.Probes = append(r.Probes, p)
		}
	}
	r.Findings = []Finding{{
		Layer: "endpoint", Host: "node05", Cause: "the guest of db-node05 drops echo requests", Proof: "186 frames went into its tap, none came out",
		Mend: "vxorch sandbox exec --on node05 -- virsh console lu-db-node05", Probes: []int{1},
	}}
	r.Sort()
	return r
}

// smallRun is the seed's lab with VMs, as deploy makes it.
func smallRun() *Result {
	r := passedRun()
	r.Run = 3
	r.Topology.Networks[0].VTEP = "vxlan0"
	for i := range 2 {
		host := fmt.Sprintf("host%d", i+1)
		r.Topology.Underlays = append(r.Topology.Underlays, Underlay{Host: host, Device: "eth0", Address: fmt.Sprintf("10.83.0.%d", i+1), MTU: 1500})
		r.Topology.Endpoints = append(r.Topology.Endpoints, Endpoint{Name: fmt.Sprintf("vm%d", i+1), Kind: "vm", Host: host, Network: "lu-br0", Address: fmt.Sprintf("192.168.100.2%d", i+1)})
		r.Hosts[i].Stages = nil
		at := 0.0
		for j, name := range []string{"connect", "observe", "vtep", "vtep-proof", "build", "proof", "vm", "guest", "vm-proof"} {
			s := Stage{Name: name, Result: OK, Started: at, Seconds: []float64{.05, .02, .004, .002, .01, .002, .39, 4.7, 1.1}[j]}
			at += s.Seconds
			r.Hosts[i].Stages = append(r.Hosts[i].Stages, s)
		}
	}
	r.Seconds = 6.69
	whole := ping(StageContainer, "cn1", "cn2", 1, 2, "192.168.100.12", 0.6)
	whole.Kind, whole.Bytes, whole.Result, whole.Received, whole.Sent, whole.RTT = KindMTU, 1422, Fail, 0, 3, RTT{}
	r.Probes = append(r.Probes, whole)
	r.Result = Fail
	for i, from := range []string{"cn1", "cn2", "vm1", "vm2"} {
		for j, to := range []string{"cn1", "cn2", "vm1", "vm2"} {
			if from != to && (i > 1 || j > 1) {
				stage := StageMesh
				if i > 1 && j > 1 {
					stage = StageVM
				}
				r.Probes = append(r.Probes, ping(stage, from, to, i%2+1, j%2+1, "192.168.100.21", 2.5+float64(i*5+j)))
			}
		}
	}
	r.Sort()
	return r
}

func TestHTML(t *testing.T) {
	for name, r := range map[string]*Result{"small": smallRun(), "unreachable-host": unreachableHost()} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := WriteHTML(&out, r); err != nil {
				t.Fatal(err)
			}
			// Style and script have files of their own.
			text := strings.Replace(strings.Replace(out.String(), pageCSS, "…", 1), pageJS, "…", 1)
			for _, source := range []string{pageCSS, pageJS} {
				text = strings.Replace(text, html.EscapeString(digest(source)), "…", 1)
			}
			golden(t, name+".html", []byte(text))
		})
	}
}

func TestHTMLAloneIsEnough(t *testing.T) {
	var out bytes.Buffer
	if err := WriteHTML(&out, largeRun()); err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`(?i)(?:https?:)?//[a-z0-9.-]+\.[a-z]|@import|url\(|(?:src|href|srcset)="[^#d]`).FindAllString(out.String(), 5); found != nil {
		t.Errorf("it points elsewhere: %q", found)
	}
	if out.Len() > 3<<20 {
		t.Errorf("%d bytes", out.Len())
	}
}

func TestWhoeverLosesHalfIsAtFault(t *testing.T) {
	got := states(largeRun())
	for key, want := range map[string]string{
		"end lu-br0 db-node05": Fail, "end lu-br0 web-node05": Pass, "end lu-br0 db-node01": Pass, "end lu-br0 web-node30": "",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if got := states(smallRun()); got["end lu-br0 cn1"] != "partly" || got["vtep lu-br0 host1"] != Pass {
		t.Errorf("with one probe lost of many: %v", got)
	}
	for name, state := range states(lose(passedRun(), StageContainer)) {
		if strings.HasPrefix(name, "end") && state != Fail {
			t.Errorf("%s is %s although all is lost", name, state)
		}
	}
}

func TestOfManyEndpointsTheHostsAreShown(t *testing.T) {
	r := passedRun()
	r.Probes = nil
	for i := range maxHeat + 2 {
		r.Probes = append(r.Probes, ping(StageMesh, fmt.Sprintf("a%d", i), fmt.Sprintf("a%d", i+1), 1, 2, "192.168.100.9", 1))
	}
	lost := &r.Probes[3]
	lost.Result, lost.Received, lost.Sent = Fail, 0, 3
	got := matrices(r)
	if len(got) != 1 || len(got[0].Heads) != 2 || got[0].Title != "Endpoints of lu-br0, by host" {
		t.Fatalf("matrices give %+v", got)
	}
	if c := got[0].Rows[0].Cells[1]; c.Class != "partly" || c.Text != "129/130" {
		t.Errorf("the cell is %+v", c)
	}
}

func TestTicksAreRound(t *testing.T) {
	for length, want := range map[float64]float64{0.08: 0.01, 1: 0.1, 1.01: 0.2, 6.7: 1, 47: 5, 300: 50} {
		if got := tickStep(length); math.Abs(got-want) > want/1e6 {
			t.Errorf("tickStep(%g) = %g, want %g", length, got, want)
		}
	}
}
