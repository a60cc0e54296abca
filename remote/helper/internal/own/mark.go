package own

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"vxorch/remote/hostapi"
)

// The kernel keeps at most 255 bytes of an interface alias (IFALIASZ less the
// final NUL). A lab's name has at most maxLab; the other values are cut so that
// the longest mark fits:
// len("vxorch lab= for= by=@") + 20 + 96 + 48 + 64 = 249.
const (
	maxLab        = 20
	maxFor        = 96
	maxUser       = 48
	maxController = 64
)

// FormatMark writes m as an interface alias:
//
//	vxorch lab=lu for=cn1 by=alice@laptop
//
// Values are untrusted text. Every byte but letters, digits and "._:+-" is
// written as %XX, so that no value can pass for another field; longer ones are
// cut. Intended is not part of a mark.
func FormatMark(m hostapi.Mark) string {
	return "vxorch lab=" + escape(m.Lab, maxLab) + " for=" + escape(m.For, maxFor) +
		" by=" + escape(m.User, maxUser) + "@" + escape(m.Controller, maxController)
}

// ParseMark reads what FormatMark wrote. Anything else, however similar, is not
// a mark.
func ParseMark(alias string) (hostapi.Mark, bool) {
	rest, ok := strings.CutPrefix(alias, "vxorch lab=")
	if !ok {
		return hostapi.Mark{}, false
	}
	lab, rest, okFor := strings.Cut(rest, " for=")
	name, by, okBy := strings.Cut(rest, " by=")
	user, controller, okAt := strings.Cut(by, "@")
	if !okFor || !okBy || !okAt {
		return hostapi.Mark{}, false
	}
	m := hostapi.Mark{Lab: unescape(lab), For: unescape(name), User: unescape(user), Controller: unescape(controller)}
	return m, m.Lab != "" && FormatMark(m) == alias
}

// Describe says, for people, to whom a link or namespace with this alias
// belongs.
func Describe(alias string) string {
	m, ok := ParseMark(alias)
	if !ok {
		return "not made by vxorch"
	}
	return fmt.Sprintf("of lab %q, made by %q from %q", m.Lab, m.User, m.Controller)
}

// escape gives s with unsafe bytes as %XX, at most limit bytes of it, cut
// between characters.
func escape(s string, limit int) string {
	var out strings.Builder
	for len(s) > 0 {
		_, size := utf8.DecodeRuneInString(s)
		var char strings.Builder
		for _, b := range []byte(s[:size]) {
			if safe(b) {
				char.WriteByte(b)
			} else {
				fmt.Fprintf(&char, "%%%02X", b)
			}
		}
		if out.Len()+char.Len() > limit {
			break
		}
		out.WriteString(char.String())
		s = s[size:]
	}
	return out.String()
}

// unescape undoes escape. A malformed %XX stays as it is: ParseMark then finds
// that the text is not its own.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if b, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out.WriteByte(byte(b))
				i += 2
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

func safe(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("._:+-", b) >= 0
}
