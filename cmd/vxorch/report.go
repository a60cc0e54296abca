package main

import (
	"errors"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"vxorch/orchestrator"
	"vxorch/orchestrator/history"
	"vxorch/orchestrator/report"
)

// reportFormats are those of verbs whose result is a report.
var reportFormats = []string{"text", "json", "junit", "markdown", "html"}

func store() history.Store { return history.Store{Root: history.DefaultRoot()} }

func reportVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "report", Usage: "show the last run's results", ArgsUsage: "[INVENTORY]",
		Description: "Of the lab of INVENTORY, or of --lab NAME; with neither, the latest run of all labs. Of a lab the last twenty runs of deploy and verify are kept. Exits with 0 whatever the run came to, unless a gate that is given here is crossed: then with 3.",
		Flags: append([]cli.Flag{
			inventoryFlag(), formatFlag(reportFormats...), outputFlag(),
			&cli.StringFlag{Name: "lab", Usage: "the lab's `NAME`"},
			&cli.IntFlag{Name: "run", Usage: "the run numbered `N` (default: the last)"},
			&cli.BoolFlag{Name: "list", DisableDefaultText: true, Usage: "list the runs that are kept instead"},
			&cli.StringFlag{Name: diffOption, Usage: "show what run B differs in from run A instead: `A B`, or A alone for the last"},
			&cli.BoolFlag{Name: "schema", DisableDefaultText: true, Usage: "print the JSON Schema of -f json instead"},
		}, gateFlags()...),
		OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			if c.Bool("schema") {
				return written(c, s, report.WriteSchema)
			}
			if c.Bool("list") {
				return listRuns(c, s)
			}
			if c.IsSet(diffOption) {
				return diffRuns(c, s)
			}
			limits, err := limitsOf(c)
			if err != nil {
				return err
			}
			result, err := storedRun(c, s)
			if err != nil {
				return err
			}
			gates := limits.Gate(result)
			if len(gates) > 0 {
				result.Gates = gates
			}
			err = written(c, s, func(w io.Writer) error { return writeReport(w, result, c.String("format")) })
			return errors.Join(append(crossed(&report.Result{Gates: gates}), err)...)
		},
	}
}

// written has write write to standard output, or to the file of --output.
func written(c *cli.Context, s streams, write func(io.Writer) error) error {
	out, err := openOutput(c, s)
	if err != nil {
		return err
	}
	return errors.Join(write(out), out.Close())
}

// storedRun is the run that the options name.
func storedRun(c *cli.Context, s streams) (*report.Result, error) {
	name, err := labAsked(c, s)
	if err != nil {
		return nil, err
	}
	if name == "" {
		if c.IsSet("run") {
			return nil, &usageError{"--run needs a lab", "name the inventory, or --lab NAME"}
		}
		result, err := store().Latest()
		if errors.Is(err, os.ErrNotExist) {
			return nil, &usageError{"no run to report yet", "vxorch deploy INVENTORY makes one"}
		}
		return result, err
	}
	result, err := store().Load(name, c.Int("run"))
	switch {
	case errors.Is(err, os.ErrNotExist) && c.Int("run") != 0:
		return nil, &usageError{err.Error(), "vxorch report --list shows those that are kept"}
	case errors.Is(err, os.ErrNotExist):
		return nil, &usageError{err.Error(), "vxorch deploy or verify makes one"}
	}
	return result, err
}

// writeResult writes a verb's result.
func writeResult(w io.Writer, o orchestrator.Outcome, format string) error {
	return writeReport(w, o.Result, format)
}

func writeReport(w io.Writer, r *report.Result, format string) error {
	switch format {
	case "json":
		return report.WriteJSON(w, r)
	case "junit":
		return report.WriteJUnit(w, r)
	case "markdown":
		return report.WriteMarkdown(w, r)
	case "html":
		return report.WriteHTML(w, r)
	}
	return report.WriteText(w, r, textOptions(w))
}

func textOptions(w io.Writer) report.TextOptions {
	out, ok := w.(output)
	return report.TextOptions{Color: ok && isTerminal(out.Writer) && os.Getenv("NO_COLOR") == ""}
}

// labAsked is the lab that a report is asked of; empty: whichever ran last.
func labAsked(c *cli.Context, s streams) (string, error) {
	if name := c.String("lab"); name != "" || !c.Args().Present() && !c.IsSet("inventory") {
		return name, nil
	}
	lab, err := loadLab(c, s)
	if err != nil {
		return "", err
	}
	return lab.Name, nil
}
