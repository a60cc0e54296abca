package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"vxorch/inventory"
	"vxorch/orchestrator"
)

func prepareVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "prepare", Usage: "install what hosts lack for their part", ArgsUsage: "[INVENTORY]",
		Description:  "Hosts with VMs need libvirt and QEMU; their own package manager (apt or dnf) installs them. Shows the list and asks first. A host that lacks nothing is left alone.",
		Flags:        append(runFlags("text", "json"), yesFlag()),
		OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			outcome, err := onHosts(c, s, func(ctx context.Context, o *orchestrator.Controller, lab *inventory.Lab, ask asker) orchestrator.Outcome {
				return o.Prepare(ctx, lab, ask.confirmInstall)
			}, writeResult, false)
			if err != nil {
				return err
			}
			return conclude(outcome)
		},
	}
}

// confirmInstall shows what hosts lack and asks before it is installed.
func (a asker) confirmInstall(lacks []orchestrator.Lack) error {
	hosts := 0
	var lines []string
	for _, l := range lacks {
		var todo []string
		if len(l.Packages) > 0 {
			todo = append(todo, fmt.Sprintf("install with %s: %s", l.Manager, strings.Join(l.Packages, " ")))
		}
		if len(l.Units) > 0 {
			todo = append(todo, "enable and start: "+strings.Join(l.Units, " "))
		}
		if len(todo) > 0 {
			hosts++
		}
		for _, line := range append(todo, l.Notes...) {
			lines = append(lines, l.Host+": "+line)
		}
	}
	return a.confirm(lines, fmt.Sprintf("prepare %s?", count(hosts, "host")))
}
