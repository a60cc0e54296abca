package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

func TestAutoFloodsByWhatPassesAndHowManyThereAre(t *testing.T) {
	many := "lab: lu\nhosts:\n"
	crowd := map[string]hostapi.Facts{}
	for i := 1; i <= 51; i++ {
		many += fmt.Sprintf("  h%d: {address: 10.0.0.%d}\n", i, i)
		crowd[fmt.Sprintf("h%d", i)] = bare(fmt.Sprintf("10.0.0.%d", i), fmt.Sprintf("10.0.0.%d", i%51+1))
	}
	many += "networks: {lu-br0: {vxlan: vxlan0, flood: auto}}\n"
	seedAuto := flooding("auto")
	stands := func(mode string) func(*testing.T) map[string]hostapi.Facts {
		return func(t *testing.T) map[string]hostapi.Facts {
			return built(bareHosts(), deploy(t, parse(t, flooding(mode)), bareHosts()))
		}
	}
	bareOnes := func(*testing.T) map[string]hostapi.Facts { return bareHosts() }
	for name, c := range map[string]struct {
		lab    string
		facts  func(*testing.T) map[string]hostapi.Facts
		passes map[string]bool
		mode   string
		why    string
		asks   bool
	}{
		"passes":               {seedAuto, bareOnes, map[string]bool{"lu-br0": true}, "multicast", "multicast passes between all hosts", true},
		"does not pass":        {seedAuto, bareOnes, map[string]bool{"lu-br0": false}, "unicast", "multicast does not pass", true},
		"not tried":            {seedAuto, bareOnes, nil, "unicast", "not known", true},
		"many":                 {many, func(*testing.T) map[string]hostapi.Facts { return crowd }, map[string]bool{"lu-br0": false}, "static", "more than 50", true},
		"stands by multicast":  {seedAuto, stands("multicast"), nil, "multicast", "stands so", false},
		"stands by unicast":    {seedAuto, stands("unicast"), map[string]bool{"lu-br0": true}, "unicast", "stands so", false},
		"stands static":        {seedAuto, stands("static"), nil, "static", "stands so", false},
		"given, not asked for": {flooding("static"), bareOnes, map[string]bool{"lu-br0": true}, "static", "", false},
		"stands on one host only": {seedAuto, func(t *testing.T) map[string]hostapi.Facts {
			facts := stands("unicast")(t)
			facts["host2"] = bareHosts()["host2"]
			return facts
		}, map[string]bool{"lu-br0": true}, "multicast", "multicast passes", true},
	} {
		t.Run(name, func(t *testing.T) {
			lab, facts := parse(t, c.lab), c.facts(t)
			p := deployWith(t, lab, facts, plan.Inputs{Multicast: c.passes})
			if got := p.Networks[0]; got.Flood != c.mode || !strings.Contains(got.Why, c.why) || (got.Why == "") != (c.why == "") {
				t.Errorf("flooding by %q, since %q; want %q, since %q", got.Flood, got.Why, c.mode, c.why)
			}
			if asked := len(plan.MulticastQuestions(lab, facts)) > 0; asked != c.asks {
				t.Errorf("asks whether multicast passes: %t, want %t", asked, c.asks)
			}
		})
	}
}

func TestAbsentHostStaysInTheOthersTables(t *testing.T) {
	for _, mode := range []string{"unicast", "static"} {
		t.Run(mode, func(t *testing.T) {
			lab := parse(t, flooding(mode))
			facts := built(bareHosts(), deploy(t, lab, bareHosts()))
			gone := facts["host2"]
			delete(facts, "host2")
			p := deployWith(t, lab, facts, plan.Inputs{Known: map[string]hostapi.Facts{"host2": gone}})
			if n := p.Changes(); n != 0 {
				t.Errorf("%d changes while host2 is away, want none: %+v", n, p.Phases[0].Steps["host1"])
			}
			if n := deploy(t, lab, facts).Changes(); n != 1 {
				t.Errorf("%d changes while nothing is known of host2, want its entries gone", n)
			}
		})
	}
}
