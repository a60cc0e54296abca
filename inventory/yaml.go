package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// document reads the one YAML document of data and gives its root, or nil when
// it noted why there is none. In the tree below it every alias is replaced by
// what it stands for.
func (p *parser) document(data []byte) *yaml.Node {
	if len(data) > maxBytes {
		p.errorAt(1, 1, fmt.Sprintf("the inventory is larger than %d MiB", maxBytes>>20))
		return nil
	}
	if line, column, problem := illegalText(data); problem != "" {
		p.errorAt(line, column, problem)
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		p.empty(1, 1)
		return nil
	} else if err != nil {
		p.syntax(data, err)
		return nil
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		p.errorf(&second, "a second YAML document begins here").Hint = "keep one lab in one file"
		return nil
	} else if !errors.Is(err, io.EOF) {
		p.syntax(data, err)
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		p.empty(root.Line, root.Column)
		return nil
	}
	aliases := expander{open: map[*yaml.Node]bool{}}
	if at, problem := aliases.expand(root); problem != "" {
		p.errorf(at, "%s", problem)
		return nil
	}
	return root
}

func (p *parser) empty(line, column int) {
	p.errorAt(line, column, "the inventory is empty").Hint = "vxorch init HOST… writes one to start from"
}

// illegalText finds what the YAML library would refuse without a position.
func illegalText(data []byte) (line, column int, problem string) {
	line, column = 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return line, column, "this is not UTF-8 text"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r >= 0x7f && r < 0xa0 && r != 0x85, r == 0xfffe, r == 0xffff:
			return line, column, fmt.Sprintf("the control character %U is not allowed", r)
		case r == '\n':
			line, column = line+1, 0
		}
		i += size
		column++
	}
	return 0, 0, ""
}

// syntax turns the YAML library's error, whose text is all that tells the line,
// into one with a position.
func (p *parser) syntax(data []byte, err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line, column := 1, 1
	if rest, found := strings.CutPrefix(message, "line "); found {
		if number, text, found := strings.Cut(rest, ": "); found {
			if n, err := strconv.Atoi(number); err == nil {
				line, message = n, text
				// The library counts the lines of its parser's errors from 0 and
				// those of its scanner's from 1; only the words tell them apart.
				if strings.HasPrefix(message, "did not find expected") {
					line++
				}
			}
		}
	}
	if name, found := strings.CutPrefix(message, "unknown anchor '"); found {
		name, _, _ = strings.Cut(name, "'")
		if i := bytes.Index(data, []byte("*"+name)); i >= 0 {
			line = bytes.Count(data[:i], []byte("\n")) + 1
			column = utf8.RuneCount(data[bytes.LastIndexByte(data[:i], '\n')+1:i]) + 1
		}
	}
	hint := ""
	if strings.HasPrefix(message, "unknown anchor ") {
		// The anchor's name may be a password that begins with a star.
		message, hint = "unknown anchor", "&NAME must come before *NAME; text that begins with * needs quotes"
	}
	problem := p.errorAt(line, column, "YAML: "+message)
	problem.Hint = hint
	lines := bytes.Split(data, []byte("\n"))
	if line <= len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[line-1], " "), []byte("\t")) {
		problem.Hint = "indent with spaces, not with tabs"
	}
}

// expander puts what aliases stand for in their place. The result is a graph
// that shares nodes, so the size that counts is that of the walk over it.
type expander struct {
	nodes int
	open  map[*yaml.Node]bool // on the way from the root to here
}

func (e *expander) expand(n *yaml.Node) (at *yaml.Node, problem string) {
	e.open[n] = true
	defer delete(e.open, n)
	for i, child := range n.Content {
		at := child
		if child.Kind == yaml.AliasNode {
			child = child.Alias
			n.Content[i] = child
		}
		if e.nodes++; e.nodes > maxNodes {
			return at, fmt.Sprintf("the inventory has more than %d values, those behind aliases counted each time", maxNodes)
		}
		if e.open[child] {
			return at, "this alias stands inside of what it stands for"
		}
		if at, problem := e.expand(child); problem != "" {
			return at, problem
		}
	}
	return nil, ""
}

// entry is one key of a mapping with its value.
type entry struct{ key, value *yaml.Node }

// fields are the entries of a mapping by key.
type fields map[string]entry

// entries reads a mapping in the order of the file. Nothing at all counts as an
// empty one, so that `lan:` is a network with every default.
func (p *parser) entries(n *yaml.Node, what string) ([]entry, bool) {
	if isNull(n) {
		return nil, true
	}
	if n.Kind != yaml.MappingNode {
		p.wrongType(n, what, "a mapping")
		return nil, false
	}
	var list []entry
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			p.errorf(key, "merge keys are not supported").Hint = "give an alias as the whole value, or write the keys out"
			continue
		}
		name, ok := p.str(key, "a key of "+what)
		if !ok {
			continue
		}
		if first, found := seen[name]; found {
			p.errorf(key, "key %q is already given (%s)", name, p.at(first)).Hint = "keep one of them"
			continue
		}
		seen[name] = key
		list = append(list, entry{key, value})
	}
	return list, true
}

// fields reads a mapping that may have the allowed keys only; nil if n is none.
func (p *parser) fields(n *yaml.Node, what string, allowed ...string) fields {
	list, ok := p.entries(n, what)
	if !ok {
		return nil
	}
	known := fields{}
	for _, e := range list {
		if name := e.key.Value; !slices.Contains(allowed, name) {
			p.errorf(e.key, "unknown key %q in %s", name, what).Hint = p.suggest(name, allowed)
			continue
		}
		known[e.key.Value] = e
	}
	return known
}

// items reads a list; where one is not, its only item is the value itself.
func items(n *yaml.Node) []*yaml.Node {
	if n.Kind == yaml.SequenceNode {
		return n.Content
	}
	return []*yaml.Node{n}
}

// str reads text. A number is text too, as it is written: hosts may be called 01.
func (p *parser) str(n *yaml.Node, what string) (string, bool) {
	if n.Kind == yaml.ScalarNode {
		switch n.ShortTag() {
		case "!!str", "!!int", "!!float", "!!timestamp":
			if n.Value == "" {
				p.errorf(n, "%s is empty", what)
				return "", false
			}
			return n.Value, true
		case "!!bool":
			p.errorf(n, "%s must be text, not %s", what, n.Value).Hint = fmt.Sprintf("put it into quotes: %q", n.Value)
			return "", false
		}
	}
	p.wrongType(n, what, "text")
	return "", false
}

// duration gives a time with its unit; examples are some for the hint.
func (p *parser) duration(n *yaml.Node, what, examples string) (time.Duration, bool) {
	text, ok := p.str(n, what)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		p.errorf(n, "%s %q is not a time", what, text).Hint = "write it as in " + examples
		return 0, false
	}
	return d, true
}

// integer reads a decimal number from low to high. Leading zeros are refused:
// YAML takes them for octal, people do not.
func (p *parser) integer(n *yaml.Node, what string, low, high int) (int, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		p.wrongType(n, what, "a whole number")
		return 0, false
	}
	value, err := strconv.Atoi(n.Value)
	switch {
	case errors.Is(err, strconv.ErrRange):
	case err != nil || strconv.Itoa(value) != n.Value:
		p.errorf(n, "%s must be a plain decimal number, not %s", what, n.Value)
		return 0, false
	case value >= low && value <= high:
		return value, true
	}
	p.errorf(n, "%s %s is outside %d…%d", what, n.Value, low, high)
	return 0, false
}

func (p *parser) boolean(n *yaml.Node, what string) bool {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		p.wrongType(n, what, "true or false")
		return false
	}
	return strings.EqualFold(n.Value, "true")
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

func (p *parser) wrongType(n *yaml.Node, what, want string) {
	got := fmt.Sprintf("%q", n.Value)
	switch {
	case n.Kind == yaml.MappingNode:
		got = "a mapping"
	case n.Kind == yaml.SequenceNode:
		got = "a list"
	case isNull(n):
		p.errorf(n, "%s is empty: it must be %s", what, want)
		return
	case n.Style&yaml.TaggedStyle != 0:
		got = n.ShortTag()
	}
	p.errorf(n, "%s must be %s, not %s", what, want, got)
}
