package hostapi_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"vxorch/remote/hostapi"
)

func TestLockedErrorNamesTheHolder(t *testing.T) {
	err := hostapi.LockedError("lu", hostapi.Holder{
		User: "alice", Controller: "laptop", Verb: "deploy",
		Since: time.Date(2026, 1, 2, 13, 3, 4, 0, time.FixedZone("CET", 3600)),
	})
	const want = `lab "lu" is locked by alice@laptop: deploy, since 2026-01-02 12:03:04 UTC`
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if !errors.Is(err, hostapi.ErrLocked) {
		t.Errorf("%v is not ErrLocked", err)
	}
}

func TestSilentErrorSaysWhenTheLeaseEnds(t *testing.T) {
	for _, c := range []struct {
		silent        time.Duration
		message, hint string
	}{
		{9 * time.Second, "; its connection seems lost: nothing came for 9s", "its lease ends in 6s: run this again then"},
		{time.Hour, "; its connection seems lost: nothing came for 1h0m0s", "its lease ends in 1s: run this again then"},
	} {
		err := hostapi.SilentError("lu", hostapi.Holder{User: "alice", Controller: "laptop"}, c.silent, 15*time.Second)
		if !strings.HasPrefix(err.Message, `lab "lu" is locked by alice@laptop: `) || !strings.HasSuffix(err.Message, c.message) || err.Hint != c.hint {
			t.Errorf("silent for %s: %q, %q; want …%q, %q", c.silent, err.Message, err.Hint, c.message, c.hint)
		}
		if !errors.Is(err, hostapi.ErrLocked) || err.Holder == nil {
			t.Errorf("%+v is not ErrLocked with its holder", err)
		}
	}
}

func TestOfTwoRunsOneIsFirstForBoth(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first, second := hostapi.Holder{Since: now, Run: "a"}, hostapi.Holder{Since: now, Run: "b"}
	later := hostapi.Holder{Since: now.Add(1), Run: "a"}
	for _, pair := range [][2]hostapi.Holder{{first, second}, {first, later}, {second, later}} {
		if !pair[0].Before(pair[1]) || pair[1].Before(pair[0]) {
			t.Errorf("%v and %v: want the first of them before the other", pair[0], pair[1])
		}
	}
	if first.Before(first) {
		t.Error("a run is before itself")
	}
}
