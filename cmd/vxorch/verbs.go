package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"vxorch/inventory"
	"vxorch/orchestrator"
)

func initVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "write an inventory for these hosts", ArgsUsage: "HOST…",
		Description: "HOST is a name, an address, user@address or name=address. The lab is the one of the README, spread over the hosts.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "lab", Value: "lu", Usage: "the lab's `NAME`"},
			&cli.StringFlag{Name: "image", Usage: "a VM on each host, too, from this qcow2 `FILE` or URL"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: defaultInventory, Usage: "write `FILE`; - is standard output"},
		},
		OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return &usageError{"init needs at least one host", "vxorch init host1.example.net host2.example.net"}
			}
			file := c.String("output")
			text, err := inventory.Template(c.String("lab"), c.Args().Slice(), seenFrom(file, c.String("image")))
			if err != nil {
				return &usageError{err.Error(), ""}
			}
			if file == "-" {
				_, err := s.out.Write(text)
				return err
			}
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, os.ErrExist) {
				return &usageError{file + " exists already", "choose another file with -o, or - for standard output"}
			}
			if err != nil {
				return err
			}
			if _, err := f.Write(text); err != nil {
				return errors.Join(err, f.Close())
			}
			if err := f.Close(); err != nil {
				return err
			}
			fmt.Fprintf(s.err, "wrote %s; look it over, then: vxorch deploy %s\n", file, file)
			return nil
		},
	}
}

// seenFrom is a relative image file as an inventory in another folder has to
// write it.
func seenFrom(inventory, image string) string {
	if image == "" || inventory == "-" || filepath.IsAbs(image) || strings.HasPrefix(image, "~/") || strings.Contains(image, "://") {
		return image
	}
	relative, err := filepath.Rel(filepath.Dir(inventory), image)
	if err == nil {
		return relative
	}
	if absolute, err := filepath.Abs(image); err == nil {
		return absolute // the inventory's path is absolute, or climbs out of this folder
	}
	return image
}

func validateVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "check the inventory alone", ArgsUsage: "[INVENTORY]",
		Flags: []cli.Flag{inventoryFlag()}, OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			lab, err := loadLab(c, s)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "lab %s: %s, %s, %s", lab.Name,
				count(len(lab.Hosts), "host"), count(len(lab.Networks), "network"), count(len(lab.Containers), "container"))
			if len(lab.VMs) > 0 {
				fmt.Fprintf(s.out, ", %s", count(len(lab.VMs), "VM"))
			}
			fmt.Fprintln(s.out)
			return nil
		},
	}
}

func planVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "print the steps that deploy would run", ArgsUsage: "[INVENTORY]",
		Flags:        append(append(runFlags("text", "json"), partFlags()...), fullFlag(), &cli.BoolFlag{Name: "exit-code", DisableDefaultText: true, Usage: "exit 3 if there is work"}),
		OnUsageError: badUsage,
		Action:       func(c *cli.Context) error { return runPlan(c, s) },
	}
}

func runPlan(c *cli.Context, s streams) error {
	outcome, err := onHosts(c, s, func(ctx context.Context, o *orchestrator.Controller, lab *inventory.Lab, _ asker) orchestrator.Outcome {
		return o.Plan(ctx, lab)
	}, func(w io.Writer, o orchestrator.Outcome, format string) error {
		switch {
		case format == "json":
			return o.Plan.WriteJSON(w, o.Result.Left, o.Errs)
		case len(o.Plan.Phases) == 0:
			return nil // the errors say why there is none
		}
		return o.Plan.WriteText(w)
	}, false)
	if err != nil {
		return err
	}
	if len(outcome.Errs) == 0 && c.Bool("exit-code") && outcome.Plan.Changes() > 0 {
		return errUnwanted
	}
	return errors.Join(outcome.Errs...)
}

func deployVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "deploy", Usage: "build the lab, prove it, report", ArgsUsage: "[INVENTORY]",
		Description: "Works from any state: what stands as wanted is left alone. Takes away workloads that the inventory no longer has. Asks before it removes one that another user or controller made, or a VM, and before it makes a VM anew, since what is on its disk is lost then. With --rollback a deploy that fails on a host, or is interrupted, takes away again what it has created, on every host that still answers; what stood before it and was changed or made anew stays as it is by then, what it removed is gone, and a lost probe is no failure.",
		Flags: append(append(append(runFlags(reportFormats...), partFlags()...), gateFlags()...), yesFlag(), fullFlag(),
			&cli.BoolFlag{Name: "rollback", DisableDefaultText: true, Usage: "if any host fails, take away again what this run has made", EnvVars: []string{"VXORCH_ROLLBACK"}},
			&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "print the steps, change nothing (as plan does)"}),
		OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			if c.Bool("dry-run") {
				if err := plainFormat(c, "--dry-run"); err != nil {
					return err
				}
				return runPlan(c, s)
			}
			outcome, err := onHosts(c, s, func(ctx context.Context, o *orchestrator.Controller, lab *inventory.Lab, ask asker) orchestrator.Outcome {
				o.Rollback = c.Bool("rollback")
				return o.Deploy(ctx, lab, ask.confirmRemovals)
			}, writeResult, true)
			if err != nil {
				return err
			}
			return conclude(outcome)
		},
	}
}

func verifyVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "send the probes again", ArgsUsage: "[INVENTORY]",
		Flags: append(append(append(runFlags(reportFormats...), partFlags()...), gateFlags()...), fullFlag()), OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			outcome, err := onHosts(c, s, func(ctx context.Context, o *orchestrator.Controller, lab *inventory.Lab, _ asker) orchestrator.Outcome {
				return o.Verify(ctx, lab)
			}, writeResult, true)
			if err != nil {
				return err
			}
			return conclude(outcome)
		},
	}
}

func destroyVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "destroy", Usage: "take the lab away", ArgsUsage: "[INVENTORY]",
		Description: "Removes everything that bears the lab's mark on its hosts, and nothing else. Without an inventory: --lab NAME --host ADDRESS …",
		Flags: append(append(runFlags(reportFormats...), partFlags()...), yesFlag(),
			&cli.StringFlag{Name: "lab", Usage: "the lab's `NAME`, without an inventory"},
			&cli.StringSliceFlag{Name: "host", Usage: "a `HOST` of it as for init; may be repeated"},
			&cli.StringFlag{Name: "identity", Usage: "private key `FILE` for --host"},
			&cli.StringFlag{Name: "known-hosts", Usage: "known_hosts `FILE` for --host"}),
		OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			outcome, err := onHosts(c, s, func(ctx context.Context, o *orchestrator.Controller, lab *inventory.Lab, ask asker) orchestrator.Outcome {
				return o.Destroy(ctx, lab, ask.confirmDestroy(lab.Name))
			}, writeResult, false)
			if err != nil {
				return err
			}
			return conclude(outcome)
		},
	}
}

// labOf is the inventory's lab, or the one named by --lab and --host.
func labOf(c *cli.Context, s streams) (*inventory.Lab, error) {
	name, hosts := c.String("lab"), c.StringSlice("host")
	switch {
	case name == "" && len(hosts) == 0:
		return loadLab(c, s)
	case name == "" || len(hosts) == 0:
		return nil, &usageError{"--lab and --host go together", "vxorch destroy --lab NAME --host ADDRESS --host ADDRESS, or name the inventory"}
	case c.Args().Present():
		return nil, &usageError{"--lab and --host stand in for an inventory", "name one or the other"}
	}
	text, err := inventory.Template(name, hosts, "")
	if err != nil {
		return nil, &usageError{err.Error(), ""}
	}
	lab, err := inventory.Parse("--host", text)
	if err != nil {
		return nil, err
	}
	for i := range lab.Hosts {
		ssh := &lab.Hosts[i].SSH
		if file := c.String("identity"); file != "" {
			ssh.Identity = []string{file}
		}
		if file := c.String("known-hosts"); file != "" {
			ssh.KnownHosts = []string{file}
		}
	}
	return lab, nil
}

// onHosts is the frame of every verb that reaches hosts: lab, progress, the verb
// itself, its result on standard output and, if asked to, kept for `report`.
func onHosts(c *cli.Context, s streams,
	verb func(context.Context, *orchestrator.Controller, *inventory.Lab, asker) orchestrator.Outcome,
	write func(w io.Writer, o orchestrator.Outcome, format string) error, keep bool,
) (orchestrator.Outcome, error) {
	var none orchestrator.Outcome
	lab, err := labOf(c, s)
	if err != nil {
		return none, err
	}
	limits, err := limitsOf(c)
	if err != nil {
		return none, err
	}
	show, err := newProgress(c.String("progress"), s.err, lab)
	if err != nil {
		return none, err
	}
	o, err := controller(c, s, lab, show)
	if err != nil {
		return none, err
	}
	o.Full = c.Bool("full")
	if o.Part, err = partOf(c, lab); err != nil {
		return none, err
	}
	// What cannot be written is known before hosts are changed.
	out, err := openOutput(c, s)
	if err != nil {
		return none, err
	}
	ctx, cancel, err := bounded(c)
	if err != nil {
		return none, err
	}
	defer cancel()
	outcome := verb(ctx, o, lab, asker{ctx, s, c.Bool("yes"), show.hold, o.User, o.Machine})
	show.end()
	printWarnings(s.err, outcome.Warnings)
	outcome.Result.Gates = limits.Gate(outcome.Result)
	if keep {
		if outcome.Result.Run, err = store().Save(outcome.Result); err != nil {
			fmt.Fprintf(s.err, "vxorch: warning: this run is not kept for `vxorch report`: %v\n", err)
		}
	}
	if err := errors.Join(write(out, outcome, c.String("format")), out.Close()); err != nil {
		return outcome, errors.Join(append(outcome.Errs, err)...)
	}
	return outcome, nil
}

func versionVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version", OnUsageError: badUsage,
		Action: func(*cli.Context) error {
			fmt.Fprintln(s.out, "vxorch", version())
			return nil
		},
	}
}

// version is the module's, which a build in a checkout does not have.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func count(n int, thing string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, thing)
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
