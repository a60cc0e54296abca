package sshconn

import (
	"fmt"
	"strings"
	"sync"
	"unicode"
)

// tailHalf bounds what tail keeps of the beginning, and of the end.
const tailHalf = 4 << 10 // bytes

// tail is a writer that keeps the beginning and the end of what it is given.
type tail struct {
	mu      sync.Mutex
	first   []byte
	last    []byte
	dropped int // bytes between
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	room := min(tailHalf-len(t.first), len(p))
	t.first = append(t.first, p[:room]...)
	t.last = append(t.last, p[room:]...)
	if over := len(t.last) - tailHalf; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
		t.dropped += over
	}
	return n, nil
}

// String gives it as text that cannot do anything to a terminal.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := string(t.first)
	if t.dropped > 0 {
		text += fmt.Sprintf("\n[… %d bytes …]\n", t.dropped)
	}
	return clean(text + string(t.last))
}

// clean drops control characters, line breaks and tabs aside, and what is not
// UTF-8.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, "?"))
}
