package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// signs stand before a step, as diff-minded people read them.
var signs = map[hostapi.Op]string{
	hostapi.Create: "+", hostapi.Update: "~", hostapi.Rebuild: "±", hostapi.Remove: "-", hostapi.Await: "…",
}

// WriteText prints the plan for people: the steps by phase and host, in the
// order in which they run.
func (p Plan) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, phase := range p.Phases {
		hosts := phase.busyHosts()
		if len(hosts) == 0 && len(phase.Probes) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s\n", phase.Name)
		if phase.Name == PhaseVM {
			for _, u := range p.Uploads {
				fmt.Fprintf(&b, "  first image %s to %s: %d of %d bytes\n", u.Image, u.Host, u.Size-u.Have, u.Size)
			}
		}
		for _, host := range hosts {
			fmt.Fprintf(&b, "  %s\n", host)
			if why := phase.Blocked[host]; why != nil {
				fmt.Fprintf(&b, "    ! %s\n", report.Clean(why.Message))
			}
			for _, step := range phase.Steps[host] {
				fmt.Fprintf(&b, "    %s %s\n", signs[step.Op], report.Clean(p.describe(host, step))) // names may be the host's word
			}
		}
		if len(phase.Probes) > 0 {
			fmt.Fprintf(&b, "  then %s: %s\n", phase.Proof, phase.counts())
		}
	}
	for _, n := range p.Networks {
		if n.Why != "" {
			fmt.Fprintf(&b, "flooding of %s: %s, since %s\n", n.Name, n.Flood, n.Why)
		}
		if n.Unproved != "" {
			fmt.Fprintf(&b, "VTEP proof of %s skipped: %s\n", n.Name, n.Unproved)
		}
	}
	if len(p.StandIns) > 0 {
		fmt.Fprintf(&b, "taken as last known: %s\n", strings.Join(p.StandIns, ", "))
	}
	if n := p.Changes(); n == 0 {
		b.WriteString("nothing to change\n")
	} else {
		fmt.Fprintf(&b, "%d %s to change\n", n, plural(n, "thing", "things"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// counts says how many probes of each sort the phase has.
func (p Phase) counts() string {
	pings, whole, exchanges, isolations, checks := 0, 0, 0, 0, 0
	for _, pair := range p.Probes {
		switch {
		case pair.Stage == report.StageCheck:
			checks++
		case pair.ToNetwork != "":
			isolations++
		case pair.Whole:
			whole++
		case pair.TCP != 0:
			exchanges++
		default:
			pings++
		}
	}
	parts := []string{fmt.Sprintf("%d %s", pings, plural(pings, "ping", "pings"))}
	for _, c := range []struct {
		n                  int
		one, many, further string
	}{
		{whole, "packet", "packets", "of full size"},
		{exchanges, "exchange", "exchanges", "over TCP"},
		{isolations, "try", "tries", "of isolation"},
		{checks, "check", "checks", "of your own"},
	} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s %s", c.n, plural(c.n, c.one, c.many), c.further))
		}
	}
	return strings.Join(parts, ", ")
}

// jsonStep is a step as programs see it: what a step carries to the helper, logins
// and seeds among it, is not theirs.
type jsonStep struct {
	Op      hostapi.Op       `json:"op"`
	Kind    string           `json:"kind"`
	Name    string           `json:"name"`
	Text    string           `json:"text"`
	Changes []hostapi.Change `json:"changes,omitempty"`
	// LosesDisk: what is on the domain's disk is lost.
	LosesDisk bool `json:"loses_disk,omitempty"`
}

type jsonHost struct {
	Name    string     `json:"name"`
	Steps   []jsonStep `json:"steps"`
	Blocked string     `json:"blocked,omitempty"` // why the host cannot do its part of the phase
}

type jsonPhase struct {
	Name   string     `json:"name"`
	Hosts  []jsonHost `json:"hosts"`
	Probes int        `json:"probes"`
}

type jsonPlan struct {
	Version  int           `json:"version"`
	Changes  int           `json:"changes"`
	Phases   []jsonPhase   `json:"phases"`
	Uploads  []Upload      `json:"uploads"`
	Networks []Network     `json:"networks"`
	StandIns []string      `json:"stand_ins,omitempty"` // hosts taken as last known
	Left     []report.Left `json:"left"`
	Errors   []string      `json:"errors"`
}

// WriteJSON prints the plan for programs, with the hosts that left the inventory
// and the errors that kept it from being whole.
func (p Plan) WriteJSON(w io.Writer, left []report.Left, errs []error) error {
	out := jsonPlan{
		Version: 1, Changes: p.Changes(), Phases: []jsonPhase{}, Uploads: append([]Upload{}, p.Uploads...), Networks: append([]Network{}, p.Networks...),
		StandIns: p.StandIns, Left: append([]report.Left{}, left...), Errors: []string{},
	}
	for _, phase := range p.Phases {
		row := jsonPhase{Name: phase.Name, Hosts: []jsonHost{}, Probes: len(phase.Probes)}
		for _, name := range phase.busyHosts() {
			host := jsonHost{Name: name, Steps: []jsonStep{}}
			if why := phase.Blocked[name]; why != nil {
				host.Blocked = why.Message
			}
			for _, s := range phase.Steps[name] {
				kind, object := s.Object()
				host.Steps = append(host.Steps, jsonStep{
					Op: s.Op, Kind: kind, Name: object, Text: p.describe(name, s), Changes: s.Changes, LosesDisk: p.losesDisk(name, s),
				})
			}
			row.Hosts = append(row.Hosts, host)
		}
		out.Phases = append(out.Phases, row)
	}
	for _, err := range errs {
		out.Errors = append(out.Errors, err.Error())
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

// losesDisk tells whether what is on a domain's disk goes with a step.
func (p Plan) losesDisk(host string, s hostapi.Step) bool {
	return s.Domain != nil && s.Op == hostapi.Rebuild && slices.ContainsFunc(p.Removals, func(r Removal) bool {
		return r.Anew && r.Host == host && r.Name == s.Domain.Name
	})
}

// describe is one step of a host's as a line.
func (p Plan) describe(host string, s hostapi.Step) string {
	line := describe(s)
	if p.losesDisk(host, s) {
		line += "; what is on its disk is lost"
	}
	if s.Domain != nil && len(s.Changes) == 1 && s.Changes[0].Property == hostapi.KeptDefinition {
		line += "; its guest goes on"
	}
	return line
}

// busyHosts lists the hosts that have steps, or should, sorted.
func (p Phase) busyHosts() []string {
	var hosts []string
	for host, steps := range p.Steps {
		if len(steps) > 0 {
			hosts = append(hosts, host)
		}
	}
	for host := range p.Blocked {
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return hosts
}

// describe is one step as a line, without what only the plan knows.
func describe(s hostapi.Step) string {
	kind, name := s.Object()
	line := kind + " " + name
	if s.Address != nil {
		line = fmt.Sprintf("%s %s on %s", kind, s.Address.Prefix, name)
		if s.Op == hostapi.Create {
			line += fmt.Sprintf(" for at most %s", s.Address.Lifetime)
		}
		return line
	}
	if s.Routes != nil {
		return fmt.Sprintf("%s of %s: from %d %s, to %d %s, for at most %s", kind, name, len(s.Routes.Ends), plural(len(s.Routes.Ends), "host", "hosts"),
			len(s.Routes.Remotes), plural(len(s.Routes.Remotes), "endpoint", "endpoints"), s.Routes.Patience)
	}
	var details []string
	switch s.Op {
	case hostapi.Create:
		details = wanted(s)
	case hostapi.Update, hostapi.Rebuild:
		for _, c := range s.Changes {
			details = append(details, fmt.Sprintf("%s %s → %s", c.Property, c.From, c.To))
		}
	}
	if len(details) > 0 {
		line += ": " + strings.Join(details, ", ")
	}
	return line
}

// wanted is what matters of an object to create.
func wanted(s hostapi.Step) []string {
	switch {
	case s.VTEP != nil:
		details := []string{fmt.Sprintf("vni %d", s.VTEP.VNI), fmt.Sprintf("udp port %d", s.VTEP.Port)}
		if s.VTEP.Group.IsValid() {
			details = append(details, fmt.Sprintf("group %s", s.VTEP.Group))
		}
		return append(details, fmt.Sprintf("local %s dev %s", s.VTEP.Local, s.VTEP.Device), fmt.Sprintf("mtu %d", s.VTEP.MTU))
	case s.Forwarding != nil:
		if n := len(s.Forwarding.Remotes); n > 0 {
			return []string{fmt.Sprintf("%d remote %s", n, plural(n, "endpoint", "endpoints"))}
		}
		return []string{fmt.Sprintf("flood list of %d", len(s.Forwarding.Flood))}
	case s.FRR != nil && s.FRR.Port != 0:
		return []string{fmt.Sprintf("BGP from %s, reflector on tcp port %d", s.FRR.Local, s.FRR.Port)}
	case s.FRR != nil:
		return []string{fmt.Sprintf("BGP from %s", s.FRR.Local)}
	case s.Bridge != nil:
		return []string{fmt.Sprintf("mtu %d", s.Bridge.MTU)}
	case s.Veth != nil:
		details := []string{"port of " + s.Veth.Bridge, fmt.Sprintf("%s in %s", s.Veth.Inner, s.Veth.Netns)}
		for _, a := range s.Veth.Addresses {
			details = append(details, a.String())
		}
		return append(details, fmt.Sprintf("mtu %d", s.Veth.MTU))
	case s.VirtNetwork != nil:
		return []string{"bridge " + s.VirtNetwork.Bridge}
	case s.Domain != nil:
		details := []string{"image " + s.Domain.Image.Short(), fmt.Sprintf("%d MiB", s.Domain.Memory>>20)}
		for _, leg := range s.Domain.Interfaces {
			details = append(details, fmt.Sprintf("%s on %s, mtu %d", leg.MAC, leg.Network, leg.MTU))
		}
		return details
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
