package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// drawing is the lab's topology, laid out: hosts side by side in rows, each with
// its endpoints on bridges on VTEPs on the underlay that joins all.
type drawing struct {
	Width, Height int
	Label         string // for those who do not see it
	Hosts         []hostBox
	Buses         []line // the underlay, a stretch a row
	Wires         []line
	Underlay      string
}

type line struct{ X1, Y1, X2, Y2 int }

// hostBox is one host; coordinates within it are relative to its corner.
type hostBox struct {
	X, Y, Width, Height int
	Name, Address       string
	Class               string
	Title               string
	Segments            []segment
	Device              string
	DeviceY             int
	Middle              int
	Cut                 string // its name, as long as fits
}

// segment is a network on a host.
type segment struct {
	Network string
	Y       int // of the bridge
	Bridge  string
	VTEP    string
	VTEPY   int
	Class   string
	Title   string
	Ends    []endBox
}

type endBox struct {
	X, Y, Width int
	Name, Cut   string
	Kind        string
	Class       string
	Title       string
	StemX       int
	StemY       int // where the bridge is
}

// Sizes of the drawing, in units of which a letter is about 6.5 wide.
const (
	boxWidth   = 190
	boxGap     = 24
	boxPadding = 10
	headHeight = 44
	endHeight  = 24
	endGap     = 6
	iconWidth  = 30

	maxWideEnds = 6 // of a network on a host, that get a line each where their names are long
	letter      = 6.8
)

// draw lays the topology out. Colours tell what probes came to: a class is Pass,
// Fail, partly, or empty where nothing is known.
func draw(r *Result) drawing {
	columns := min(len(r.Hosts), 4)
	if len(r.Hosts) > 12 {
		columns = 6
	}
	if columns == 0 {
		return drawing{}
	}
	d := drawing{Width: boxGap + columns*(boxWidth+boxGap) + boxGap, Underlay: underlayLabel(r)}
	states := states(r)
	var boxes []hostBox
	for _, h := range r.Hosts {
		boxes = append(boxes, layHost(r, h, states))
	}
	y := boxGap
	rowBus := []int{}
	for first := 0; first < len(boxes); first += columns {
		row := boxes[first:min(first+columns, len(boxes))]
		height := 0
		for _, b := range row {
			height = max(height, b.Height)
		}
		bus := y + height + 26
		for i := range row {
			b := &row[i]
			b.X, b.Y = 2*boxGap+i*(boxWidth+boxGap), y
			// The device sits on the lower edge of boxes of one height.
			b.DeviceY += height - b.Height
			b.Height = height
			d.Wires = append(d.Wires, line{b.X + b.Middle, y + height, b.X + b.Middle, bus})
		}
		d.Buses = append(d.Buses, line{boxGap, bus, d.Width - boxGap, bus})
		rowBus = append(rowBus, bus)
		y = bus + 30
	}
	if len(rowBus) > 1 {
		d.Wires = append(d.Wires, line{boxGap, rowBus[0], boxGap, rowBus[len(rowBus)-1]})
	}
	d.Hosts, d.Height = boxes, y+6
	kinds := map[string]int{}
	for _, e := range r.Topology.Endpoints {
		kinds[e.Kind]++
	}
	d.Label = fmt.Sprintf("Topology: %s, %s, %s, %s, joined by the underlay", plural(len(r.Hosts), "host"), plural(len(r.Topology.Networks), "network"),
		plural(kinds["container"], "container endpoint"), plural(kinds["vm"], "VM endpoint"))
	return d
}

func layHost(r *Result, h Host, states map[string]string) hostBox {
	b := hostBox{Width: boxWidth, Name: h.Name, Cut: cut(h.Name, boxWidth-2*boxPadding-20), Address: h.Address, Middle: boxWidth / 2, Class: h.Result, Device: "underlay"}
	b.Title = fmt.Sprintf("%s, %s: %s", h.Name, h.Address, h.Result)
	if h.Error != "" {
		b.Title += "\n" + h.Error
	}
	for _, u := range r.Topology.Underlays {
		if u.Host == h.Name {
			b.Device = strings.TrimSpace(u.Device + " " + u.Address)
		}
	}
	y := headHeight
	for _, n := range r.Topology.Networks {
		s := segment{Network: n.Name, Bridge: cut(n.Name, boxWidth-2*boxPadding), Class: states["vtep "+n.Name+" "+h.Name]}
		width, across := (boxWidth-2*boxPadding-endGap)/2, 2
		var ends []Endpoint
		for _, e := range r.Topology.Endpoints {
			if e.Host == h.Name && e.Network == n.Name {
				ends = append(ends, e)
				if len(ends) <= maxWideEnds && cut(e.Name, width-iconWidth) != e.Name {
					across = 1
				}
			}
		}
		if across == 1 && len(ends) <= maxWideEnds {
			width = boxWidth - 2*boxPadding
		} else {
			across = 2
		}
		rows := (len(ends) + across - 1) / across
		s.Y = y + rows*(endHeight+endGap) + 8
		for i, e := range ends {
			x := boxPadding + i%across*(width+endGap)
			s.Ends = append(s.Ends, endBox{
				X: x, Y: y + i/across*(endHeight+endGap), Width: width, Name: e.Name, Cut: cut(e.Name, width-iconWidth), Kind: e.Kind,
				Class: states["end "+n.Name+" "+e.Name], Title: strings.TrimSpace(fmt.Sprintf("%s %s on %s, %s %s", e.Kind, e.Name, e.Host, e.Address, e.MAC)),
				StemX: x + 8, StemY: s.Y,
			})
		}
		s.VTEPY = s.Y + 30
		s.VTEP = cut(fmt.Sprintf("%s · VNI %d", cmp.Or(n.VTEP, "VTEP"), n.VNI), boxWidth-2*boxPadding-10)
		s.Title = fmt.Sprintf("network %s: VNI %d, UDP port %d, %s %s, subnet %s", n.Name, n.VNI, n.Port, n.Flood, n.Group, n.Subnet)
		if n.MTU > 0 {
			s.Title += fmt.Sprintf(", MTU %d", n.MTU)
		}
		b.Segments = append(b.Segments, s)
		y = s.VTEPY + 22 + 14
	}
	b.DeviceY = y + 4
	b.Height = b.DeviceY + 22
	b.Device = cut(b.Device, boxWidth-2*boxPadding-8)
	return b
}

// states is what the probes say of VTEPs ("vtep NETWORK HOST") and endpoints
// ("end NETWORK NAME"). Whoever loses half of its probes is at fault; what its
// peers lose to it says nothing of them, and what they lose to others makes them
// partly.
func states(r *Result) map[string]string {
	type tally struct{ failed, sent int }
	all := map[string]string{}
	for range 2 { // the second time knowing who is at fault
		tallies := map[string]tally{}
		for _, p := range r.Probes {
			// A check that fails may be in the wrong itself, and of isolation a third may be at fault.
			if p.Result == Skipped || p.Stage == StageCheck || p.Stage == StageIsolation {
				continue
			}
			kind := "end " + p.Network + " "
			if p.Stage == StageVTEP {
				kind = "vtep " + p.Network + " "
			}
			for _, ends := range [][2]string{{p.From, p.To}, {p.To, p.From}} {
				t := tallies[kind+ends[0]]
				t.sent++
				if p.Result == Fail && (all[kind+ends[0]] == Fail || all[kind+ends[1]] != Fail) {
					t.failed++
				}
				tallies[kind+ends[0]] = t
			}
		}
		for key, t := range tallies {
			switch {
			case t.failed == 0:
				all[key] = Pass
			case 2*t.failed >= t.sent:
				all[key] = Fail
			default:
				all[key] = "partly"
			}
		}
	}
	return all
}

func underlayLabel(r *Result) string {
	parts := []string{"underlay"}
	var ports, groups []string
	for _, n := range r.Topology.Networks {
		ports = append(ports, fmt.Sprintf("UDP %d", n.Port))
		if n.Group != "" {
			groups = append(groups, n.Group)
		}
	}
	mtu := math.MaxInt
	for _, u := range r.Topology.Underlays {
		mtu = min(mtu, u.MTU)
	}
	if mtu < math.MaxInt {
		parts = append(parts, fmt.Sprintf("MTU %d", mtu))
	}
	for _, list := range [][]string{ports, groups} {
		slices.Sort(list)
		parts = append(parts, slices.Compact(list)...)
	}
	return cut(strings.Join(parts, " · "), 600)
}

// cut shortens a text to what fits into a width.
func cut(s string, width int) string {
	room := int(float64(width) / letter)
	if utf8.RuneCountInString(s) <= room {
		return s
	}
	return string([]rune(s)[:max(room-1, 1)]) + "…"
}
