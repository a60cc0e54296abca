package hostapi

import "testing"

func TestOneLineCannotDoAnythingToATerminal(t *testing.T) {
	for words, want := range map[string]string{
		"":                                     "",
		" refused\r\n":                         "refused",
		"a\r\nb\tc\x00":                        "a b c",
		"\x1b[31mred\x1b[0m\a":                 "[31mred[0m",
		"a\u202eb\u00ad":                       "ab", // turns the direction; a soft hyphen
		"no UTF-8: \xff\xfe, but this: Zürich": "no UTF-8: ?, but this: Zürich",
	} {
		if got := OneLine(words); got != want {
			t.Errorf("OneLine(%q) = %q, want %q", words, got, want)
		}
	}
}
