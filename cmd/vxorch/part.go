package main

import (
	"github.com/urfave/cli/v2"

	"vxorch/inventory"
)

// partFlags choose some of a lab's hosts.
func partFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "only", Usage: "this `HOST` alone, or range of hosts as node[01-16]; the others are not contacted; may be repeated", EnvVars: []string{"VXORCH_ONLY"}},
		&cli.StringSliceFlag{Name: "except", Usage: "every host but this `HOST` or range; may be repeated", EnvVars: []string{"VXORCH_EXCEPT"}},
	}
}

// partOf gives the hosts of lab that partFlags chose, nil for all of them.
func partOf(c *cli.Context, lab *inventory.Lab) ([]string, error) {
	only, except := c.StringSlice("only"), c.StringSlice("except")
	if len(only) == 0 && len(except) == 0 {
		return nil, nil
	}
	part, err := lab.Select(only, except)
	if err != nil {
		return nil, &usageError{err.Error(), "--only and --except take the names of hosts as they stand in the inventory"}
	}
	return part, nil
}
