package inventory

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// maxRTT is the longest round trip that a check can ask for: a probe is given up
// after a second.
const maxRTT = time.Second

// What a check can ask for in bits a second: between what says nothing of a link
// any more and what one connection can fill.
const (
	minThroughput = 1e3
	maxThroughput = 100e9
)

// checkKey is what makes two checks the same.
type checkKey struct {
	from, to   string
	tcp        int
	throughput bool
}

// readChecks comes last: it needs the workloads.
func (p *parser) readChecks(n *yaml.Node) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.wrongType(n, "checks", "a list")
		return
	}
	if len(n.Content) > maxChecks {
		p.errorf(n, "there are more than %d checks", maxChecks)
		return
	}
	ends := p.checkEnds()
	seen := map[checkKey]*yaml.Node{}
	for _, item := range n.Content {
		c, ok := p.readCheck(item, ends)
		if !ok {
			continue
		}
		key := checkKey{c.From, c.To, c.TCP, c.MinThroughput != 0}
		if first, found := seen[key]; found {
			p.errorf(item, "this check is already there (%s)", p.at(first)).Hint = "keep one of them"
			continue
		}
		seen[key] = item
		p.lab.Checks = append(p.lab.Checks, c)
	}
}

// checkEnds are the workloads as checks see them.
type checkEnds struct {
	of    map[string]checkEnd
	names []string          // in the order of the lab
	first map[string]string // by definition, the first workload that it makes
}

type checkEnd struct {
	kind     kind
	networks []string
}

func (p *parser) checkEnds() checkEnds {
	ends := checkEnds{of: map[string]checkEnd{}, first: map[string]string{}}
	add := func(k kind, name string, legs []Interface) {
		end := checkEnd{kind: k}
		for _, leg := range legs {
			end.networks = append(end.networks, leg.Network)
		}
		ends.of[name] = end
		ends.names = append(ends.names, name)
		if definition := p.names[name].Value; ends.first[definition] == "" {
			ends.first[definition] = name
		}
	}
	for _, c := range p.lab.Containers {
		add(container, c.Name, c.Interfaces)
	}
	for _, vm := range p.lab.VMs {
		add(machine, vm.Name, vm.Interfaces)
	}
	return ends
}

func (p *parser) readCheck(n *yaml.Node, ends checkEnds) (Check, bool) {
	before := len(p.errs)
	f := p.fields(n, "a check", "from", "to", "expect", "tcp", "max_rtt", "min_throughput")
	if f == nil {
		return Check{}, false
	}
	var c Check
	c.From = p.readCheckEnd(n, f, "from", ends)
	c.To = p.readCheckEnd(n, f, "to", ends)
	if e, found := f["expect"]; found {
		c.Unreachable = p.readExpect(e.value)
	}
	if e, found := f["tcp"]; found {
		c.TCP, _ = p.integer(e.value, "tcp", 1, 1<<16-1)
		p.refuseMachines(e, "tcp", c, ends)
	}
	if e, found := f["max_rtt"]; found {
		c.MaxRTT = p.readMaxRTT(e.value)
		if c.Unreachable {
			p.errorf(e.key, "max_rtt of what is to be unreachable").Hint = "take one of them out"
		}
	}
	if e, found := f["min_throughput"]; found {
		c.MinThroughput = p.readMinThroughput(e.value)
		_, rtt := f["max_rtt"]
		switch {
		case c.Unreachable:
			p.errorf(e.key, "min_throughput of what is to be unreachable").Hint = "take one of them out"
		case rtt:
			p.errorf(e.key, "max_rtt and min_throughput in one check").Hint = "a connection that is filled has other times: write two checks"
		}
		p.refuseMachines(e, "min_throughput", c, ends)
	}
	from, to := ends.of[c.From], ends.of[c.To]
	switch {
	case c.From == "" || c.To == "":
	case c.From == c.To:
		p.errorf(f["to"].value, "this check is from %q to itself", c.To).Hint = "name another workload"
	case !c.Unreachable && !slices.ContainsFunc(from.networks, func(name string) bool { return slices.Contains(to.networks, name) }):
		p.errorf(n, "%s and %s share no network, so one cannot reach the other", from.kind.what(c.From), to.kind.what(c.To)).Hint =
			"write `expect: unreachable`, or give them a network in common"
	}
	return c, len(p.errs) == before && !p.full()
}

// refuseMachines finds VMs at the ends of a check that takes data over TCP.
func (p *parser) refuseMachines(e entry, key string, c Check, ends checkEnds) {
	for _, name := range []string{c.From, c.To} {
		if ends.of[name].kind == machine {
			p.errorf(e.key, "%s takes no part in an exchange over TCP", machine.what(name)).Hint = fmt.Sprintf("only containers do: take %s out", key)
		}
	}
}

// readCheckEnd reads the name of a workload; empty: there is none of that name.
func (p *parser) readCheckEnd(n *yaml.Node, f fields, key string, ends checkEnds) string {
	e, found := f[key]
	if !found {
		p.errorf(n, "this check has no %s", key).Hint = fmt.Sprintf("name a workload: `%s: NAME`", key)
		return ""
	}
	name, ok := p.str(e.value, key)
	if !ok {
		return ""
	}
	if _, known := ends.of[name]; known {
		return name
	}
	hint := p.suggest(name, ends.names)
	if one := ends.first[name]; one != "" {
		hint = fmt.Sprintf("it makes several: name one of them, as in %q", one)
	}
	p.errorf(e.value, "there is no container or VM %q", name).Hint = hint
	return ""
}

func (p *parser) readExpect(n *yaml.Node) (unreachable bool) {
	text, ok := p.str(n, "expect")
	if ok && text != "reachable" && text != "unreachable" {
		p.errorf(n, "expect %q is unknown", text).Hint = "reachable (the default) or unreachable"
	}
	return text == "unreachable"
}

func (p *parser) readMaxRTT(n *yaml.Node) time.Duration {
	rtt, ok := p.duration(n, "max_rtt", "500us or 5ms")
	if ok && (rtt <= 0 || rtt > maxRTT) {
		p.errorf(n, "max_rtt %s is not above 0 and up to 1s", rtt)
	}
	return rtt
}

// readMinThroughput gives bits a second.
func (p *parser) readMinThroughput(n *yaml.Node) int64 {
	text, ok := p.str(n, "min_throughput")
	if !ok {
		return 0
	}
	digits := text[:len(text)-len(strings.TrimLeft(text, "0123456789."))]
	number, err := strconv.ParseFloat(digits, 64)
	unit, known := map[string]float64{"bit/s": 1, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}[strings.TrimSpace(text[len(digits):])]
	switch {
	case digits == text && err == nil:
		p.errorf(n, "min_throughput %s has no unit", text).Hint = fmt.Sprintf("write %sMbit/s, if that is what is meant", text)
	case !known || err != nil:
		p.errorf(n, "min_throughput %q is not a number with a unit", text).Hint = "write it as in 100Mbit/s or 1.5Gbit/s"
	case number*unit < minThroughput || number*unit > maxThroughput:
		p.errorf(n, "min_throughput %s is outside 1kbit/s…100Gbit/s", text)
	default:
		return int64(math.Round(number * unit))
	}
	return 0
}
