package run

import (
	"fmt"
	"strings"
	"time"
)

// transfer is when bytes began to travel, and how many there were by then: of
// an upload that goes on from where an earlier one broke off.
type transfer struct {
	began time.Time
	have  int64
}

// Transfer shows how many bytes of what have travelled, for a host's stage; total
// is 0 where it is not known.
func (r *Run) Transfer(host, stage, what string, done, total int64) {
	e := Event{Host: host, Stage: stage, Bytes: done, Total: total}
	r.mu.Lock()
	key := hostStage{host, stage + " " + what}
	t, ok := r.transfers[key]
	if !ok || done < t.have {
		t = transfer{r.now(), done}
		r.transfers[key] = t
	}
	e.Seconds = r.now().Sub(t.began).Seconds()
	r.mu.Unlock()
	if e.Seconds > 0 {
		e.Rate = float64(done-t.have) / e.Seconds
	}
	e.Note = strings.TrimSpace(what + " " + mib(float64(done)))
	if total > 0 {
		e.Note += " of " + mib(float64(total))
	}
	e.Note += " MiB"
	if e.Rate > 0 {
		e.Note += ", " + mib(e.Rate) + " MiB/s"
	}
	r.emit(e)
}

func mib(bytes float64) string { return fmt.Sprintf("%.1f", bytes/(1<<20)) }
