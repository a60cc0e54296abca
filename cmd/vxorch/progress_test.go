package main

import (
	"strings"
	"testing"

	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
)

func TestLinesTellSparselyWhatGoesOnForLong(t *testing.T) {
	var b strings.Builder
	p, err := newProgress("lines", &b, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.event(run.Event{Host: "a", Stage: "guest"})
	for s := range 45 {
		p.event(run.Event{Host: "a", Stage: "guest", Note: "waits", Seconds: float64(s)})
	}
	p.event(run.Event{Host: "a", Stage: "guest", Done: true, Result: report.OK, Seconds: 45})
	p.event(run.Event{Host: "a", Stage: "guest", Note: "waits again", Seconds: 1})
	want := strings.Repeat("a guest waits …\n", 3) + "a guest ok in 45s\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}
