package main

import (
	"context"
	"io"

	"github.com/urfave/cli/v2"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/report"
)

func statusVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show what stands on the hosts, against the inventory", ArgsUsage: "[INVENTORY]",
		Description: "Names every object that the inventory asks for, that the lab has beyond it, or that is in its way, how it differs and what deploy would do. Changes nothing, waits for no lock, sends no probes. Exits with 0 if all is as wanted, with 3 if something is not.",
		Flags:       append(runFlags("text", "json"), partFlags()...), OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			outcome, err := onHosts(c, s, func(ctx context.Context, o *orchestrator.Controller, lab *inventory.Lab, _ asker) orchestrator.Outcome {
				return o.Status(ctx, lab)
			}, writeStatus, false)
			if err != nil {
				return err
			}
			return conclude(outcome)
		},
	}
}

func writeStatus(w io.Writer, o orchestrator.Outcome, format string) error {
	if format == "json" {
		return report.WriteJSON(w, o.Result)
	}
	return report.WriteStatusText(w, o.Result, textOptions(w))
}
