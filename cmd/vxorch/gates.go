package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"vxorch/orchestrator/report"
	"vxorch/orchestrator/verify"
)

// gateFlags set bounds on a run, for CI.
func gateFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "max-duration", Usage: "exit 3 if the run takes longer than `D`", DefaultText: "no bound", EnvVars: []string{"VXORCH_MAX_DURATION"}},
		&cli.StringFlag{Name: "max-loss", Usage: "exit 3 if more than `PCT` percent of all ping requests are lost", DefaultText: "no bound", EnvVars: []string{"VXORCH_MAX_LOSS"}},
		&cli.DurationFlag{Name: "max-rtt", Usage: "exit 3 if any ping takes longer than `D`, for example 5ms", DefaultText: "no bound", EnvVars: []string{"VXORCH_MAX_RTT"}},
	}
}

// limitsOf are the bounds that gateFlags set; a verb without them has none.
func limitsOf(c *cli.Context) (verify.Limits, error) {
	var l verify.Limits
	for _, name := range []string{"max-duration", "max-rtt"} {
		if !c.IsSet(name) {
			continue
		}
		d := c.Duration(name)
		switch {
		case d < 0:
			return l, &usageError{fmt.Sprintf("--%s %s is negative", name, d), ""}
		case name == "max-rtt":
			l.RTT = &d
		default:
			l.Duration = &d
		}
	}
	if c.IsSet("max-loss") {
		text := c.String("max-loss")
		percent, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
		if err != nil || !(percent >= 0 && percent <= 100) { // nor NaN
			return l, &usageError{fmt.Sprintf("--max-loss %s is not a percentage", text), "a number from 0 to 100"}
		}
		l.Loss = &percent
	}
	return l, nil
}

// crossed are the gates that a run crossed, each an error.
func crossed(r *report.Result) []error {
	var errs []error
	for _, g := range r.Gates {
		if g.Result == report.Fail {
			errs = append(errs, gateError(g))
		}
	}
	return errs
}

// gateError is a gate that was crossed: nothing failed.
type gateError report.Gate

func (e gateError) Error() string { return report.Gate(e).Line() }

func (e gateError) Is(target error) bool { return target == errUnwanted }
