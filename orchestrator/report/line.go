package report

import (
	"cmp"
	"fmt"
)

// why says in a line why a probe failed.
func (p Probe) why() string {
	return cmp.Or(p.Error, "no reply to "+plural(p.Sent, "request"))
}

// line is a finding in a line, without its severity and its way out.
func (f Finding) line() string {
	line := fmt.Sprintf("%s on %s: %s", f.Layer, cmp.Or(f.Host, "all hosts"), f.Cause)
	if f.Proof != "" {
		line += " (" + f.Proof + ")"
	}
	return line
}

// Line says in a line which gate was crossed by what, or that it was kept.
func (g Gate) Line() string {
	crossed := "crossed"
	if g.Result != Fail {
		crossed = "kept"
	}
	return fmt.Sprintf("gate %s %s %s: %s", g.Name, g.Limit, crossed, g.By)
}

// end names one end of a probe, with its host if that is another thing.
func end(name, host string) string {
	if name == host {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, host)
}

func plural(n int, thing string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, thing)
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
