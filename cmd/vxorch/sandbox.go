package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"

	"vxorch/remote/sandbox"
)

func sandboxVerb(s streams) *cli.Command {
	return &cli.Command{
		Name: "sandbox", Usage: "hosts on this machine for trying and testing (Linux, root)",
		Description:  "Each host is a set of namespaces with a real sshd. They reach each other and `sandbox exec`, and nothing else.",
		OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return &usageError{fmt.Sprintf("unknown verb %q of sandbox", c.Args().First()), "vxorch sandbox --help lists them"}
			}
			return cli.ShowSubcommandHelp(c)
		},
		Subcommands: []*cli.Command{
			sandboxUp(s), sandboxDown(), sandboxStatus(s), sandboxExec(s),
			onSandboxHost("stop", "end a host as a power cut does", (*sandbox.Sandbox).Stop),
			onSandboxHost("reboot", "start a host again; its disk stays, the rest is lost", (*sandbox.Sandbox).Reboot),
		},
	}
}

// sandboxFlags are those of every verb of sandbox, and more.
func sandboxFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		orUsual(&cli.StringFlag{Name: "name", Value: sandbox.DefaultName, Usage: "the sandbox's `NAME`", EnvVars: []string{"VXORCH_SANDBOX"}}),
		orUsual(&cli.StringFlag{Name: "state", Usage: "keep sandboxes under `DIR`", EnvVars: []string{"VXORCH_SANDBOX_STATE"}, Value: sandbox.DefaultState}),
	}, more...)
}

// inSandbox is an action on a sandbox that is up.
func inSandbox(do func(*cli.Context, *sandbox.Sandbox) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		box, err := sandbox.Open(c.String("state"), c.String("name"))
		if errors.Is(err, fs.ErrNotExist) {
			return &usageError{fmt.Sprintf("there is no sandbox %s", c.String("name")), "vxorch sandbox up starts one; --name names another"}
		}
		if err != nil {
			return err
		}
		return do(c, box)
	}
}

func sandboxUp(s streams) *cli.Command {
	return &cli.Command{
		Name: "up", Usage: "start hosts and write an inventory for them", OnUsageError: badUsage,
		Flags: sandboxFlags(
			&cli.IntFlag{Name: "hosts", Aliases: []string{"n"}, Value: 2, Usage: "start `N` hosts"},
			&cli.IntFlag{Name: "mtu", Value: 1500, Usage: "the underlay's MTU in `BYTES`"},
			&cli.StringFlag{Name: "device", Value: "eth0", Usage: "the underlay device's `NAME` on the hosts"},
			&cli.BoolFlag{Name: "ipv6", DisableDefaultText: true, Usage: "an IPv6 underlay"},
			&cli.BoolFlag{Name: "libvirt", DisableDefaultText: true, Usage: "the hosts run libvirtd, for VMs"},
			&cli.IntFlag{Name: "owner", Usage: "the sandbox is of no use any more when the process `PID` ends; the next one to come up removes it", EnvVars: []string{"VXORCH_SANDBOX_OWNER"}},
		),
		Action: func(c *cli.Context) error {
			if c.Args().Present() || c.Int("hosts") < 1 {
				return &usageError{"sandbox up takes options only, and -n at least 1", "vxorch sandbox up -n 3"}
			}
			box, err := sandbox.Up(c.Context, sandbox.Options{
				Name: c.String("name"), State: c.String("state"), Hosts: c.Int("hosts"),
				MTU: c.Int("mtu"), Device: c.String("device"), IPv6: c.Bool("ipv6"), Libvirt: c.Bool("libvirt"), Owner: c.Int("owner"),
			})
			if err != nil {
				return err
			}
			fmt.Fprintln(s.out, box.Inventory())
			named := ""
			if name := c.String("name"); name != sandbox.DefaultName {
				named = "--name " + name + " "
			}
			fmt.Fprintf(s.err, "%s up; try: vxorch sandbox exec %s-- vxorch deploy %s\n", count(c.Int("hosts"), "host"), named, box.Inventory())
			return nil
		},
	}
}

func sandboxDown() *cli.Command {
	return &cli.Command{
		Name: "down", Usage: "end the hosts and leave nothing", Flags: sandboxFlags(), OnUsageError: badUsage,
		Action: inSandbox(func(c *cli.Context, box *sandbox.Sandbox) error { return box.Down(c.Context) }),
	}
}

func sandboxStatus(s streams) *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "list the hosts", OnUsageError: badUsage,
		Flags: sandboxFlags(&cli.BoolFlag{Name: "inventory", DisableDefaultText: true, Usage: "print where the inventory is, nothing else"}),
		Action: inSandbox(func(c *cli.Context, box *sandbox.Sandbox) error {
			if c.Bool("inventory") {
				fmt.Fprintln(s.out, box.Inventory())
				return nil
			}
			status, err := box.Status()
			if err != nil {
				return err
			}
			for _, h := range status.Hosts {
				state := "running"
				if h.PID == 0 {
					state = "stopped"
				}
				fmt.Fprintf(s.out, "%s\t%s\t%s\n", h.Name, h.Address, state)
			}
			return nil
		}),
	}
}

func sandboxExec(s streams) *cli.Command {
	enter := inSandbox(func(c *cli.Context, box *sandbox.Sandbox) error { return execIn(c, box, s) })
	return &cli.Command{
		Name: "exec", Usage: "run a command where the hosts can be reached", ArgsUsage: "-- CMD [ARG…]", OnUsageError: badUsage,
		Description: "CMD runs on this machine, in a network namespace that reaches the hosts and has no default route. With --on HOST it runs on that host.",
		Flags:       sandboxFlags(&cli.StringFlag{Name: "on", Usage: "run on `HOST`"}),
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return &usageError{"sandbox exec needs a command", "vxorch sandbox exec -- vxorch deploy INVENTORY"}
			}
			return enter(c)
		},
	}
}

// onSandboxHost is a verb about one host of the sandbox.
func onSandboxHost(name, usage string, do func(*sandbox.Sandbox, context.Context, string) error) *cli.Command {
	enter := inSandbox(func(c *cli.Context, box *sandbox.Sandbox) error { return do(box, c.Context, c.Args().First()) })
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: "HOST", Flags: sandboxFlags(), OnUsageError: badUsage,
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return &usageError{"sandbox " + name + " takes one host", "vxorch sandbox status lists them"}
			}
			return enter(c)
		},
	}
}

func execIn(c *cli.Context, box *sandbox.Sandbox, s streams) error {
	argv := c.Args().Slice()
	if argv[0] == "vxorch" {
		self, err := ownPath()
		if err != nil {
			return err
		}
		argv[0] = self
	}
	enter := box.Exec
	if host := c.String("on"); host != "" {
		enter = func(ctx context.Context, argv []string, in io.Reader, out, err io.Writer) (int, error) {
			return box.HostExec(ctx, host, argv, in, out, err)
		}
	}
	// A Ctrl-C reaches the command by itself, which shares the terminal; passing
	// it on would make it two, and the second one ends vxorch without a word.
	signals := []os.Signal{syscall.SIGTERM}
	if !isTerminal(s.in) {
		signals = append(signals, os.Interrupt)
	}
	ctx, stop := signal.NotifyContext(context.WithoutCancel(c.Context), signals...)
	defer stop()
	code, err := enter(ctx, argv, s.in, s.out, s.err)
	if err != nil {
		return err
	}
	if code != 0 {
		return exitStatus(code)
	}
	return nil
}

// ownPath is where this program was started from, whether or not that is in
// PATH.
func ownPath() (string, error) {
	found, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", err
	}
	return filepath.Abs(found)
}
