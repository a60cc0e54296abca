package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"vxorch/inventory"
	"vxorch/orchestrator/trace"
)

func traceVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "trace", Usage: "follow one ping hop by hop", ArgsUsage: "FROM TO",
		Description: "FROM is a container or a VM of the inventory, TO another one or an address. Sends one ping and listens at every link on its way, on both hosts at once: veth, bridge port, VTEP, underlay, and back. Shows when it was where and, if it is lost, where it was seen last. The hosts' clocks are compared over the wire, and times of different hosts shown with what that leaves open. Changes nothing. Exits with 3 if there was no answer.",
		Flags:       runFlags("text", "json"), OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return &usageError{fmt.Sprintf("trace takes FROM and TO, not %s", count(c.NArg(), "argument")), "vxorch trace cn1 cn2, with -i FILE if the inventory is not " + defaultInventory}
			}
			lab, err := namedLab(c, s)
			if err != nil {
				return err
			}
			path, err := trace.Find(lab, c.Args().Get(0), c.Args().Get(1))
			if err != nil {
				return &usageError{err.Error(), "names are those of the inventory's containers and vms"}
			}
			return runTrace(c, s, lab, path)
		},
	}
}

func runTrace(c *cli.Context, s streams, lab *inventory.Lab, path *trace.Path) error {
	show, err := newProgress(c.String("progress"), s.err, lab)
	if err != nil {
		return err
	}
	o, err := controller(c, s, lab, show)
	if err != nil {
		return err
	}
	out, err := openOutput(c, s)
	if err != nil {
		return err
	}
	ctx, cancel, err := bounded(c)
	if err != nil {
		return err
	}
	defer cancel()
	outcome := o.Trace(ctx, lab, path)
	show.end()
	if outcome.Result == nil {
		return errors.Join(append(outcome.Errs, out.Close())...)
	}
	write := func() error { return trace.WriteText(out, outcome.Result, textOptions(out)) }
	if c.String("format") == "json" {
		write = func() error { return trace.WriteJSON(out, outcome.Result) }
	}
	if err := errors.Join(write(), out.Close()); err != nil {
		return err
	}
	if outcome.Result.Result != trace.Answered {
		return errUnwanted
	}
	return nil
}
