package inventory

import (
	"fmt"
	"slices"
	"strings"
)

// Select gives the names of the hosts to work on, in the lab's order: those that
// only names, all if it names none, without those that except names. A name may
// have a range, as in node[01-16]. The error tells of every name that is no
// host's, and of a choice that leaves none.
func (l *Lab) Select(only, except []string) ([]string, error) {
	var unknown []string
	expand := func(patterns []string) map[string]bool {
		chosen := map[string]bool{}
		for _, text := range patterns {
			p, err := parsePattern(text)
			if err != nil {
				unknown = append(unknown, fmt.Sprintf("%q %v", text, err))
				continue
			}
			for i := range p.count() {
				name := p.nth(i)
				if l.Host(name).Name == "" {
					unknown = append(unknown, fmt.Sprintf("lab %s has no host %q", l.Name, name))
				}
				chosen[name] = true
			}
		}
		return chosen
	}
	in, out := expand(only), expand(except)
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(slices.Compact(unknown), "; "))
	}
	var names []string
	for _, h := range l.Hosts {
		if (len(only) == 0 || in[h.Name]) && !out[h.Name] {
			names = append(names, h.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("none of lab %s's hosts is left", l.Name)
	}
	return names, nil
}
