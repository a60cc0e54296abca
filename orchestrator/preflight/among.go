package preflight

import "slices"

// side is a direction of ways, as seen from the host that is named with them.
type side int

const (
	from   side = iota // its own way out
	to                 // its own way in
	either             // whichever explains most
)

// blame is ways that fail for the same reason, with the host that they have in
// common.
type blame struct {
	host   string
	side   side     // either: both ways
	others []string // at the other ends
	pairs  []pair
}

// among names the hosts that bad ways have in common: one finding for a host with
// a closed port, not one for each of its peers. Of either side a host is named
// first where all of its ways fail in both directions, then in, then out; what
// remains is named by its receivers.
func among(bad map[pair]bool, all []pair, of side) []blame {
	left := map[pair]bool{}
	for p := range bad {
		left[p] = true
	}
	var hosts []string
	for _, p := range all {
		hosts = append(hosts, p.from, p.to)
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	var out []blame
	take := func(host string, s side, is func(pair) bool) {
		b := blame{host: host, side: s}
		for _, p := range all {
			if left[p] && is(p) {
				delete(left, p)
				b.pairs = append(b.pairs, p)
				other := p.from
				if other == host {
					other = p.to
				}
				b.others = append(b.others, other)
			}
		}
		if len(b.pairs) > 0 {
			slices.Sort(b.others)
			b.others = slices.Compact(b.others)
			out = append(out, b)
		}
	}
	sides := map[side]func(host string) func(pair) bool{
		from:   func(host string) func(pair) bool { return func(p pair) bool { return p.from == host } },
		to:     func(host string) func(pair) bool { return func(p pair) bool { return p.to == host } },
		either: func(host string) func(pair) bool { return func(p pair) bool { return p.from == host || p.to == host } },
	}
	order := []side{of}
	if of == either {
		order = []side{either, to, from}
	}
	for _, s := range order {
		for _, host := range hosts {
			is := sides[s](host)
			whole := true
			for _, p := range all {
				whole = whole && (!is(p) || bad[p])
			}
			if whole || of != either {
				take(host, s, is)
			}
		}
	}
	for _, host := range hosts {
		take(host, to, sides[to](host))
	}
	return out
}

// between says where the ways fail, for people.
func (b blame) between() string {
	switch b.side {
	case from:
		return "does not pass from it to " + names(b.others)
	case to:
		return "does not pass to it from " + names(b.others)
	}
	return "does not pass between it and " + names(b.others)
}
