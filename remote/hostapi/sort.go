package hostapi

import "sort"

// SortFunc sorts list as slices.SortFunc does, which is compiled anew for every
// type of element: 17 kB each, in a helper that is sent to every host.
func SortFunc[T any](list []T, compare func(a, b T) int) {
	sort.Sort(comparing[T]{list, compare})
}

type comparing[T any] struct {
	list    []T
	compare func(a, b T) int
}

func (c comparing[T]) Len() int           { return len(c.list) }
func (c comparing[T]) Less(i, j int) bool { return c.compare(c.list[i], c.list[j]) < 0 }
func (c comparing[T]) Swap(i, j int)      { c.list[i], c.list[j] = c.list[j], c.list[i] }
