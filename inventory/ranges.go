package inventory

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// numbers is one [FIRST-LAST] of a text. Zeros in front of FIRST are kept: from
// 01 to 16 all have two digits.
type numbers struct {
	first, last int
	width       int // least number of digits
}

// pattern is a text with ranges in it, as in node[01-16]. Several ranges step
// together, so they must be equally long. Digits are text: in an IPv6 address
// [9-11] gives 9, 10 and 11, not 9, a and b.
type pattern struct {
	texts  []string // one more than ranges
	ranges []numbers
}

func parsePattern(text string) (pattern, error) {
	var p pattern
	for {
		before, rest, found := strings.Cut(text, "[")
		if strings.Contains(before, "]") {
			return pattern{}, errors.New("has a ] without a [")
		}
		p.texts = append(p.texts, before)
		if !found {
			return p, nil
		}
		inside, after, found := strings.Cut(rest, "]")
		if !found {
			return pattern{}, errors.New("has a [ without a ]")
		}
		n, err := parseNumbers(inside)
		if err != nil {
			return pattern{}, err
		}
		if len(p.ranges) > 0 && n.count() != p.ranges[0].count() {
			return pattern{}, fmt.Errorf("has ranges of %d and %d: they must be equally long", p.ranges[0].count(), n.count())
		}
		p.ranges = append(p.ranges, n)
		text = after
	}
}

func parseNumbers(inside string) (numbers, error) {
	first, last, found := strings.Cut(inside, "-")
	if !found || !isDigits(first) || !isDigits(last) {
		return numbers{}, fmt.Errorf("has [%s], which is no range such as [1-16] or [01-16]", inside)
	}
	low, lowErr := strconv.Atoi(first)
	high, highErr := strconv.Atoi(last)
	switch {
	case lowErr != nil || highErr != nil || high-low >= maxHosts:
		return numbers{}, fmt.Errorf("has [%s], which is more than %d hosts", inside, maxHosts)
	case low > high:
		return numbers{}, fmt.Errorf("has [%s], which ends before it begins", inside)
	case (first[0] == '0' && len(first) > 1 || last[0] == '0') && len(first) != len(last):
		return numbers{}, fmt.Errorf("has [%s], whose ends differ in their number of digits", inside)
	}
	n := numbers{first: low, last: high}
	if first[0] == '0' {
		n.width = len(first)
	}
	return n, nil
}

func (n numbers) count() int { return n.last - n.first + 1 }

// count is the number of texts that p stands for.
func (p pattern) count() int {
	if len(p.ranges) == 0 {
		return 1
	}
	return p.ranges[0].count()
}

// nth is the text number i, from 0. A text without a range is always itself.
func (p pattern) nth(i int) string {
	var b strings.Builder
	for r, n := range p.ranges {
		fmt.Fprintf(&b, "%s%0*d", p.texts[r], n.width, n.first+i)
	}
	b.WriteString(p.texts[len(p.texts)-1])
	return b.String()
}

func isDigits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}
