// Command vxorch builds one layer-2 lab over several Linux hosts reached by SSH,
// proves that it works, and takes it away again.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
	"vxorch/remote/sandbox"
	"vxorch/remote/sshmaster"
)

func main() {
	sandbox.InitIfAsked()
	sshmaster.AskIfAsked()
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals) // a second one ends the process at once
		fmt.Fprintln(os.Stderr, "vxorch: interrupted: hosts end what they are at; once more ends vxorch at once")
		cancel()
	}()
	os.Exit(invoke(ctx, os.Args, streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are the process's standard streams.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// Exit codes, as the contract gives them; the first that applies.
const (
	exitInterrupted = 130
	exitUsage       = 2 // usage or inventory error
	exitFailed      = 1 // a host or a step failed
	exitUnwanted    = 3 // nothing failed, but something is not as wanted
	exitDone        = 0
)

// errUnwanted ends a verb that did its work and found something not as wanted.
var errUnwanted = errors.New("not as wanted")

// exitStatus ends the process with a code that the command run for the user
// gave.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// invoke is the whole command: what main connects to the process, and tests call.
func invoke(ctx context.Context, args []string, s streams) int {
	app := newApp(s)
	err := app.RunContext(ctx, intersperse(app, args))
	printErrors(s.err, err)
	return exitCode(ctx, err)
}

// exitCode is the one place where an error becomes an exit code.
func exitCode(ctx context.Context, err error) int {
	var usage *usageError
	var file inventory.Errors
	var status exitStatus
	switch {
	case err == nil:
		return exitDone
	case errors.Is(ctx.Err(), context.Canceled):
		return exitInterrupted
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage), errors.As(err, &file):
		return exitUsage
	case !slices.ContainsFunc(flatten(err), func(e error) bool { return !errors.Is(e, errUnwanted) }):
		return exitUnwanted
	}
	return exitFailed
}

// printErrors prints every error that err joins, with its way out.
func printErrors(w io.Writer, err error) {
	var status exitStatus
	if err == nil || errors.As(err, &status) {
		return
	}
	for _, e := range flatten(err) {
		if e == errUnwanted { // the result says what
			continue
		}
		fmt.Fprintf(w, "vxorch: error: %s\n", report.Clean(e.Error()))
		if hint := hintOf(e); hint != "" {
			fmt.Fprintf(w, "vxorch: hint: %s\n", report.Clean(hint))
		}
	}
}

// printWarnings prints what people should know although nothing failed.
func printWarnings(w io.Writer, warnings []orchestrator.Warning) {
	for _, warning := range warnings {
		fmt.Fprintf(w, "vxorch: warning: %s\n", report.Clean(warning.Message))
		if warning.Hint != "" {
			fmt.Fprintf(w, "vxorch: hint: %s\n", report.Clean(warning.Hint))
		}
	}
}

// flatten lists the errors that err joins.
func flatten(err error) []error {
	// inventory.Errors among them.
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var list []error
		for _, e := range joined.Unwrap() {
			list = append(list, flatten(e)...)
		}
		return list
	}
	return []error{err}
}

func hintOf(err error) string {
	var usage *usageError
	var file *inventory.Error
	var problem *plan.Problem
	var host *hostapi.Error
	switch {
	case errors.As(err, &usage):
		return usage.hint
	case errors.As(err, &file):
		return file.Hint
	case errors.As(err, &problem):
		return problem.Hint
	case errors.As(err, &host) && host.Hint != "":
		return host.Hint
	case errors.Is(err, hostapi.ErrLost):
		return "run the verb again: it goes on from what stands"
	}
	return ""
}

// conclude turns a verb's outcome into its error.
func conclude(o orchestrator.Outcome) error {
	errs := o.Errs
	if len(errs) == 0 && o.Result.Result != report.Pass {
		errs = append(errs, errUnwanted)
	}
	return errors.Join(append(errs, crossed(o.Result)...)...)
}

func newApp(s streams) *cli.App {
	return &cli.App{
		Name:            "vxorch",
		Usage:           "one layer-2 lab over several Linux machines",
		UsageText:       "vxorch VERB [INVENTORY] [options]",
		Reader:          s.in,
		Writer:          s.out,
		ErrWriter:       s.err,
		HideHelpCommand: true,
		Version:         version(),
		ExitErrHandler:  func(*cli.Context, error) {}, // invoke prints and decides
		OnUsageError:    badUsage,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return &usageError{fmt.Sprintf("unknown verb %q", c.Args().First()), "vxorch --help lists the verbs"}
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			initVerb(s), validateVerb(s), checkVerb(s), planVerb(s), deployVerb(s), verifyVerb(s), statusVerb(s), reportVerb(s), traceVerb(s), captureVerb(s), destroyVerb(s), prepareVerb(s), cleanVerb(s),
			sandboxVerb(s), versionVerb(s), completionVerb(s),
		},
	}
}
