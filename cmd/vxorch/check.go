package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/report"
)

func checkVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "look for what would keep the lab from working, before it is built", ArgsUsage: "[INVENTORY]",
		Description: "Reads the hosts and sends a few datagrams between them, as tunnels would; changes nothing. Each finding says what was seen and what to do. Exits 1 if one of them is an error.",
		Flags:       append(runFlags(reportFormats...), partFlags()...), OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			outcome, err := onHosts(c, s, func(ctx context.Context, o *orchestrator.Controller, lab *inventory.Lab, _ asker) orchestrator.Outcome {
				return o.Check(ctx, lab)
			}, writeResult, false)
			if err != nil {
				return err
			}
			return concludeCheck(outcome)
		},
	}
}

// concludeCheck makes an error of findings that are errors: exit code 1.
func concludeCheck(o orchestrator.Outcome) error {
	found := 0
	for _, f := range o.Result.Findings {
		if f.Severity == report.SeverityError {
			found++
		}
	}
	errs := o.Errs
	if found > 0 {
		errs = append(errs, &foundError{found})
	}
	return errors.Join(errs...)
}

// foundError says that a check found errors, which its result names.
type foundError struct{ count int }

func (e *foundError) Error() string {
	return fmt.Sprintf("check found %s that will keep the lab from working", count(e.count, "thing"))
}
