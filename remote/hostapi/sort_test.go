package hostapi

import (
	"cmp"
	"slices"
	"testing"
)

func TestSortFuncSortsAsTheLibraryDoes(t *testing.T) {
	list := []string{"b", "", "c", "a", "b", "aa"}
	for range 6 { // long enough that it is not insertion alone
		list = append(list, list...)
	}
	want := slices.Sorted(slices.Values(list))
	SortFunc(list, cmp.Compare[string])
	if !slices.Equal(list, want) {
		t.Errorf("SortFunc gave %q, want %q", list, want)
	}
	SortFunc(nil, cmp.Compare[string])
}
