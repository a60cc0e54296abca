package main

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// look is how the live lines look on a terminal.
type look struct {
	color     bool
	good, bad string
	up, more  string
	spin      []string
}

// lookOf takes the signs that the locale has, and colours unless they are not
// wanted.
func lookOf(getenv func(string) string) look {
	locale := getenv("LC_ALL")
	if locale == "" {
		locale = getenv("LC_CTYPE")
	}
	if locale == "" {
		locale = getenv("LANG")
	}
	l := look{color: getenv("NO_COLOR") == "", good: "+", bad: "x", up: "^", more: "...", spin: []string{"-", "\\", "|", "/"}}
	if name := strings.ToLower(locale); strings.Contains(name, "utf-8") || strings.Contains(name, "utf8") {
		l.good, l.bad, l.up, l.more = "✓", "✗", "↑", "…"
		l.spin = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
	}
	return l
}

// Colours, as SGR parameters.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

// styled is a line in pieces of one colour each.
type styled []piece

type piece struct{ color, text string }

func (t styled) width() int {
	n := 0
	for _, p := range t {
		n += runewidth.StringWidth(p.text)
	}
	return n
}

// cut shortens a line to so many columns.
func (t styled) cut(columns int) styled {
	var short styled
	for _, p := range t {
		w := runewidth.StringWidth(p.text)
		if w > columns {
			p.text = runewidth.Truncate(p.text, columns, "")
			return append(short, p)
		}
		columns -= w
		short = append(short, p)
	}
	return short
}

func (t styled) String(look look) string {
	var b strings.Builder
	for _, p := range t {
		if p.color == "" || !look.color {
			b.WriteString(p.text)
		} else {
			b.WriteString("\x1b[" + p.color + "m" + p.text + "\x1b[0m")
		}
	}
	return b.String()
}
