package verify

import (
	"fmt"
	"slices"
	"testing"
)

// crowd gives so many ends spread over so many hosts.
func crowd(ends, hosts int) []string {
	all := make([]string, ends)
	for i := range all {
		all[i] = fmt.Sprintf("h%03d", i%hosts)
	}
	return all
}

func TestChoiceTouchesEverything(t *testing.T) {
	for name, c := range map[string]struct {
		ends, hosts int
		every       bool // pair of hosts
		most        int  // pairs
	}{
		"two on each of 50":          {100, 50, true, 100 + 50*49},
		"many on two":                {300, 2, true, 300 + 2},
		"all on one":                 {80, 1, true, 80},
		"one on each of 65":          {65, 65, false, 65 + 2*64 + 3*65},
		"a thousand on two hundreds": {1000, 200, false, 1000 + 2*199 + 3*1000},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := crowd(c.ends, c.hosts)
			pairs := choose(hosts, false, "lu")
			sends, receives := map[int]int{}, map[int]int{}
			between := map[[2]string]bool{}
			for _, p := range pairs {
				if p[0] == p[1] {
					t.Fatalf("end %d is paired with itself", p[0])
				}
				sends[p[0]]++
				receives[p[1]]++
				between[[2]string{hosts[p[0]], hosts[p[1]]}] = true
			}
			if len(sends) != c.ends || len(receives) != c.ends {
				t.Errorf("%d ends send, %d receive; want %d of each", len(sends), len(receives), c.ends)
			}
			if len(pairs) > c.most {
				t.Errorf("%d pairs, want at most %d", len(pairs), c.most)
			}
			for _, a := range hosts[:c.hosts] {
				for _, b := range hosts[:c.hosts] {
					if c.every && a != b && !between[[2]string{a, b}] {
						t.Fatalf("%s never reaches %s", a, b)
					}
				}
				if first := hosts[0]; a != first && !(between[[2]string{a, first}] && between[[2]string{first, a}]) {
					t.Errorf("%s and the hub do not reach each other", a)
				}
			}
			if again := choose(hosts, false, "lu"); !slices.Equal(pairs, again) {
				t.Error("the same seed chooses others the second time")
			}
		})
	}
}

func TestAllMeansAll(t *testing.T) {
	if pairs := choose(crowd(70, 5), true, ""); len(pairs) != 70*69 {
		t.Errorf("%d pairs, want %d", len(pairs), 70*69)
	}
}
