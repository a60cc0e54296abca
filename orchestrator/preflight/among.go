package preflight

import (
	"maps"
	"slices"
)

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
	if len(bad) == 0 {
		return nil
	}
	left := maps.Clone(bad)
	good := map[string][2]int{} // by host: how many of its ways are not bad, out and in
	for _, p := range all {
		out, in := good[p.from], good[p.to]
		if !bad[p] {
			out[from]++
			in[to]++
		}
		good[p.from], good[p.to] = out, in
	}
	hosts := slices.Sorted(maps.Keys(good))
	var found []blame
	take := func(host string, s side) {
		b := blame{host: host, side: s}
		for _, p := range all {
			if !left[p] || !s.has(host, p) {
				continue
			}
			delete(left, p)
			b.pairs = append(b.pairs, p)
			if p.from == host {
				b.others = append(b.others, p.to)
			} else {
				b.others = append(b.others, p.from)
			}
		}
		if len(b.pairs) > 0 {
			slices.Sort(b.others)
			b.others = slices.Compact(b.others)
			found = append(found, b)
		}
	}
	if of == either {
		for _, s := range []side{either, to, from} {
			for _, host := range hosts {
				g := good[host]
				if s != to && g[from] > 0 || s != from && g[to] > 0 {
					continue
				}
				take(host, s)
			}
		}
		of = to
	}
	for _, host := range hosts {
		if len(left) == 0 {
			break
		}
		take(host, of)
	}
	return found
}

// has tells whether a way is one of a host's on that side.
func (s side) has(host string, p pair) bool {
	return s != to && p.from == host || s != from && p.to == host
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
