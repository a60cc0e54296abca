package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// The elements of a JUnit report, as Jenkins's schema and its like have them.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Time      string      `xml:"time,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`
		seconds   float64
	}
	junitCase struct {
		Class   string      `xml:"classname,attr"`
		Name    string      `xml:"name,attr"`
		Time    string      `xml:"time,attr"`
		Skipped *junitWhy   `xml:"skipped"`
		Error   *junitWhy   `xml:"error"`
		Failure *junitWhy   `xml:"failure"`
		Out     *junitPlain `xml:"system-out"`
		seconds float64
	}
	junitWhy struct {
		Type    string `xml:"type,attr,omitempty"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	junitPlain struct {
		Text string `xml:",chardata"`
	}
)

// WriteJUnit writes r for a CI server: a suite for every host with a case a
// stage, one for every network's proof with a case a probe, and one each for
// findings and gates. What kept vxorch from its work is an error, what is not as
// wanted a failure.
func WriteJUnit(w io.Writer, r *Result) error {
	j := junitWriter{Result: cleaned(r)}
	j.run()
	j.hosts()
	j.probes()
	j.findings()
	j.gates()
	out := junitSuites{Name: fmt.Sprintf("vxorch %s of lab %s", j.Verb, j.Lab), Time: junitTime(j.Seconds), Suites: j.suites}
	for _, s := range j.suites {
		out.Tests += s.Tests
		out.Failures += s.Failures
		out.Errors += s.Errors
	}
	text, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}

type junitWriter struct {
	*Result
	suites []junitSuite
}

// add puts a case into the suite of that name, the last one or a new one.
func (j *junitWriter) add(suite string, c junitCase) {
	if n := len(j.suites); n == 0 || j.suites[n-1].Name != suite {
		j.suites = append(j.suites, junitSuite{Name: suite, Timestamp: j.Started.UTC().Format(time.RFC3339)})
	}
	s := &j.suites[len(j.suites)-1]
	c.Class = "vxorch." + j.Lab + "." + strings.ReplaceAll(suite, ".", "_")
	c.Time = junitTime(c.seconds)
	s.Cases = append(s.Cases, c)
	s.Tests++
	s.seconds += c.seconds
	s.Time = junitTime(s.seconds)
	switch {
	case c.Error != nil:
		s.Errors++
	case c.Failure != nil:
		s.Failures++
	case c.Skipped != nil:
		s.Skipped++
	}
}

// run is the case of a verb that ended before it began with the hosts.
func (j *junitWriter) run() {
	if j.Result.Error != "" {
		j.add("run", junitCase{Name: j.Verb, Error: &junitWhy{Type: "refused", Message: j.Result.Error}})
	}
}

func (j *junitWriter) hosts() {
	for _, h := range j.Hosts {
		suite, told := "host "+h.Name, false
		for _, s := range h.Stages {
			c := junitCase{Name: s.Name, seconds: s.Seconds}
			switch s.Result {
			case Failed:
				told = true
				c.Error = &junitWhy{Type: h.Result, Message: s.Error, Text: hintLine(h.Hint)}
			case Skipped:
				c.Skipped = &junitWhy{Message: s.Error}
			}
			if len(s.Notes) > 0 {
				c.Out = &junitPlain{strings.Join(s.Notes, "\n")}
			}
			j.add(suite, c)
		}
		if h.Result != OK && !told {
			j.add(suite, junitCase{Name: h.Result, Error: &junitWhy{
				Type: h.Result, Message: cmp.Or(h.Error, "no reason is known"), Text: hintLine(h.Hint),
			}})
		}
	}
}

func (j *junitWriter) probes() {
	for i, p := range j.Probes {
		c := junitCase{
			Name:    fmt.Sprintf("%s %s -> %s %s", p.what(), end(p.From, p.FromHost), end(p.To, p.ToHost), p.Address),
			seconds: p.RTT.Avg / 1000,
		}
		if p.Stage == StageCheck || p.Kind == KindIsolation {
			c.Name = p.expected()
		}
		if p.Throughput > 0 {
			c.Out = &junitPlain{Throughput(p.Throughput)}
		}
		switch p.Result {
		case Fail:
			c.Failure = &junitWhy{Type: p.Kind, Message: p.why(), Text: j.explain(i)}
		case Skipped:
			c.Skipped = &junitWhy{Message: p.Error}
		}
		j.add(fmt.Sprintf("%s proof in %s", p.Stage, p.Network), c)
	}
}

// explain gives the findings that are about the probe numbered i, and its hint.
func (j *junitWriter) explain(i int) string {
	var lines []string
	for _, f := range j.Findings {
		for _, probe := range f.Probes {
			if probe == i {
				lines = append(lines, f.line(), hintLine(f.Mend))
			}
		}
	}
	return strings.TrimSpace(strings.Join(append(lines, hintLine(j.Probes[i].Hint)), "\n"))
}

// findings are cases of their own, also where they are about probes: CI servers
// group by message, and this is the one that says what to do.
func (j *junitWriter) findings() {
	for _, f := range j.Findings {
		c := junitCase{Name: f.Layer + " on " + cmp.Or(f.Host, "all hosts")}
		if f.Severity == SeverityWarning {
			c.Out = &junitPlain{strings.TrimSpace(f.line() + "\n" + hintLine(f.Mend))}
		} else {
			c.Failure = &junitWhy{Type: f.Layer, Message: f.line(), Text: hintLine(f.Mend)}
		}
		j.add("findings", c)
	}
}

func (j *junitWriter) gates() {
	for _, g := range j.Gates {
		c := junitCase{Name: g.Name + " " + g.Limit}
		if g.Result == Fail {
			c.Failure = &junitWhy{Type: "gate", Message: g.By}
		} else {
			c.Out = &junitPlain{g.By}
		}
		j.add("gates", c)
	}
}

func hintLine(hint string) string {
	if hint == "" {
		return ""
	}
	return "hint: " + hint
}

func junitTime(seconds float64) string { return fmt.Sprintf("%.3f", seconds) }
