package console

import (
	"strings"
	"unicode"
)

// keep is how much of what a guest said is kept, and thereby how much a command
// may say.
const keep = 1 << 20 // bytes

// screen is the text that a guest sent, without its escape sequences and control
// characters, its lines ending with \n alone. The zero value is empty.
type screen struct {
	text    []byte
	dropped int64 // bytes that were before text

	state  state
	begun  int    // bytes of the sequence so far
	params []byte // of a control sequence
	cr     bool   // the last was \r

	asked int64 // the place at which the guest asked last where the cursor is
}

// state is where in an escape sequence (ECMA-48) the text stands.
type state byte

const (
	ground  state = iota
	escape        // after ESC
	between       // after ESC and an intermediate byte: one more follows
	control       // after ESC [
	str           // after ESC ], P, X, ^ or _: up to BEL or ESC \
	strEsc        // after ESC in a string
)

// write takes what came and gives what a terminal would reply to it.
func (s *screen) write(b []byte) (replies []string) {
	for _, c := range b {
		if reply := s.put(c); reply != "" {
			replies = append(replies, reply)
		}
	}
	// Not at every byte too many: that would move all of them each time.
	if over := len(s.text) - keep; over > keep/4 {
		s.dropped += int64(over)
		s.text = append(s.text[:0], s.text[over:]...)
	}
	return replies
}

// longest is the length of a sequence after which it is none: a guest that begins
// one by chance must not make us deaf.
const longest = 4096

func (s *screen) put(c byte) (reply string) {
	if s.state != ground {
		s.begun++
		newline := c == '\n' || c == '\r'
		if s.begun > longest || newline || c == 0x18 || c == 0x1a {
			s.state = ground // and what ends it counts
		}
	}
	switch s.state {
	case escape:
		s.escaped(c)
	case between:
		if c < 0x20 || c > 0x2f {
			s.state = ground
		}
	case control:
		switch {
		case c == 0x1b:
			s.state, s.begun = escape, 0
		case c >= 0x40 && c <= 0x7e:
			s.state = ground
			if reply = terminal(string(s.params), c); reply == cursor {
				s.asked = s.end()
			}
			return reply
		case len(s.params) < 16:
			s.params = append(s.params, c)
		}
	case str:
		switch c {
		case 0x07:
			s.state = ground
		case 0x1b:
			s.state = strEsc
		}
	case strEsc:
		s.state = str
		if c == '\\' {
			s.state = ground
		}
	case ground:
		s.plain(c)
	}
	return ""
}

func (s *screen) escaped(c byte) {
	switch {
	case c == '[':
		s.state, s.params = control, s.params[:0]
	case strings.IndexByte("]PX^_", c) >= 0:
		s.state = str
	case c >= 0x20 && c <= 0x2f:
		s.state = between
	case c == 0x1b:
		s.begun = 0
	default:
		s.state = ground
	}
}

func (s *screen) plain(c byte) {
	// However many \r before a \n are one line's end; one alone goes back to the
	// beginning of a line, where a new one begins here.
	if s.cr && c != '\r' && c != '\n' {
		s.text = append(s.text, '\n')
	}
	s.cr = c == '\r'
	switch {
	case c == 0x1b:
		s.state, s.begun = escape, 0
	case c == '\n' || c == '\t' || c >= 0x20 && c != 0x7f:
		s.text = append(s.text, c)
	}
}

// cursor is the answer to where the cursor is.
const cursor = "\x1b[1;1R"

// terminal is what a terminal answers to a control sequence. Line editors ask
// where the cursor is and wait for an answer (busybox ash) or take what is typed
// for one.
func terminal(params string, final byte) string {
	switch {
	case final == 'n' && params == "6":
		return cursor
	case final == 'n' && params == "5":
		return "\x1b[0n"
	}
	return ""
}

func (s *screen) end() int64 { return s.dropped + int64(len(s.text)) }

// since gives the text from a place on; whole is false if its beginning is not
// kept any more.
func (s *screen) since(place int64) (text string, whole bool) {
	start := max(0, min(place-s.dropped, int64(len(s.text))))
	return string(s.text[start:]), place >= s.dropped
}

// last gives at most that many bytes from the end.
func (s *screen) last(most int) []byte {
	return s.text[max(0, len(s.text)-most):]
}

// printable gives text without what could move a terminal's cursor, newlines
// aside, and without halves of characters.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			return r
		case r == '\t':
			return ' '
		}
		return -1
	}, strings.ToValidUTF8(text, ""))
}
