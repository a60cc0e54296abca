package hostapi

import (
	"strings"
	"unicode"
)

// OneLine gives words of another program on one line, without what a terminal
// would obey.
func OneLine(words string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return -1
	}, strings.ToValidUTF8(strings.TrimSpace(words), "?"))
}
