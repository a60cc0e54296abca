package report

import (
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxClean bounds what Clean gives, in characters.
const maxClean = 2000

// escapes matches terminal control sequences (ECMA-48 §5.4, §5.6) with all that
// belongs to them, so that no "[31m" stays behind.
var escapes = regexp.MustCompile(
	"(?:\x1b\\[|\u009b)[0-?]*[ -/]*[@-~]" + // CSI: colours, cursor
		"|(?:\x1b[\\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\x07\x1b\u009c]*(?:\x07|\x1b\\\\|\u009c)" + // OSC, DCS: titles, links
		"|\x1b[ -/]*[0-~]")

// Clean makes text that came from a host fit to be shown on one line of a
// terminal: control characters, escape sequences and invisible characters are
// taken out, any run of white space becomes one space, and what is longer than
// 2000 characters ends with "…".
func Clean(s string) string {
	// Far more than is shown, far less than would hurt.
	const enough = 16 * maxClean
	if len(s) > enough {
		s = s[:enough]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = escapes.ReplaceAllString(s, "")
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) > maxClean {
		s = string([]rune(s)[:maxClean-1]) + "…"
	}
	return s
}

// cleaned gives a copy of r with every text in it made fit to be shown.
func cleaned(r *Result) *Result {
	c := presentable(r)
	cleanTexts(reflect.ValueOf(c).Elem())
	return c
}

// cleanTexts cleans every text that v holds: one that is added to the model
// cannot be forgotten here.
func cleanTexts(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(Clean(v.String()))
	case reflect.Slice:
		for i := range v.Len() {
			cleanTexts(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() { // a time has none
				cleanTexts(v.Field(i))
			}
		}
	}
}
