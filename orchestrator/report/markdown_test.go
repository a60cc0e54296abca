package report

import (
	"bytes"
	"strings"
	"testing"
)

func TestMarkdown(t *testing.T) {
	all := cases()
	all["evil"] = evilRun()
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := WriteMarkdown(&out, r); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".md", out.Bytes())
		})
	}
}

func TestMarkdownIsBounded(t *testing.T) {
	r := bigMesh()
	for i := range r.Probes {
		r.Probes[i].Result, r.Probes[i].Error, r.Probes[i].Hint = Fail, strings.Repeat("long ", 400), strings.Repeat("long ", 400)
	}
	for range 100 {
		r.Hosts = append(r.Hosts, Host{Name: "h", Result: Failed, Error: strings.Repeat("é*", 1000)})
	}
	var out bytes.Buffer
	if err := WriteMarkdown(&out, r); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 65536 || !strings.Contains(out.String(), "does not fit") {
		t.Errorf("%d bytes:\n%.2000s", out.Len(), out.String())
	}
}
