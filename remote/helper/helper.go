// Package helper is the host side of vxorch: it composes marks, kernel links
// and probes into a hostapi.Host for this machine, and serves one over its
// standard streams until the controller lets go. It decides nothing about the
// lab and leaves no process behind.
package helper

import (
	"context"
	"flag"
	"fmt"
	"io"
	"runtime/debug"
	"time"
)

const usage = `usage: vxhelper serve --token TOKEN [--lab NAME] [--lease DURATION] [--source PATH]
       vxhelper version
`

// Main is vxhelper: it runs the verb in args and gives the exit code. The
// protocol is spoken over stdin and stdout, messages go to stderr.
func Main(ctx context.Context, args []string, stdin io.ReadCloser, stdout io.WriteCloser, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "version":
		fmt.Fprintln(stdout, version())
		return 0
	case "serve":
		opts, err := parse(args[1:], stderr)
		if err != nil {
			return 2
		}
		if err := serve(ctx, opts, stdin, stdout); err != nil {
			fmt.Fprintf(stderr, "vxhelper: %v\n", err)
			return 1
		}
		return 0
	}
	fmt.Fprintf(stderr, "vxhelper: no verb %q\n%s", args[0], usage)
	return 2
}

// options are those of serve.
type options struct {
	token  string        // announces the protocol on stdout
	lab    string        // whose work this is, for who looks at the processes; empty: no lab's
	lease  time.Duration // how long to live without a sign of the controller
	source string        // the user's helper that this one is root's copy of; empty: it is none
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("vxhelper serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	flags.StringVar(&o.token, "token", "", "")
	flags.StringVar(&o.lab, "lab", "", "")
	flags.DurationVar(&o.lease, "lease", 15*time.Second, "")
	flags.StringVar(&o.source, "source", "", "")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.token == "":
		err = fmt.Errorf("serve needs --token")
	case o.lease <= 0:
		err = fmt.Errorf("--lease %v is no time to live", o.lease)
	}
	if err != nil {
		fmt.Fprintf(stderr, "vxhelper: %v\n%s", err, usage)
	}
	return o, err
}

// version is that of the module that this was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "vxhelper (devel)"
	}
	return "vxhelper " + info.Main.Version
}
