package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"vxorch/orchestrator/history"
	"vxorch/orchestrator/report"
)

// listRuns shows which runs are kept of a lab.
func listRuns(c *cli.Context, s streams) error {
	if err := plainFormat(c, "--list"); err != nil {
		return err
	}
	lab, err := labOfRuns(c, s)
	if err != nil {
		return err
	}
	numbers, err := store().List(lab)
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		return &usageError{fmt.Sprintf("lab %s has no runs", lab), "vxorch deploy or verify makes one"}
	}
	var runs []report.Summary
	for _, n := range numbers {
		r, err := store().Load(lab, n)
		if errors.Is(err, fs.ErrNotExist) {
			continue // forgotten meanwhile
		}
		if err != nil {
			return err
		}
		runs = append(runs, r.Summary())
	}
	return written(c, s, func(w io.Writer) error {
		if c.String("format") == "json" {
			return report.WriteRunsJSON(w, lab, runs)
		}
		return report.WriteRunsText(w, lab, runs, textOptions(w))
	})
}

// diffRuns shows what one run differs in from another.
func diffRuns(c *cli.Context, s streams) error {
	if err := plainFormat(c, "--diff"); err != nil {
		return err
	}
	before, after, err := twoRuns(c.String(diffOption))
	if err != nil {
		return err
	}
	lab, err := labOfRuns(c, s)
	if err != nil {
		return err
	}
	var results [2]*report.Result
	for i, n := range []int{before, after} {
		results[i], err = store().Load(lab, n)
		if errors.Is(err, fs.ErrNotExist) {
			return &usageError{err.Error(), "vxorch report --list shows those that are kept"}
		}
		if err != nil {
			return err
		}
	}
	diff := history.Compare(results[0], results[1])
	return written(c, s, func(w io.Writer) error {
		if c.String("format") == "json" {
			return report.WriteDiffJSON(w, diff)
		}
		return report.WriteDiffText(w, diff, textOptions(w))
	})
}

// twoRuns are the numbers in the value of --diff; 0 is the last run.
func twoRuns(value string) (before, after int, err error) {
	first, second, two := strings.Cut(value, ",")
	before, err = strconv.Atoi(first)
	if err == nil && two {
		after, err = strconv.Atoi(second)
	}
	if err != nil || before < 1 || two && after < 1 {
		return 0, 0, &usageError{fmt.Sprintf("--diff %s: not the numbers of two runs", value), "vxorch report --diff 3 4; --list shows those that are kept"}
	}
	return before, after, nil
}

// plainFormat refuses the formats that are a report's alone.
func plainFormat(c *cli.Context, option string) error {
	if f := c.String("format"); f != "text" && f != "json" && !fallBack(c, f) {
		return &usageError{fmt.Sprintf("%s has no format %s", option, f), "text or json"}
	}
	return nil
}

// labOfRuns is the lab that is asked for, or the one that ran last.
func labOfRuns(c *cli.Context, s streams) (string, error) {
	lab, err := labAsked(c, s)
	if err != nil || lab != "" {
		return lab, err
	}
	r, err := storedRun(c, s)
	if err != nil {
		return "", err
	}
	return r.Lab, nil
}
