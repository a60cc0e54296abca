package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// passedRun is a first deploy of the contract's lab.
func passedRun() *Result {
	r := &Result{
		Version: 1, Lab: "lu", Verb: "deploy", Result: Pass, Changed: 14,
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 1.2345678,
		Topology: Topology{
			Networks: []Network{{Name: "lu-br0", VNI: 100, Port: 4789, Flood: "multicast", Group: "239.0.0.1", Subnet: "192.168.100.0/24", MTU: 1450}},
			Endpoints: []Endpoint{
				{Name: "cn1", Kind: "container", Host: "host1", Network: "lu-br0", Address: "192.168.100.11", MAC: "02:00:00:00:00:01"},
				{Name: "cn2", Kind: "container", Host: "host2", Network: "lu-br0", Address: "192.168.100.12", MAC: "02:00:00:00:00:02"},
			},
		},
	}
	for i := range 2 {
		r.Hosts = append(r.Hosts, Host{
			Name: fmt.Sprintf("host%d", i+1), Address: fmt.Sprintf("192.0.2.1%d", i+1), Result: OK, Changed: 7,
			Stages: []Stage{
				{Name: "connect", Result: OK, Seconds: 0.1123456},
				{Name: "vteps", Result: Changed, Started: 0.1123456, Seconds: 0.02, Changed: 7},
			},
		})
		from, to := i+1, 2-i
		r.Probes = append(r.Probes,
			ping(StageVTEP, fmt.Sprintf("host%d", from), fmt.Sprintf("host%d", to), from, to, fmt.Sprintf("192.168.100.%d", to), 0.412345),
			ping(StageContainer, fmt.Sprintf("cn%d", from), fmt.Sprintf("cn%d", to), from, to, fmt.Sprintf("192.168.100.1%d", to), 0.5))
	}
	r.Sort()
	return r
}

// checkedRun has a check of each kind and result.
func checkedRun() *Result {
	r := passedRun()
	r.Verb, r.Result = "verify", Fail
	add := func(result, reason string, change func(*Probe)) {
		p := ping(StageCheck, "cn1", "cn2", 1, 2, "192.168.100.12", 0.5)
		p.Result, p.Error = result, reason
		change(&p)
		r.Probes = append(r.Probes, p)
	}
	add(Pass, "", func(p *Probe) { p.MaxRTT = 5 })
	add(Fail, "answered in 7.2ms, more than 5ms", func(p *Probe) { p.From, p.FromHost, p.MaxRTT, p.RTT = "cn3", "host1", 5, RTT{7.2, 7.2, 7.2} })
	add(Pass, "", func(p *Probe) { p.Kind, p.Port, p.Bytes = KindTCP, 80, 64<<10 })
	add(Fail, "answered, but is to be unreachable", func(p *Probe) { p.Kind, p.Port, p.Bytes, p.Expect = KindTCP, 443, 64<<10, ExpectUnreachable })
	add(Pass, "", func(p *Probe) { p.To, p.Expect, p.Received, p.RTT = "cn4", ExpectUnreachable, 0, RTT{} })
	measured := func(mbits float64) func(*Probe) {
		return func(p *Probe) {
			p.Kind, p.Port, p.Bytes, p.RTT, p.MinThroughput, p.Throughput = KindThroughput, 30000, 12_345_678, RTT{1001, 1001, 1001}, 100, mbits
		}
	}
	add(Pass, "", measured(1234.5678))
	add(Fail, "93.1 Mbit/s, less than 100 Mbit/s", func(p *Probe) { measured(93.1)(p); p.From, p.FromHost = "cn3", "host1" })
	add(Skipped, "host3 failed", func(p *Probe) { p.To, p.ToHost, p.Sent, p.Received, p.RTT = "cn5", "host3", 0, 0, RTT{} })
	r.Sort()
	return r
}

// leakedRun is one of two networks that somebody has joined.
func leakedRun() *Result {
	r := passedRun()
	r.Verb, r.Result = "verify", Fail
	add := func(from string, fromHost int, to, result, reason string, change func(*Probe)) {
		p := ping(StageIsolation, from, to, fromHost, 2, "10.9.0.11", 0)
		p.Kind, p.ToNetwork, p.Expect, p.Bytes, p.Sent, p.Received, p.Result, p.Error = KindIsolation, "red", ExpectUnreachable, 0, 2, 0, result, reason
		change(&p)
		r.Probes = append(r.Probes, p)
	}
	add("cn1", 1, "red2", Pass, "", func(*Probe) {})
	add("cn2", 2, "red2", Fail, "it answers, although it is in another network", func(p *Probe) { p.Received = 1 })
	add("cn3", 3, "red2", Skipped, "host3 failed", func(p *Probe) { p.Sent = 0 })
	r.Sort()
	leaked := slices.IndexFunc(r.Probes, Probe.Leaked)
	r.Findings = []Finding{{
		Layer: "bridge", Host: "host2", Cause: "bridges lu-br0 and red are joined by leak0",
		Proof: "bridge lu-br0 has learned MAC 02:00:00:00:00:09 of red2, which is in red, at port leak0, which is not the lab's",
		Mend:  "ip link set leak0 nomaster", Probes: []int{leaked},
	}}
	return r
}

func ping(stage, from, to string, fromHost, toHost int, address string, ms float64) Probe {
	return Probe{
		Kind: "ping", Stage: stage, Network: "lu-br0", Bytes: 56, Sent: 1, Received: 1, RTT: RTT{ms, ms, ms}, Result: Pass,
		From: from, FromHost: fmt.Sprintf("host%d", fromHost), To: to, ToHost: fmt.Sprintf("host%d", toHost), Address: address,
	}
}

// lose turns the probes of the stages into lost ones.
func lose(r *Result, stages ...string) *Result {
	r.Result = Fail
	for i := range r.Probes {
		for _, stage := range stages {
			if p := &r.Probes[i]; p.Stage == stage {
				p.Result, p.RTT, p.Sent, p.Received = Fail, RTT{}, 3, 0
			}
		}
	}
	return r
}

func unreachableHost() *Result {
	r := passedRun()
	r.Result, r.Changed = Fail, 7
	h := &r.Hosts[1]
	h.Result, h.Changed = Unreachable, 0
	h.Error = "connect: dial tcp 192.0.2.12:22: connection refused"
	h.Hint = "is sshd running there, and is 22 its port? ssh.port sets another"
	h.Stages = []Stage{{Name: "connect", Result: Failed, Seconds: 0.003, Error: h.Error}}
	for i := range r.Probes {
		p := &r.Probes[i]
		p.Result, p.Error, p.RTT, p.Sent, p.Received = Skipped, "host2 failed", RTT{}, 0, 0
	}
	return r
}

func nothingChanged() *Result {
	r := passedRun()
	r.Changed = 0
	for i := range r.Hosts {
		r.Hosts[i].Changed = 0
		r.Hosts[i].Stages = r.Hosts[i].Stages[:1]
	}
	var probes []Probe
	for _, p := range r.Probes {
		if p.Stage != StageVTEP {
			probes = append(probes, p)
		}
	}
	r.Probes = probes
	r.Topology.Networks[0].Unproved = "nothing about them changes"
	return r
}

// bigMesh has a name too many for a matrix and one endpoint that nobody reaches.
func bigMesh() *Result {
	r := passedRun()
	r.Result, r.Probes = Fail, nil
	for from := range maxMatrix + 1 {
		for to := range maxMatrix + 1 {
			if from == to {
				continue
			}
			p := ping(StageMesh, fmt.Sprintf("cn%02d", from), fmt.Sprintf("cn%02d", to), from%2+1, to%2+1, fmt.Sprintf("192.168.100.%d", to+11), float64(from+1)/10)
			if to == 7 || from == 7 {
				p.Result, p.RTT, p.Sent, p.Received = Fail, RTT{}, 3, 0
			}
			if from == 7 {
				p.Sent, p.Error = 0, "no route to "+p.Address
			}
			r.Probes = append(r.Probes, p)
		}
	}
	r.Sort()
	return r
}

// gated is a run that crossed one of its gates.
func gated() *Result {
	r := passedRun()
	r.Run = 7
	r.Gates = []Gate{
		{Name: "max-duration", Limit: "1m0s", Result: Pass, By: "the run took 1.23 s"},
		{Name: "max-rtt", Limit: "450µs", Result: Fail, By: "2 of 4 pings took longer, longest cn1 (host1) -> cn2 (host2): 0.500 ms"},
	}
	return r
}

func cases() map[string]*Result {
	skippedProof := passedRun()
	for i := range skippedProof.Probes {
		if p := &skippedProof.Probes[i]; p.Stage == StageVTEP {
			p.Result, p.Error, p.RTT, p.Sent, p.Received = Skipped, "nothing about the VTEPs changed", RTT{}, 0, 0
		}
	}
	destroyed := passedRun()
	destroyed.Verb, destroyed.Probes, destroyed.Topology = "destroy", nil, Topology{}
	interrupted := passedRun()
	interrupted.Result, interrupted.Probes = Fail, nil
	for i := range interrupted.Hosts {
		interrupted.Hosts[i].Result, interrupted.Hosts[i].Error = Interrupted, "vteps: interrupted"
	}
	refused := nothingChanged()
	refused.Result, refused.Probes = Fail, nil
	refused.Hosts[0].Result, refused.Hosts[0].Error = Failed, "plan: bridge lu-br0 exists already and was not made by vxorch"
	refused.Hosts[0].Hint = "choose another name in the inventory, or remove it by hand if nobody needs it"
	found := lose(passedRun(), StageContainer)
	found.Findings = []Finding{{
		Layer: "firewall", Host: "host2", Cause: "bridged frames are dropped by the FORWARD chain", Proof: "its counter rose by 6",
		Mend: "iptables -I FORWARD -i lu-br0 -o lu-br0 -j ACCEPT", Probes: []int{2, 3},
	}}
	tunnelsUnknown := lose(nothingChanged(), StageContainer)
	sameHost := lose(nothingChanged(), StageContainer)
	for i := range sameHost.Probes {
		sameHost.Probes[i].FromHost = sameHost.Probes[i].ToHost
	}
	return map[string]*Result{
		"checks":             checkedRun(),
		"isolation":          leakedRun(),
		"gates":              gated(),
		"failed-unchanged":   tunnelsUnknown,
		"failed-one-host":    sameHost,
		"pass":               passedRun(),
		"failed-container":   lose(passedRun(), StageContainer),
		"failed-vtep":        lose(passedRun(), StageVTEP, StageContainer),
		"unreachable-host":   unreachableHost(),
		"nothing-changed":    nothingChanged(),
		"vtep-proof-skipped": skippedProof,
		"big-mesh":           bigMesh(),
		"destroy":            destroyed,
		"interrupted":        interrupted,
		"refused":            refused,
		"finding":            found,
	}
}

func TestText(t *testing.T) {
	for name, r := range cases() {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := WriteText(&out, r, TextOptions{}); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", out.Bytes())
			if strings.Contains(out.String(), "\x1b") {
				t.Error("plain text has escape codes")
			}
		})
	}
}

func TestTextInColour(t *testing.T) {
	for _, name := range []string{"pass", "unreachable-host", "failed-container"} {
		t.Run(name, func(t *testing.T) {
			var plain, coloured bytes.Buffer
			r := cases()[name]
			if err := WriteText(&plain, r, TextOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := WriteText(&coloured, r, TextOptions{Color: true}); err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(plain.Bytes(), coloured.Bytes()) {
				t.Error("there is no colour")
			}
			// Columns stand as without colours.
			if diff := cmp.Diff(plain.String(), escapes.ReplaceAllString(coloured.String(), "")); diff != "" {
				t.Errorf("without its colours (-plain +coloured):\n%s", diff)
			}
		})
	}
}

func TestTextNeverWritesWhatAHostSaidUncleaned(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[31mred\x1b[0m\r\nsecond\u202e line\x00"
	r := unreachableHost()
	r.Lab, r.Verb = evil, evil
	r.Hosts[0].Name, r.Hosts[1].Error, r.Hosts[1].Hint, r.Hosts[1].Stages[0].Name = evil, evil, evil, evil
	r.Hosts[0].Result, r.Hosts[0].Address = evil, evil
	r.Findings = []Finding{{Layer: evil, Host: evil, Cause: evil, Proof: evil, Mend: evil}}
	r.Topology.Networks[0].Name, r.Topology.Networks[0].Group = evil, evil
	for i := range r.Probes {
		r.Probes[i] = Probe{Kind: evil, Stage: evil, Network: evil, From: evil, FromHost: evil, To: evil, ToHost: evil, Address: evil, Error: evil, Result: Fail}
	}
	var out bytes.Buffer
	if err := WriteText(&out, r, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if i := strings.IndexAny(out.String(), "\x1b\x00\x07\r\u202e"); i >= 0 {
		t.Errorf("byte %d is a control character:\n%q", i, out.String())
	}
	if r.Lab != evil || r.Probes[0].Error != evil {
		t.Error("the result itself was changed")
	}
}

func TestJSONIsTheContracts(t *testing.T) {
	var out bytes.Buffer
	if err := WriteJSON(&out, cases()["finding"]); err != nil {
		t.Fatal(err)
	}
	golden(t, "finding.json", out.Bytes())

	var back Result
	decoder := json.NewDecoder(&out)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(presentable(cases()["finding"]), &back); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestJSONListsAreNeverNull(t *testing.T) {
	var out bytes.Buffer
	r := &Result{Hosts: []Host{{}}, Findings: []Finding{{}}}
	if err := WriteJSON(&out, r); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "null") {
		t.Errorf("there is a null:\n%s", out.String())
	}
	if r.Probes != nil || r.Hosts[0].Stages != nil {
		t.Error("the result itself was changed")
	}
}

func TestWriteErrorsAreReturned(t *testing.T) {
	if err := WriteJSON(broken{}, passedRun()); !errors.Is(err, errBroken) {
		t.Errorf("WriteJSON = %v, want %v", err, errBroken)
	}
	if err := WriteText(broken{}, passedRun(), TextOptions{}); !errors.Is(err, errBroken) {
		t.Errorf("WriteText = %v, want %v", err, errBroken)
	}
}

var errBroken = errors.New("disk full")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestClean(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":              {"no route to 192.0.2.1", "no route to 192.0.2.1"},
		"other scripts":      {"naïve Größe 漢字 → ✓", "naïve Größe 漢字 → ✓"},
		"colours":            {"\x1b[1;31mred\x1b[0m", "red"},
		"title":              {"a\x1b]0;owned\x07b", "ab"},
		"link":               {"\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\", "text"},
		"8-bit controls":     {"a\u009b31mb\u0085c", "ab c"},
		"charset":            {"\x1b(0line\x1bcreset", "linereset"},
		"unfinished":         {"a\x1b[31", "a31"},
		"lone escape":        {"a\x1b", "a"},
		"lines":              {"one\r\n\ttwo\n", "one two"},
		"bells and nulls":    {"a\x07b\x00c\bd", "abcd"},
		"direction override": {"a\u202eb\u200bc", "abc"},
		"not UTF-8":          {"a\xff\xfeb", "a\uFFFDb"},
		"too long":           {strings.Repeat("é", 3000), strings.Repeat("é", 1999) + "…"},
		"just fits":          {strings.Repeat("é", 2000), strings.Repeat("é", 2000)},
		"empty":              {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Clean(c.in)); diff != "" {
				t.Errorf("Clean(%q) (-want +got):\n%s", c.in, diff)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[31mred\x1b]0;t\x07\xff\u202e\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if len([]rune(got)) > maxClean {
			t.Errorf("Clean gave %d characters", len([]rune(got)))
		}
		for _, r := range got {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x202e {
				t.Errorf("Clean(%q) = %q has %U", s, got, r)
			}
		}
		if again := Clean(got); again != got {
			t.Errorf("Clean(%q) = %q, cleaned again %q", s, got, again)
		}
	})
}
