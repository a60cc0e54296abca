package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// maxErrors bounds what one inventory can make a terminal scroll by.
const maxErrors = 1000

// Error is one problem of an inventory, at its position.
type Error struct {
	File    string
	Line    int // from 1
	Column  int // from 1, in characters
	Message string
	Hint    string // the way out; empty where the message says it all
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors is every problem of an inventory, in the order of their positions; at
// most a thousand and one, of which the last then says that there are more.
type Errors []*Error

// Error gives one line a problem, without the hints.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, problem := range e {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As and errors.Is look at each problem.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, problem := range e {
		errs[i] = problem
	}
	return errs
}

// errorf notes a problem at n. The caller may add a hint to what it returns.
func (p *parser) errorf(n *yaml.Node, format string, args ...any) *Error {
	return p.errorAt(n.Line, n.Column, fmt.Sprintf(format, args...))
}

func (p *parser) errorAt(line, column int, message string) *Error {
	e := &Error{File: p.file, Line: max(line, 1), Column: max(column, 1), Message: message}
	if !p.full() {
		p.errs = append(p.errs, e)
	}
	return e
}

func (p *parser) full() bool { return len(p.errs) > maxErrors }

// at names the position of n inside a message about another one.
func (p *parser) at(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", p.file, max(n.Line, 1), max(n.Column, 1))
}

// showable makes text that quotes from a file fit for a terminal: without
// control characters, and of a length to read.
func showable(text string) string {
	const limit = 300
	runes := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, text))
	if len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return string(runes)
}

// err is every problem noted, sorted; nil if there is none. What an alias
// repeats is told once.
func (p *parser) err() error {
	if len(p.errs) == 0 {
		return nil
	}
	for _, e := range p.errs {
		e.Message, e.Hint = showable(e.Message), showable(e.Hint)
	}
	full := p.full()
	slices.SortStableFunc(p.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	p.errs = slices.CompactFunc(p.errs, func(a, b *Error) bool { return *a == *b })
	if full {
		last := p.errs[len(p.errs)-1]
		p.errs = append(p.errs, &Error{File: p.file, Line: last.Line, Column: last.Column,
			Message: "too many problems: there may be more than these"})
	}
	return p.errs
}
