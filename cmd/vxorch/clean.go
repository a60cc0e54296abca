package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/report"
	"vxorch/orchestrator/run"
)

func cleanVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "clean", Usage: "remove cached helpers and images that nothing uses", ArgsUsage: "[INVENTORY]",
		Description: "On the lab's hosts, of whatever lab they are. What stands, and what a verb at work needs, is not touched; the helper that\n" +
			"does this stays, too. On this machine: images that were fetched and not used for 30 days.",
		Flags: runFlags("text", "json"), OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			var removed map[string][]string
			outcome, err := onHosts(c, s, func(ctx context.Context, o *orchestrator.Controller, lab *inventory.Lab, _ asker) (out orchestrator.Outcome) {
				out, removed = o.Clean(ctx, lab)
				return out
			}, func(w io.Writer, o orchestrator.Outcome, format string) error {
				if err := writeResult(w, o, format); err != nil || format != "text" {
					return err
				}
				return writeRemoved(w, o.Result, removed)
			}, false)
			if err != nil {
				return err
			}
			return conclude(outcome)
		},
	}
}

// writeRemoved lists what this machine and the hosts are rid of.
func writeRemoved(w io.Writer, r *report.Result, removed map[string][]string) error {
	names := []string{run.Here}
	for _, h := range r.Hosts {
		names = append(names, h.Name)
	}
	for _, name := range names {
		for _, path := range removed[name] {
			if _, err := fmt.Fprintf(w, "%s: removed %s\n", name, report.Clean(path)); err != nil {
				return err
			}
		}
	}
	return nil
}
