package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

// FuzzWriteAnyResult writes results in which hosts had their say.
func FuzzWriteAnyResult(f *testing.F) {
	f.Add([]byte(`{"lab":"lu","verb":"deploy","result":"fail","hosts":[{"name":"h","result":"failed","error":"\u001b[31m","stages":[{"name":"x","notes":["\u009b2J"]}]}],
		"probes":[{"stage":"mesh","network":"n","from":"a","from_host":"h","to":"b","to_host":"h","sent":-1,"received":1,"rtt_ms":{"avg":1e300},"result":"pass"}],
		"findings":[{"probes":[7,-1]}],"topology":{"networks":[{"name":"n"}],"endpoints":[{"name":"a","network":"n"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var r Result
		if json.Unmarshal(text, &r) != nil {
			return
		}
		r.Sort()
		var out bytes.Buffer
		if err := WriteText(&out, &r, TextOptions{}); err != nil {
			t.Error(err)
		}
		if i := strings.IndexFunc(out.String(), func(c rune) bool { return unicode.IsControl(c) && c != '\n' }); i >= 0 {
			t.Errorf("a control character in the report: %q", out.String()[i:])
		}
		if err := WriteJSON(&out, &r); err != nil {
			t.Error(err)
		}
	})
}
