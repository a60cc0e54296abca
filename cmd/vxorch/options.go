package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/images"
	"vxorch/orchestrator/run"
	"vxorch/remote"
	"vxorch/remote/hostapi"
)

const (
	defaultInventory = "inventory.yaml"
	defaultParallel  = 64
)

// Options that several verbs have. Each may also be set by VXORCH_….
func inventoryFlag() cli.Flag {
	return &cli.StringFlag{Name: "inventory", Aliases: []string{"i"}, Usage: "the inventory `FILE`; - is standard input", EnvVars: []string{"VXORCH_INVENTORY"}}
}

// formatFlag lets the user choose one of the formats, text if none is named.
func formatFlag(formats ...string) cli.Flag {
	last := len(formats) - 1
	return &cli.StringFlag{
		Name: "format", Aliases: []string{"f"}, Value: "text", EnvVars: []string{formatVariable},
		Usage: fmt.Sprintf("`FORMAT` of the result: %s or %s", strings.Join(formats[:last], ", "), formats[last]),
		Action: func(c *cli.Context, f string) error {
			if slices.Contains(formats, f) || fallBack(c, f) {
				return nil
			}
			return &usageError{fmt.Sprintf("unknown format %q", f), "one of " + strings.Join(formats, ", ")}
		},
	}
}

const formatVariable = "VXORCH_FORMAT"

// fallBack has a verb without a report's format f give text, if it is the variable
// that asks for f, which is set for the verbs that do have it. Empty it asks for
// none.
func fallBack(c *cli.Context, f string) bool {
	return (f == "" || slices.Contains(reportFormats, f)) && fromEnvironment(formatVariable, f) && c.Set("format", "text") == nil
}

// orUsual has f give its usual value where its variable is empty, which asks for
// nothing: cli sees to that for all kinds of options but strings.
func orUsual(f *cli.StringFlag) *cli.StringFlag {
	usual := f.Value
	f.Action = func(c *cli.Context, value string) error {
		if value == "" && fromEnvironment(f.EnvVars[0], "") {
			return c.Set(f.Name, usual)
		}
		return nil
	}
	return f
}

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the result to `FILE`", EnvVars: []string{"VXORCH_OUTPUT"}}
}

func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", DisableDefaultText: true, Usage: "do not ask", EnvVars: []string{"VXORCH_YES"}}
}

// runFlags are those of verbs that reach hosts and give a result in formats.
func runFlags(formats ...string) []cli.Flag {
	return append([]cli.Flag{
		inventoryFlag(), formatFlag(formats...), outputFlag(),
		&cli.IntFlag{Name: "parallel", Value: defaultParallel, Usage: "work on at most `N` hosts at once", EnvVars: []string{"VXORCH_PARALLEL"}},
		&cli.DurationFlag{Name: "timeout", Usage: "give up after `D`, for example 90s", DefaultText: "never", EnvVars: []string{"VXORCH_TIMEOUT"}},
		orUsual(&cli.StringFlag{Name: "progress", Value: "auto", Usage: "show progress as `KIND`: auto, lines, json or none", EnvVars: []string{"VXORCH_PROGRESS"}}),
		&cli.BoolFlag{Name: "debug", DisableDefaultText: true, Usage: "log what happens on the connections", EnvVars: []string{"VXORCH_DEBUG"}},
		&cli.StringFlag{Name: "ssh-config", Usage: "read `FILE` in place of the user's and the system's ssh_config; none reads none", EnvVars: []string{"VXORCH_SSH_CONFIG"}},
		sudoFlag(),
	}, secretFlags()...)
}

func fullFlag() cli.Flag {
	return &cli.BoolFlag{Name: "full", DisableDefaultText: true, Usage: "prove every pair, also of more than 64 endpoints", EnvVars: []string{"VXORCH_FULL"}}
}

// inventoryFile is the file a verb works on.
func inventoryFile(c *cli.Context) (string, error) {
	args := c.Args().Slice()
	named := c.String("inventory")
	switch {
	case len(args) > 1:
		return "", &usageError{fmt.Sprintf("too many arguments: %s", strings.Join(args[1:], " ")), c.Command.HelpName + " takes one inventory"}
	case len(args) == 1 && c.IsSet("inventory") && args[0] != named && !fromEnvironment("VXORCH_INVENTORY", named):
		return "", &usageError{fmt.Sprintf("two inventories: %s and %s", args[0], named), "name one"}
	case len(args) == 1:
		return args[0], nil
	case named != "":
		return named, nil
	}
	return defaultInventory, nil
}

// fromEnvironment tells whether an option's value may come from its variable
// rather than the command line; an argument then overrides it.
func fromEnvironment(variable, value string) bool {
	set, isSet := os.LookupEnv(variable)
	return isSet && set == value
}

func loadLab(c *cli.Context, s streams) (*inventory.Lab, error) {
	file, err := inventoryFile(c)
	if err != nil {
		return nil, err
	}
	return loadFile(file, s)
}

// namedLab is loadLab for verbs whose arguments are others.
func namedLab(c *cli.Context, s streams) (*inventory.Lab, error) {
	return loadFile(cmp.Or(c.String("inventory"), defaultInventory), s)
}

func loadFile(file string, s streams) (*inventory.Lab, error) {
	lab, err := inventory.Load(file, s.in)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &usageError{fmt.Sprintf("no inventory: %s does not exist", file), "vxorch init HOST… writes one"}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return nil, &usageError{err.Error(), "name the inventory's file"}
	}
	return lab, err
}

// output is where a result goes.
type output struct {
	io.Writer
	close func() error
}

func (o output) Close() error { return o.close() }

// openOutput opens the file of --output; without it the result goes to standard
// output, which stays open.
func openOutput(c *cli.Context, s streams) (output, error) {
	file := c.String("output")
	if file == "" {
		return output{s.out, func() error { return nil }}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return output{}, &usageError{fmt.Sprintf("the result cannot be written: %v", err), "name another file with -o"}
	}
	return output{f, f.Close}, nil
}

// bounded is the context of a verb under --timeout.
func bounded(c *cli.Context) (context.Context, context.CancelFunc, error) {
	d := c.Duration("timeout")
	switch {
	case d < 0:
		return nil, nil, &usageError{fmt.Sprintf("--timeout %s is negative", d), ""}
	case d > 0:
		ctx, cancel := context.WithTimeoutCause(c.Context, d, run.ErrTimeout)
		return ctx, cancel, nil
	}
	ctx, cancel := context.WithCancel(c.Context)
	return ctx, cancel, nil
}

// controller is the orchestrator for this user on this machine, at work for lab.
func controller(c *cli.Context, s streams, lab *inventory.Lab, show progress) (*orchestrator.Controller, error) {
	if c.Int("parallel") < 1 {
		return nil, &usageError{fmt.Sprintf("--parallel %d: at least 1", c.Int("parallel")), ""}
	}
	config, err := sshConfig(c)
	if err != nil {
		return nil, err
	}
	who, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("who runs this: %w", err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	machine, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name of this machine: %w", err)
	}
	if err := remote.Ready(); err != nil {
		return nil, err
	}
	level := slog.LevelWarn
	if c.Bool("debug") {
		level = slog.LevelDebug
	}
	terminal := newPrompter(s, show.hold)
	told, err := secrets(c, terminal)
	if err != nil {
		return nil, err
	}
	password := newSudoPassword(c, terminal)
	dialer := remote.NewDialer(remote.Options{
		Lab: lab.Name, User: who.Username, Home: home, ConfigFile: config, AgentSocket: os.Getenv("SSH_AUTH_SOCK"),
		Secrets: told, SudoPassword: password.get, EndMasters: slices.Contains([]string{"destroy", "clean"}, c.Command.Name),
		Log: slog.New(slog.NewTextHandler(show.log, &slog.HandlerOptions{Level: level})),
	})
	return &orchestrator.Controller{
		Dial: func(ctx context.Context, h inventory.Host) (hostapi.Host, error) {
			return dialer.Dial(ctx, target(h), password.mode(h))
		},
		Resolve: func(ctx context.Context, name string) (netip.Addr, error) {
			return resolve(ctx, dialer.Address(ctx, remote.Target{Address: name}))
		},
		User: who.Username, Machine: machine,
		Images: images.Cache{Dir: images.DefaultDir()}, History: store(), Parallel: c.Int("parallel"), Now: time.Now, Events: show.event,
	}, nil
}

// sshConfig is the file of --ssh-config. One that is not there would be read as
// an empty one.
func sshConfig(c *cli.Context) (string, error) {
	file := c.String("ssh-config")
	if file == "" || file == "none" {
		return file, nil
	}
	if _, err := os.Stat(file); err != nil {
		return "", &usageError{fmt.Sprintf("--ssh-config: %v", err), "none reads no ssh_config"}
	}
	return file, nil
}

func target(h inventory.Host) remote.Target {
	return remote.Target{
		Name: h.Name, Address: h.Address, Port: h.SSH.Port, User: h.SSH.User,
		Identity: h.SSH.Identity, KnownHosts: h.SSH.KnownHosts, HostKey: h.SSH.HostKey, AcceptNew: h.SSH.AcceptNew, Jump: h.SSH.Jump,
		OpenSSH: h.SSH.OpenSSH, Persist: h.SSH.Persist,
	}
}

func resolve(ctx context.Context, name string) (netip.Addr, error) {
	if address, err := netip.ParseAddr(name); err == nil {
		return address.Unmap(), nil
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return netip.Addr{}, err
	}
	return addresses[0].Unmap(), nil
}
