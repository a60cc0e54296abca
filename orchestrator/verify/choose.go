package verify

import (
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
)

// How far a proof of every pair is worth its time: it grows with the square, and
// beyond, a choice that touches everything finds what is broken as well.
const (
	meshEnds    = 64 // endpoints of a network that are all proved to each other
	pairHosts   = 64 // hosts of which each is proved to each other
	randomPeers = 3  // of each endpoint beyond that
)

// choose gives directed pairs of the ends that stand on hosts, as indices: all of
// them, or a choice in which every end sends and every end receives, and every
// host reaches every other; of very many hosts, every host the first one and back,
// and every end some others at random. The same seed chooses the same.
func choose(hosts []string, all bool, seed string) [][2]int {
	var pairs [][2]int
	if all {
		for from := range hosts {
			for to := range hosts {
				if from != to {
					pairs = append(pairs, [2]int{from, to})
				}
			}
		}
		return pairs
	}
	c := choice{hosts: hosts, members: map[string][]int{}, chosen: map[[2]int]bool{}}
	for i, host := range hosts {
		c.members[host] = append(c.members[host], i)
	}
	c.ring()
	if len(c.members) <= pairHosts {
		c.hostPairs()
	} else {
		c.hub()
		c.random(seed)
	}
	return slices.SortedFunc(maps.Keys(c.chosen), func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
}

type choice struct {
	hosts   []string         // by end
	members map[string][]int // ends by host
	chosen  map[[2]int]bool
}

func (c *choice) names() []string { return slices.Sorted(maps.Keys(c.members)) }

func (c *choice) add(from, to int) {
	if from != to {
		c.chosen[[2]int{from, to}] = true
	}
}

// ring has every end send to the next and receive from the one before, neighbours
// being on different hosts as far as there are such: first the first end of every
// host, then the second, …
func (c *choice) ring() {
	var order []int
	for round := 0; len(order) < len(c.hosts); round++ {
		for _, host := range c.names() {
			if ends := c.members[host]; round < len(ends) {
				order = append(order, ends[round])
			}
		}
	}
	for i, end := range order {
		c.add(end, order[(i+1)%len(order)])
	}
}

// hostPairs has every host reach every other, by ends that take turns.
func (c *choice) hostPairs() {
	names := c.names()
	for i, from := range names {
		for j, to := range names {
			if i != j {
				c.add(c.members[from][j%len(c.members[from])], c.members[to][i%len(c.members[to])])
			}
		}
	}
}

// hub has every host reach the first and the first every other.
func (c *choice) hub() {
	names := c.names()
	hub := c.members[names[0]]
	for i, name := range names[1:] {
		end := hub[i%len(hub)]
		c.add(end, c.members[name][0])
		c.add(c.members[name][0], end)
	}
}

func (c *choice) random(seed string) {
	sum := fnv.New64a()
	sum.Write([]byte(seed)) // never fails
	dice := rand.New(rand.NewPCG(sum.Sum64(), 0))
	for from := range c.hosts {
		for range randomPeers {
			c.add(from, dice.IntN(len(c.hosts)))
		}
	}
}
