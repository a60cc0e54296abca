package report

import (
	"bytes"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// need gives a program's path, or skips the test.
func need(t *testing.T, programs ...string) string {
	t.Helper()
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return path
		}
	}
	if os.Getenv("VXORCH_MUST_RUN") == "1" {
		t.Fatalf("there is no %s", programs[0])
	}
	t.Skipf("there is no %s", programs[0])
	return ""
}

func TestJUnit(t *testing.T) {
	xmllint := need(t, "xmllint")
	all := cases()
	all["evil"] = evilRun()
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := WriteJUnit(&out, r); err != nil {
				t.Fatal(err)
			}
			check := exec.Command(xmllint, "--noout", "--nonet", "--schema", filepath.Join("testdata", "junit.xsd"), "-")
			check.Stdin = bytes.NewReader(out.Bytes())
			if said, err := check.CombinedOutput(); err != nil {
				t.Errorf("%v: %s\n%s", err, said, out.String())
			}
			if name != "big-mesh" {
				golden(t, name+".junit.xml", out.Bytes())
			}
		})
	}
}

func TestJUnitHasACaseAStageAndAProbe(t *testing.T) {
	for name, r := range cases() {
		var out bytes.Buffer
		if err := WriteJUnit(&out, r); err != nil {
			t.Fatal(err)
		}
		var got junitSuites
		if err := xml.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		cases, bad := len(r.Findings)+len(r.Gates), 0
		for _, h := range r.Hosts {
			cases += len(h.Stages)
			if h.Result != OK {
				bad++
			}
			if h.Result == Interrupted || h.refused() {
				cases++ // at no stage
			}
		}
		lost := count(r.Probes, func(p Probe) bool { return p.Result == Fail })
		cases += len(r.Probes)
		failed := lost + len(r.Findings) + count(r.Gates, func(g Gate) bool { return g.Result == Fail })
		if got.Tests != cases || got.Errors != bad || got.Failures != failed {
			t.Errorf("%s: %d cases, %d errors, %d failures; want %d, %d, %d", name, got.Tests, got.Errors, got.Failures, cases, bad, failed)
		}
	}
}

const evil = "\x1b]0;owned\x07<script>alert(1)</script>|`]]>&amp;\"'\x00\u202e @team #1 https://evil.example [x](javascript:1) ![i](//e) \r\n# head"

// evilRun has a hostile text wherever a host has a say, and elsewhere.
func evilRun() *Result {
	r := unreachableHost()
	r.Lab, r.Verb, r.Error = evil, evil, evil
	r.Hosts[0].Name, r.Hosts[1].Error, r.Hosts[1].Hint = evil, evil, evil
	r.Hosts[0].Stages[0].Name, r.Hosts[0].Stages[0].Notes, r.Hosts[1].Stages[0].Error = evil, []string{evil}, evil
	r.Findings = []Finding{{Severity: SeverityError, Layer: evil, Host: evil, Cause: evil, Proof: evil, Mend: evil, Probes: []int{0, -1, 99}}}
	r.Gates = []Gate{{Name: evil, Limit: evil, Result: Fail, By: evil}}
	n := &r.Topology.Networks[0]
	n.Name, n.VTEP, n.Group, n.Subnet, n.Flood, n.FloodWhy, n.Unproved = evil, evil, evil, evil, evil, evil, evil
	r.Topology.Underlays = []Underlay{{Host: evil, Device: evil, Address: evil}}
	for i := range r.Topology.Endpoints {
		e := &r.Topology.Endpoints[i]
		e.Name, e.Network, e.Address, e.MAC = evil+e.Name, evil, evil, evil
	}
	for i := range r.Probes {
		p := &r.Probes[i]
		*p = Probe{Kind: p.Kind, Stage: p.Stage, Network: evil, From: evil + p.From, FromHost: p.FromHost, To: evil + p.To, ToHost: p.ToHost, Address: evil, Error: evil, Hint: evil, Result: Fail}
	}
	r.Left = []Left{{Name: evil, Address: evil, Destroy: evil}}
	return r
}
