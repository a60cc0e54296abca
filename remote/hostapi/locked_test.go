package hostapi_test

import (
	"errors"
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
