package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// Object is one thing that a lab wants on a host, has there or meets there.
type Object struct {
	Host    string   `json:"host"`
	Kind    string   `json:"kind"` // vtep, bridge, namespace, veth, address, libvirt network, domain, file; clash: what is none of these
	Name    string   `json:"name"`
	For     string   `json:"for"` // network or workload
	State   string   `json:"state"`
	Changes []Change `json:"changes"` // what differs, of one that is Drifted or HalfMade
	// Deploy is what a deploy does about it: create, change, rebuild, remove or
	// refuse. Empty: nothing.
	Deploy string `json:"deploy,omitempty"`
	MadeBy string `json:"made_by,omitempty"` // USER@CONTROLLER, of one that is Stale
	Note   string `json:"note,omitempty"`    // of one that is Foreign: what it is
	Hint   string `json:"hint,omitempty"`
}

// Change is one property that differs.
type Change struct {
	Property string `json:"property"`
	From     string `json:"from"`
	To       string `json:"to"`
}

// States of an object; OK is one, too.
const (
	Absent   = "absent"
	Drifted  = "changed"
	HalfMade = "half-made" // by a run that died
	Stale    = "stale"     // the lab's, and no longer in the inventory
	Foreign  = "foreign"   // not the lab's, and in its way
)

// WriteStatusText writes the r of a status for people: whether all is as wanted
// in one line, what failed, then every object.
func WriteStatusText(w io.Writer, r *Result, opts TextOptions) error {
	t := &textWriter{Result: cleaned(r), paint: opts.Color}
	t.statusLine()
	t.failures()
	for _, h := range t.Hosts {
		if h.Rebooted {
			t.line("")
			t.line("%s was rebooted since the last deploy: what a lab has in a kernel does not outlive that", h.Name)
		}
	}
	t.objects()
	_, err := io.WriteString(w, t.String())
	return err
}

func (t *textWriter) statusLine() {
	odd := count(t.Objects, func(o Object) bool { return o.State != OK })
	hosts := count(t.Hosts, func(h Host) bool { return h.Result == OK })
	var parts []string
	switch {
	case odd > 0:
		parts = append(parts, t.bad(fmt.Sprintf("%d of %d objects not as wanted", odd, len(t.Objects))))
	case len(t.Objects) > 0:
		parts = append(parts, t.good(fmt.Sprintf("all %d objects as wanted", len(t.Objects))))
	}
	parts = append(parts, fmt.Sprintf("seen on %d of %d hosts", hosts, len(t.Hosts)))
	t.line("lab %s: %s", t.Lab, strings.Join(parts, ", "))
}

func (t *textWriter) objects() {
	if len(t.Objects) == 0 {
		return
	}
	tab := newTable("host", "object", "for", "state", "deploy would", "because")
	var hints []string
	mends := false
	for _, o := range t.Objects {
		state := t.good(o.State)
		if o.State != OK {
			state = t.bad(o.State)
		}
		tab.AppendRow(table.Row{o.Host, strings.TrimSpace(o.Kind + " " + o.Name), o.For, state, o.Deploy, o.because()})
		if o.Hint != "" && !slices.Contains(hints, o.Hint) {
			hints = append(hints, o.Hint)
		}
		mends = mends || o.State != OK && o.State != Foreign
	}
	t.table(tab)
	if len(hints) > 0 || mends {
		t.line("")
	}
	for _, h := range hints {
		t.line("hint: %s", h)
	}
	if mends && len(hints) == 0 {
		t.line("next: `vxorch deploy` mends it, `vxorch plan` says how")
	}
}

// because is why an object is not as wanted, in a line.
func (o Object) because() string {
	var details []string
	for _, c := range o.Changes {
		details = append(details, fmt.Sprintf("%s %s → %s", c.Property, c.From, c.To))
	}
	switch {
	case o.State == Stale && o.MadeBy != "":
		details = append(details, "not in the inventory, made by "+o.MadeBy)
	case o.State == Stale:
		details = append(details, "left behind by a run that died")
	case o.Note != "":
		details = append(details, o.Note)
	}
	return strings.Join(details, ", ")
}
