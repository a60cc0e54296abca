package report

import (
	"bytes"
	"strings"
	"testing"
)

func TestDiffText(t *testing.T) {
	before, after := passedRun(), lose(passedRun(), StageContainer)
	before.Run, after.Run, after.Verb = 3, 4, "verify"
	d := Diff{Version: 1, Lab: "lu", Before: before.Summary(), After: after.Summary(), Differences: []Difference{
		{Broke, "probe", "ping cn1 -> cn2 in lu-br0", "pass, 1 of 1", "fail, 0 of 3", "no route" + evil},
		{Slower, "stage", "guest on host1", "3.00 s", "8.00 s", ""},
		{New, "endpoint", "container cn3 in lu-br0", "", "192.168.100.13 on host1", ""},
	}}
	var out, coloured bytes.Buffer
	if err := WriteDiffText(&out, d, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "diff.txt", out.Bytes())
	if err := WriteDiffText(&coloured, d, TextOptions{Color: true}); err != nil {
		t.Fatal(err)
	}
	if got := escapes.ReplaceAllString(coloured.String(), ""); got != out.String() || got == coloured.String() {
		t.Errorf("in colour: %q", coloured.String())
	}
	out.Reset()
	if err := WriteDiffJSON(&out, d); err != nil {
		t.Fatal(err)
	}
	golden(t, "diff.json", out.Bytes())

	out.Reset()
	d.Differences = nil
	if err := WriteDiffText(&out, d, TextOptions{}); err != nil || !strings.Contains(out.String(), "nothing broke") {
		t.Errorf("of equal runs: %v, %q", err, out.String())
	}
}

func TestRunsText(t *testing.T) {
	first, second := passedRun(), unreachableHost()
	first.Run, second.Run = 9, 10
	var out bytes.Buffer
	if err := WriteRunsText(&out, "lu", []Summary{first.Summary(), second.Summary()}, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "runs.txt", out.Bytes())
}
