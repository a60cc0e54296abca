package trace

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"vxorch/orchestrator/packets"
	"vxorch/orchestrator/report"
)

// WriteJSON writes r for programs.
func WriteJSON(w io.Writer, r *Result) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// WriteText writes r for people: the way from top to bottom, what went down it on
// the left, what came up it on the right.
func WriteText(w io.Writer, r *Result, o report.TextOptions) error {
	t := painter{o.Color}
	var b strings.Builder
	verdict := t.paint(green, "answered in "+duration(r.RTT))
	if r.Result != Answered {
		verdict = t.paint(red, "LOST")
	}
	fmt.Fprintf(&b, "%s → %s in %s: %s\n", t.named(r.From), t.named(r.To), r.Network, verdict)
	for _, s := range r.sections() {
		b.WriteString("\n")
		r.ladder(&b, t, s)
	}
	if r.Reason != "" {
		fmt.Fprintf(&b, "\n%s %s\n", t.paint(red, "✗"), report.Clean(r.Reason))
		if r.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", report.Clean(r.Hint))
		}
	}
	r.clocks(&b, t)
	if r.Missed > 0 {
		fmt.Fprintf(&b, "%d packets came quicker than they could be copied: what was not seen may have been there\n", r.Missed)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// named is an end's name and address.
func (p painter) named(e End) string {
	if e.Name == e.Address.String() {
		return p.paint(bold, e.Name)
	}
	return p.paint(bold, e.Name) + " " + e.Address.String()
}

// section is what one ladder shows.
type section struct {
	downTitle, upTitle string
	down, up           *Flight // nil: not seen at all
}

// sections are the ladders that say something: the ping's, and of those of who has
// an address the one that it waited for in vain.
func (r *Result) sections() (all []section) {
	find := func(what string, back bool) *Flight {
		for i, f := range r.Flights {
			if f.What == what && f.Back == back {
				return &r.Flights[i]
			}
		}
		return nil
	}
	ping := section{"request ↓", "reply ↑", find(whatRequest, false), find(whatReply, true)}
	ask := section{"who has " + r.To.Name + "? ↓", "answer ↑", find(whatAsk, false), find(whatAnswer, true)}
	back := section{"answer ↓", "who has " + r.From.Name + "? ↑", find(whatAnswer, false), find(whatAsk, true)}
	switch {
	case r.Result == Answered:
		return []section{ping}
	case ping.down == nil && ask.down != nil:
		return []section{ask}
	case ping.up == nil && back.up != nil:
		return []section{ping, back}
	}
	return []section{ping}
}

// Columns of a ladder, in characters.
const (
	hostWidth = 10
	timeWidth = 17
	railWidth = 5
)

func (r *Result) ladder(b *strings.Builder, t painter, s section) {
	host := hostWidth
	for _, h := range r.Hops {
		host = max(host, utf8.RuneCountInString(h.Host)+1)
	}
	width := max(timeWidth, utf8.RuneCountInString(s.downTitle)+1)
	fmt.Fprintf(b, "%s%s%s%s\n", strings.Repeat(" ", host), t.paint(dim, right(s.downTitle, width)), strings.Repeat(" ", railWidth+2), t.paint(dim, s.upTitle))
	for i, h := range r.Hops {
		name := ""
		if i == 0 || r.Hops[i-1].Host != h.Host {
			name = h.Host
		}
		if i > 0 && name != "" {
			r.wire(b, t, s, host, width, i)
		}
		downTime, downRail := s.down.rung(i, len(r.Hops))
		upTime, upRail := s.up.rung(i, len(r.Hops))
		line := fmt.Sprintf("%s%s %s   %s %s %s", t.paint(bold, left(name, host)), right(downTime, width), t.rail(downRail), t.rail(upRail), left(upTime, width), r.describe(h))
		if h.Error != "" {
			line += "  " + t.paint(red, "✗ "+report.Clean(h.Error))
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// wire is the line between two hosts.
func (r *Result) wire(b *strings.Builder, t painter, s section, host, width, below int) {
	through := func(f *Flight) string {
		if f.at(below) != nil && f.at(below-1) != nil {
			return "┃"
		}
		return " "
	}
	line := func(n int) string { return t.paint(dim, strings.Repeat("╌", n)) }
	words := ""
	if tunnel := s.tunnel(below-1, below); tunnel != nil {
		words = fmt.Sprintf(" %s → %s, UDP %d, VNI %d", tunnel.From, tunnel.To, tunnel.Port, tunnel.VNI)
	}
	fmt.Fprintf(b, "%s%s %s %s %s %s%s\n", strings.Repeat(" ", host), line(width), t.rail(through(s.down)), line(1), t.rail(through(s.up)), line(width), t.paint(dim, words))
}

// tunnel is what was around the packet that went down, between two hops.
func (s section) tunnel(hops ...int) *packets.Tunnel {
	for _, f := range []*Flight{s.down, s.up} {
		for _, hop := range hops {
			if x := f.at(hop); x != nil && x.Tunnel != nil {
				return x.Tunnel
			}
		}
	}
	return nil
}

// at is the sighting at a hop, nil if there is none.
func (f *Flight) at(hop int) *Sighting {
	if f == nil {
		return nil
	}
	for i := range f.Seen {
		if f.Seen[i].Hop == hop {
			return &f.Seen[i]
		}
	}
	return nil
}

// rung is the time and the rail of a flight at a hop.
func (f *Flight) rung(hop, hops int) (at, rail string) {
	if f == nil {
		return "", " "
	}
	before, end := hop-1, "▼"
	if f.Back {
		before, end = hop+1, "▲"
	}
	s := f.at(hop)
	switch {
	case s == nil && f.at(before) != nil:
		return "not seen", "✗"
	case s == nil:
		return "", " "
	case !f.Back && hop == hops-1, f.Back && hop == 0:
		return s.text(), end
	}
	return s.text(), "┃"
}

// text is the time of a sighting.
func (s *Sighting) text() string {
	if s.Within == 0 {
		return fmt.Sprintf("%.1f µs", s.At)
	}
	return fmt.Sprintf("%.0f ± %.0f µs", s.At, s.Within)
}

func (r *Result) describe(h HopState) string {
	h.Link = report.Clean(h.Link) // the underlay's is the host's word
	switch h.Kind {
	case Inner:
		return fmt.Sprintf("%s of %s", h.Link, h.Of)
	case Port:
		return fmt.Sprintf("%s, %s's port of %s", h.Link, h.Of, r.Network)
	case VTEP:
		return h.Link + ", VTEP"
	}
	return h.Link + ", underlay"
}

// clocks says how exact the times are.
func (r *Result) clocks(b *strings.Builder, t painter) {
	if len(r.Clocks) < 2 {
		return
	}
	var all []string
	within := 0.0
	for _, c := range r.Clocks {
		sign := "+"
		if c.Ahead < 0 {
			sign = "−"
		}
		all = append(all, fmt.Sprintf("%s %s%s ± %s", c.Host, sign, duration(max(c.Ahead, -c.Ahead)), duration(c.Within)))
		within += c.Within
	}
	fmt.Fprintf(b, "\n%s\n", t.paint(dim, fmt.Sprintf("clocks, taken out of the times: %s; so times of the two hosts compare to ± %s", strings.Join(all, ", "), duration(within))))
}

// duration is so many microseconds, short.
func duration(micros float64) string {
	switch d := time.Duration(micros * 1000); {
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", micros)
	case d < time.Second:
		return fmt.Sprintf("%.2f ms", micros/1000)
	}
	return fmt.Sprintf("%.4f s", micros/1e6)
}

func right(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s))) + s
}

func left(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// painter colours text where that is wanted.
type painter struct{ on bool }

// SGR parameters (ECMA-48 §8.3.117).
const (
	bold  = "1"
	dim   = "2"
	red   = "31;1"
	green = "32"
)

func (p painter) paint(how, s string) string {
	if !p.on || strings.TrimSpace(s) == "" {
		return s
	}
	return "\x1b[" + how + "m" + s + "\x1b[0m"
}

func (p painter) rail(s string) string {
	if s == "✗" {
		return p.paint(red, s)
	}
	return p.paint(green, s)
}
