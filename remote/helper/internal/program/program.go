// Package program runs other programs of this machine to their ends. Most that the
// helper does it does by itself: what is left to programs is what they alone know
// how to do, package managers, systemd, and daemons that are to be started.
package program

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unicode"

	"vxorch/remote/hostapi"
)

// maxOutput is how much of what a program said an error has: bytes, the last.
const maxOutput = 1000

// Path is where programs are looked for. A session's own PATH may lack
// what only root uses, which dpkg refuses to run without.
var Path = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// FRR are the places where distributions put FRR's daemons, which no PATH has.
var FRR = []string{"/usr/lib/frr", "/usr/libexec/frr"}

// environment keeps what programs ask and say predictable.
var environment = []string{
	"DEBIAN_FRONTEND=noninteractive", "LC_ALL=C",
	"NEEDRESTART_SUSPEND=1", // or it restarts daemons that are none of ours
}

// Run runs argv to its end. When ctx ends it gets a SIGTERM and, some seconds
// later, a SIGKILL. The error has the end of what it said.
func Run(ctx context.Context, argv []string) error {
	program, err := Find(argv[0])
	if err != nil {
		return err
	}
	// A file and not a pipe: daemons that it starts may keep the descriptor, and
	// the end of a pipe would have to be waited for.
	output, err := os.CreateTemp("", "vxhelper-")
	if err != nil {
		return fmt.Errorf("run %s: %w", argv[0], err)
	}
	defer output.Close()
	if err := os.Remove(output.Name()); err != nil {
		return fmt.Errorf("run %s: %w", argv[0], err)
	}
	cmd := exec.CommandContext(ctx, program, argv[1:]...)
	cmd.Env = append(os.Environ(), append(environment, "PATH="+strings.Join(Path, ":"))...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	if err == nil {
		return nil
	}
	failure := &hostapi.Error{Kind: hostapi.KindInternal, Message: fmt.Sprintf("%s: %v", strings.Join(argv, " "), err)}
	if said := end(output); said != "" {
		failure.Message += ": " + said
	}
	if ctx.Err() != nil {
		failure.Kind = hostapi.KindCanceled
	}
	return failure
}

// Find gives the path of a program, in the places of root's; one that is a path
// already stays it.
func Find(program string) (string, error) {
	if strings.HasPrefix(program, "/") {
		return program, nil
	}
	for _, dir := range Path {
		path := dir + "/" + program
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("run %s: %w", program, fs.ErrNotExist)
}

// end gives the last of what was written to output.
func end(output *os.File) string {
	size, err := output.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(io.NewSectionReader(output, max(0, size-maxOutput), maxOutput))
	if err != nil {
		return "" // the exit status has to do
	}
	return oneLine(string(text))
}

// oneLine joins the lines of text and drops what a terminal could take for a
// command.
func oneLine(text string) string {
	var lines []string
	for _, line := range strings.FieldsFunc(strings.ToValidUTF8(text, ""), func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.TrimSpace(strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, line))
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}
