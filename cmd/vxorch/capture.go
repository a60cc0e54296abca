package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/urfave/cli/v2"

	"vxorch/orchestrator"
	"vxorch/orchestrator/pcapng"
	"vxorch/orchestrator/trace"
)

const captureDescription = `Writes the packets of all points into one file of pcapng, each point an interface of its own, as they come: with -w - to a pipe, as in: vxorch capture cn1 cn2 -w - | wireshark -k -i -. Times are by this machine's clock: how far the hosts' are off is measured, taken out, and said in a comment of each interface. No link is made promiscuous, and nothing is left behind. Ends after --count, --bytes or --for; without any of them with Ctrl-C, which is no failure then: the exit code is 0, else 130.

POINT is one of
   NAME           a container's own link (NAME:eth1 one of several), a VM's tap
   port@NAME      where it is plugged into its bridge
   vtep@HOST      the tunnel's end; bridge@HOST the bridge itself; underlay@HOST what carries the tunnels
   HOST:LINK      any link of a host; HOST:NETNS/LINK one in a named network namespace

FILTER is words that all have to hold: icmp, arp, tcp, udp (of several of them, one), vxlan (in a tunnel), port N, and names of containers and VMs or addresses, at either end. It holds for a packet, or for the one in its tunnel. On a host with a point at its underlay or at another HOST:LINK, SSH (port 22, and the inventory's) that is not in a tunnel is left out unless the filter names its port: it carries the capture.`

func captureVerb(s streams) *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "write", Aliases: []string{"w"}, Usage: "write to `FILE`; - is standard output", EnvVars: []string{"VXORCH_WRITE"}},
		&cli.StringFlag{Name: "filter", Usage: "only packets of which `FILTER` holds, as in: \"icmp cn1 cn2\"", EnvVars: []string{"VXORCH_FILTER"}},
		&cli.IntFlag{Name: "count", Usage: "end after `N` packets", DefaultText: "no bound", EnvVars: []string{"VXORCH_COUNT"}},
		&cli.Int64Flag{Name: "bytes", Usage: "end after `N` bytes of packets", DefaultText: "no bound", EnvVars: []string{"VXORCH_BYTES"}},
		&cli.DurationFlag{Name: "for", Usage: "end after `D`, for example 30s", DefaultText: "no bound", EnvVars: []string{"VXORCH_FOR"}},
		&cli.IntFlag{Name: "snaplen", Usage: "copy at most `N` bytes of a packet", DefaultText: "all", EnvVars: []string{"VXORCH_SNAPLEN"}},
	}
	for _, f := range runFlags("text", "json") {
		if name := f.Names()[0]; name != "format" && name != "output" {
			flags = append(flags, f)
		}
	}
	return &cli.Command{
		Name: "capture", Usage: "the packets of several points, in one file for Wireshark", ArgsUsage: "POINT…",
		Description: captureDescription, Flags: flags, OnUsageError: badUsage,
		Action: func(c *cli.Context) error { return runCapture(c, s) },
	}
}

func runCapture(c *cli.Context, s streams) error {
	o := orchestrator.CaptureOptions{Count: c.Int("count"), Bytes: c.Int64("bytes"), For: c.Duration("for"), Snaplen: c.Int("snaplen")}
	file := c.String("write")
	switch {
	case !c.Args().Present():
		return &usageError{"capture needs at least one point", "vxorch capture cn1 underlay@host1 -w cn1.pcapng"}
	case file == "":
		return &usageError{"capture needs -w FILE", "-w - writes to standard output, for a pipe to Wireshark"}
	case file == "-" && isTerminal(s.out):
		return &usageError{"standard output is a terminal", "pipe it: vxorch capture … -w - | wireshark -k -i -"}
	case o.Count < 0 || o.Bytes < 0 || o.For < 0 || o.Snaplen < 0 || o.Snaplen > 1<<16-1:
		return &usageError{"a bound is negative, or --snaplen more than 65535", ""}
	}
	lab, err := namedLab(c, s)
	if err != nil {
		return err
	}
	if o.Points, err = trace.Points(lab, c.Args().Slice()); err != nil {
		return &usageError{err.Error(), c.Command.HelpName + " --help says what a point is"}
	}
	if o.Want, err = trace.Filter(lab, c.String("filter")); err != nil {
		return &usageError{err.Error(), c.Command.HelpName + " --help says what a filter is"}
	}
	show, err := newProgress(c.String("progress"), s.err, lab)
	if err != nil {
		return err
	}
	control, err := controller(c, s, lab, show)
	if err != nil {
		return err
	}
	out := s.out
	closeFile := func() error { return nil }
	if file != "-" {
		f, err := os.Create(file)
		if err != nil {
			return &usageError{fmt.Sprintf("packets cannot be written: %v", err), "name another file with -w"}
		}
		out, closeFile = f, f.Close
	}
	o.Begin = func(points []pcapng.Interface) (*pcapng.Writer, error) {
		return pcapng.NewWriter(out, "vxorch "+version(), points)
	}
	ctx, cancel, err := bounded(c)
	if err != nil {
		return err
	}
	defer cancel()
	got := control.Capture(ctx, lab, o)
	show.end()
	if err := errors.Join(concludeCapture(s.err, got), closeFile()); err != nil {
		return err
	}
	if bounds := o.Count > 0 || o.Bytes > 0 || o.For > 0; bounds && !got.Bounded && c.Context.Err() != nil {
		return exitStatus(exitInterrupted) // it was to go on
	}
	return nil
}

// concludeCapture tells what came of a capture, and makes its errors the verb's.
func concludeCapture(w io.Writer, got orchestrator.Captured) error {
	for _, err := range got.Failed {
		fmt.Fprintf(w, "vxorch: warning: nothing is captured at %v\n", err)
	}
	fmt.Fprintf(w, "%s captured, %s of them", count(got.Packets, "packet"), count(int(got.Bytes), "byte"))
	if got.Lost > 0 {
		fmt.Fprintf(w, "; %d more came quicker than they could be copied", got.Lost)
	}
	fmt.Fprintln(w)
	err := errors.Join(got.Errs...)
	if errors.Is(err, syscall.EPIPE) { // who read has seen enough
		return nil
	}
	return err
}
