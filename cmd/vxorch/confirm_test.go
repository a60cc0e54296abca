package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"vxorch/orchestrator/plan"
	"vxorch/remote/hostapi"
)

func TestOnlyWhatAnotherMadeOrHasADiskIsAskedAbout(t *testing.T) {
	mine := hostapi.Mark{Lab: "lu", For: "cn1", User: "alice", Controller: "laptop"}
	theirs := hostapi.Mark{Lab: "lu", For: "cn1", User: "bob", Controller: "laptop"}
	elsewhere := hostapi.Mark{Lab: "lu", For: "cn1", User: "alice", Controller: "ci"}
	removal := func(kind string, m hostapi.Mark, anew bool) plan.Removal {
		return plan.Removal{Host: "host1", Kind: kind, Name: "lu-cn1", Mark: m, Anew: anew}
	}
	for name, c := range map[string]struct {
		removals []plan.Removal
		line     string
		asked    bool
	}{
		"one's own container":         {[]plan.Removal{removal(hostapi.KindNamespace, mine, false)}, "no longer in the inventory: cn1 on host1 (lu-cn1)", false},
		"another user's":              {[]plan.Removal{removal(hostapi.KindNamespace, theirs, false)}, "no longer in the inventory: cn1 on host1 (lu-cn1, made by bob@laptop)", true},
		"from another controller":     {[]plan.Removal{removal(hostapi.KindNamespace, elsewhere, false)}, "no longer in the inventory: cn1 on host1 (lu-cn1, made by alice@ci)", true},
		"one's own and another's":     {[]plan.Removal{removal(hostapi.KindNamespace, mine, false), removal(hostapi.KindNamespace, theirs, false)}, "bob@laptop", true},
		"one's own VM":                {[]plan.Removal{removal(hostapi.KindDomain, mine, false)}, "no longer in the inventory, what is on its disk is lost: cn1 on host1 (lu-cn1)", true},
		"one's own VM, made anew":     {[]plan.Removal{removal(hostapi.KindDomain, mine, true)}, "made anew, what is on its disk is lost: cn1 on host1 (lu-cn1)", true},
		"what a run left as it died":  {[]plan.Removal{removal(hostapi.KindNamespace, hostapi.Mark{Lab: "lu", Intended: true}, false)}, "no longer in the inventory: lu-cn1 on host1 (lu-cn1, left half made by a run that died)", false},
		"files of a VM that vanished": {[]plan.Removal{removal(hostapi.KindDomain, hostapi.Mark{Lab: "lu", Intended: true}, false)}, "left half made", true},
	} {
		t.Run(name, func(t *testing.T) {
			var shown bytes.Buffer
			a := asker{ctx: t.Context(), s: streams{in: strings.NewReader(""), err: &shown}, hold: func() func() { return func() {} }, user: "alice", machine: "laptop"}
			err := a.confirmRemovals(plan.Plan{Removals: c.removals})
			var usage *usageError
			if asked := errors.As(err, &usage); asked != c.asked || asked && usage.hint != "--yes answers it" {
				t.Errorf("confirmRemovals gives %v, want that it asks: %t", err, c.asked)
			}
			if !strings.Contains(shown.String(), c.line) {
				t.Errorf("shown %q, want %q", shown.String(), c.line)
			}
			a.yes = true
			if err := a.confirmRemovals(plan.Plan{Removals: c.removals}); err != nil {
				t.Errorf("with --yes: %v", err)
			}
		})
	}
}
