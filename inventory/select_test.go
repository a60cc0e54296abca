package inventory

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSelect(t *testing.T) {
	lab, err := Parse("lab.yaml", []byte("lab: try\nhosts: {a: {address: 192.0.2.1}, \"node[08-11]\": {address: \"192.0.2.[108-111]\"}, b: {address: 192.0.2.2}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		only, except string
		want         []string
		err          string
	}{
		"nothing said":       {"", "", []string{"a", "node08", "node09", "node10", "node11", "b"}, ""},
		"in the lab's order": {"b a", "", []string{"a", "b"}, ""},
		"a range":            {"node[09-10]", "", []string{"node09", "node10"}, ""},
		"all but a range":    {"", "node[08-11]", []string{"a", "b"}, ""},
		"some of some":       {"node[08-11] b", "node09", []string{"node08", "node10", "node11", "b"}, ""},
		"twice":              {"a a", "", []string{"a"}, ""},
		"no such hosts":      {"node[11-12] c", "", nil, `lab try has no host "node12"; lab try has no host "c"`},
		"no such exception":  {"", "c", nil, `lab try has no host "c"`},
		"not a range":        {"node[2-1]", "", nil, "ends before it begins"},
		"none":               {"a", "a", nil, "none of lab try's hosts is left"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := lab.Select(strings.Fields(c.only), strings.Fields(c.except))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("Select(%q, %q) gives %v, %v; want an error with %q", c.only, c.except, got, err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("Select(%q, %q): %v, (-want +got):\n%s", c.only, c.except, err, diff)
			}
		})
	}
}
