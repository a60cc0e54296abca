package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"vxorch/inventory"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
)

// leastHeight is the fewest lines of a terminal on which hosts can be shown live.
const leastHeight = 5

// redraw is how often the live lines are drawn anew.
const redraw = 100 * time.Millisecond

// live keeps a line a host on a terminal, drawn anew in place, and one below that
// sums up. It draws in one write, which terminals that know how to show at once,
// and looks at their size each time. After its end, which a question makes too,
// the next event begins anew.
//
// The libraries for progress bars know one thing at a time a bar, and leave half
// lines behind when a terminal gets narrower; here a host has stages behind it, one
// under way and bytes on their way besides.
type live struct {
	w    io.Writer
	size func() (width, height int)
	now  func() time.Time
	look look

	mu    sync.Mutex
	state liveState
	stop  chan struct{} // nil while nothing is drawn
	ended chan struct{}
}

func newLive(f *os.File, lab *inventory.Lab) *live {
	l := &live{w: f, now: time.Now, look: lookOf(os.Getenv), size: func() (int, int) {
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 80, 24
		}
		return width, height
	}}
	for _, h := range lab.Hosts {
		l.state.host(h.Name)
	}
	return l
}

func (l *live) event(e run.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.take(e, l.now())
	if l.stop != nil {
		return
	}
	l.stop, l.ended = make(chan struct{}), make(chan struct{})
	go l.keepDrawing(l.stop, l.ended)
}

func (l *live) keepDrawing(stop, ended chan struct{}) {
	defer close(ended)
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			l.mu.Lock()
			l.draw(nil, false)
			l.mu.Unlock()
		case <-stop:
			return
		}
	}
}

// end leaves the lines as they are at last.
func (l *live) end() {
	l.mu.Lock()
	stop, ended := l.stop, l.ended
	l.stop = nil
	l.mu.Unlock()
	if stop == nil {
		return
	}
	close(stop)
	<-ended
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draw(nil, true)
}

// Write puts what others write above the lines.
func (l *live) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop == nil {
		return l.w.Write(text)
	}
	l.draw(text, false)
	return len(text), nil
}

// What a terminal is told, beside text (ECMA-48, and the mode for synchronised
// output, which others ignore).
const (
	beginUpdate = "\x1b[?2026h"
	endUpdate   = "\x1b[?2026l"
	eraseLine   = "\x1b[K"
	eraseBelow  = "\x1b[J"
	wrapOff     = "\x1b[?7l"
	wrapOn      = "\x1b[?7h"
)

// draw needs the lock. Between two drawings the cursor rests on the first line: a
// terminal that gets narrower wraps what stands there and takes the cursor along,
// so that nothing has to be known of how it does that, nor when. For the same
// reason lines are not wrapped while they are drawn: the size may be an old one.
func (l *live) draw(above []byte, last bool) {
	width, height := l.size()
	var b strings.Builder
	b.WriteString(beginUpdate + "\r")
	if len(above) > 0 {
		b.WriteString(eraseBelow)
		b.Write(above)
	}
	b.WriteString(wrapOff)
	lines := l.state.frame(l.look, l.now(), max(width, 20)-1, height-1)
	for _, line := range lines {
		b.WriteString(line.String(l.look) + eraseLine + "\n")
	}
	b.WriteString(eraseBelow)
	if !last {
		fmt.Fprintf(&b, "\x1b[%dA", len(lines))
	}
	b.WriteString(wrapOn + endUpdate)
	_, _ = io.WriteString(l.w, b.String()) // nobody to tell when standard error is gone
}

// liveState is what is known of the hosts' progress.
type liveState struct {
	began time.Time
	hosts []*liveHost
}

type liveHost struct {
	name    string
	done    []liveStage
	stage   string // under way; empty: none
	note    string
	since   time.Time
	failed  bool
	sending map[string]run.Event // the last of each stage that has bytes on their way
}

type liveStage struct{ name, result string }

func (s *liveState) host(name string) *liveHost {
	i := slices.IndexFunc(s.hosts, func(h *liveHost) bool { return h.name == name })
	if i < 0 {
		i = len(s.hosts)
		s.hosts = append(s.hosts, &liveHost{name: name, sending: map[string]run.Event{}})
	}
	return s.hosts[i]
}

func (s *liveState) take(e run.Event, now time.Time) {
	if s.began.IsZero() {
		s.began = now
	}
	h := s.host(e.Host)
	switch {
	case e.Done:
		h.done = append(h.done, liveStage{e.Stage, e.Result})
		h.failed = h.failed || e.Err != nil
		h.stage, h.note = "", ""
		delete(h.sending, e.Stage)
	case e.Bytes > 0 && e.Bytes == e.Total:
		delete(h.sending, e.Stage)
	case e.Bytes > 0 || e.Total > 0:
		h.sending[e.Stage] = e
	case e.Note != "":
		h.note = e.Note
	default:
		h.stage, h.note, h.since = e.Stage, "", now
	}
}

// busy tells whether something is under way on a host.
func (h *liveHost) busy() bool { return h.stage != "" || len(h.sending) > 0 }

// frame is what is to be seen in so many columns and lines.
func (s *liveState) frame(look look, now time.Time, columns, lines int) []styled {
	shown := s.hosts
	if room := lines - 1; len(shown) > room {
		shown = s.choose(room)
	}
	names := 0
	for _, h := range s.hosts {
		names = max(names, min(runewidth.StringWidth(h.name), columns/3))
	}
	var all []styled
	for _, h := range shown {
		all = append(all, h.line(look, now, names, columns))
	}
	busy, failed, waiting := 0, 0, 0
	for _, h := range s.hosts {
		switch {
		case h.failed:
			failed++
		case h.busy():
			busy++
		case len(h.done) == 0:
			waiting++
		}
	}
	sum := styled{{"", fmt.Sprintf("%s, %d at work", count(len(s.hosts), "host"), busy)}}
	if waiting > 0 {
		sum = append(sum, piece{"", fmt.Sprintf(", %d waiting", waiting)})
	}
	if failed > 0 {
		sum = append(sum, piece{red, fmt.Sprintf(", %d failed", failed)})
	}
	if len(shown) < len(s.hosts) {
		sum = append(sum, piece{"", fmt.Sprintf(", %d of them not shown", len(s.hosts)-len(shown))})
	}
	sum = append(sum, piece{"", fmt.Sprintf(", %.0f s", now.Sub(s.began).Seconds())})
	return append(all, sum.cut(columns))
}

// choose gives the hosts that are most worth a line, in the inventory's order:
// failed ones, then busy ones, then others.
func (s *liveState) choose(room int) []*liveHost {
	rank := func(h *liveHost) int {
		switch {
		case h.failed:
			return 0
		case h.busy():
			return 1
		}
		return 2
	}
	var chosen []*liveHost
	for want := range 3 {
		for _, h := range s.hosts {
			if rank(h) == want && len(chosen) < room {
				chosen = append(chosen, h)
			}
		}
	}
	slices.SortFunc(chosen, func(a, b *liveHost) int { return slices.Index(s.hosts, a) - slices.Index(s.hosts, b) })
	return chosen
}

// line is one host's: its name, what it has done, what it does and what is on its
// way to it. Where there is no room for all, what is long past goes first.
func (h *liveHost) line(look look, now time.Time, names, columns int) styled {
	name := runewidth.FillRight(runewidth.Truncate(h.name, names, look.more), names)
	var present styled
	if h.stage != "" {
		spin := look.spin[int(now.Sub(h.since)/redraw)%len(look.spin)]
		present = append(present, piece{yellow, "  " + spin + " " + h.stage})
		if h.note != "" {
			present = append(present, piece{"", " " + report.Clean(h.note)})
		} else if waited := now.Sub(h.since); waited >= time.Second {
			present = append(present, piece{"", fmt.Sprintf(" %.0f s", waited.Seconds())})
		}
	}
	stages := make([]string, 0, len(h.sending))
	for stage := range h.sending {
		stages = append(stages, stage)
	}
	slices.Sort(stages)
	for _, stage := range stages {
		present = append(present, piece{yellow, "  " + look.up + " "}, piece{"", report.Clean(h.sending[stage].Note)})
	}
	if !h.busy() && len(h.done) == 0 {
		present = styled{{"", "  waiting"}}
	}
	var past []styled
	for _, s := range h.done {
		switch s.result {
		case report.Failed:
			past = append(past, styled{{red, " " + look.bad + " " + s.name}})
		default:
			past = append(past, styled{{green, " " + look.good}, {"", " " + s.name}})
		}
	}
	first := 0
	for ; first < len(past); first++ {
		t := slices.Concat(past[first:]...)
		if names+1+t.width()+present.width()+2 <= columns {
			break
		}
	}
	line := styled{{"", name + " "}}
	if first > 0 && columns > names+present.width()+4 {
		line = append(line, piece{"", " " + look.more})
	}
	return slices.Concat(line, slices.Concat(past[first:]...), present).cut(columns)
}
