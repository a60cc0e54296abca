package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"vxorch/inventory"
	"vxorch/remote"
	"vxorch/remote/hostapi"
)

func sudoFlag() cli.Flag {
	return &cli.StringFlag{Name: "sudo-password-file", Usage: "read from `FILE` what sudo on the hosts asks for", EnvVars: []string{"VXORCH_SUDO_PASSWORD_FILE"}}
}

// sudoPassword is what sudo on the hosts wants to know: read from a file, or
// asked for once when the first of them does.
type sudoPassword struct {
	ctx  context.Context
	s    streams
	file string

	once  sync.Once
	text  string
	err   error
	ready chan struct{}
}

func newSudoPassword(c *cli.Context, s streams) *sudoPassword {
	return &sudoPassword{ctx: c.Context, s: s, file: c.String("sudo-password-file"), ready: make(chan struct{})}
}

// mode is how the user of h becomes root. Who names a file wants it used.
func (p *sudoPassword) mode(h inventory.Host) remote.Sudo {
	if h.SSH.Sudo != string(remote.SudoNever) && p.file != "" {
		return remote.SudoAsk
	}
	return remote.Sudo(h.SSH.Sudo)
}

// get gives the password.
func (p *sudoPassword) get(ctx context.Context) (string, error) {
	p.once.Do(func() {
		go func() {
			defer close(p.ready)
			p.text, p.err = p.find()
		}()
	})
	select {
	case <-p.ready:
		return p.text, p.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (p *sudoPassword) find() (string, error) {
	if p.file != "" {
		text, err := os.ReadFile(p.file)
		if err != nil {
			return "", &hostapi.Error{Kind: hostapi.KindPermission, Message: fmt.Sprintf("read the password for sudo: %v", err)}
		}
		line, _, _ := strings.Cut(string(text), "\n")
		return strings.TrimSuffix(line, "\r"), nil
	}
	in, ok := p.s.in.(*os.File)
	if !ok || !isTerminal(p.s.in) || !isTerminal(p.s.err) || os.Getenv("CI") != "" {
		return "", &hostapi.Error{
			Kind: hostapi.KindPermission, Message: "sudo asks for a password, and there is no terminal to ask on",
			Hint: "name a file that has it in VXORCH_SUDO_PASSWORD_FILE",
		}
	}
	before, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", fmt.Errorf("ask for the password for sudo: %w", err)
	}
	stop := context.AfterFunc(p.ctx, func() { _ = term.Restore(int(in.Fd()), before) })
	defer stop()
	fmt.Fprint(p.s.err, "password for sudo on the hosts: ")
	text, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(p.s.err)
	if err != nil {
		return "", fmt.Errorf("ask for the password for sudo: %w", err)
	}
	return string(text), nil
}
