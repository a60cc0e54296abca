package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"vxorch/inventory"
	"vxorch/remote"
	"vxorch/remote/hostapi"
	"vxorch/remote/sshauth"
)

func sudoFlag() cli.Flag {
	return &cli.StringFlag{Name: "sudo-password-file", Usage: "read from `FILE` what sudo on the hosts asks for", EnvVars: []string{"VXORCH_SUDO_PASSWORD_FILE"}}
}

// sudoPassword is what sudo on the hosts wants to know: read from a file, or
// asked for once when the first of them does.
type sudoPassword struct {
	ctx      context.Context
	terminal *prompter // nil: there is none to ask on
	file     string

	once  sync.Once
	text  string
	err   error
	ready chan struct{}
}

func newSudoPassword(c *cli.Context, terminal *prompter) *sudoPassword {
	return &sudoPassword{ctx: c.Context, terminal: terminal, file: c.String("sudo-password-file"), ready: make(chan struct{})}
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
	if p.terminal == nil {
		return "", &hostapi.Error{
			Kind: hostapi.KindPermission, Message: "sudo asks for a password, and there is no terminal to ask on",
			Hint: "name a file that has it in VXORCH_SUDO_PASSWORD_FILE",
		}
	}
	text, err := p.terminal.ask(p.ctx, sshauth.Question{Text: "password for sudo on the hosts: "})
	if err != nil {
		return "", fmt.Errorf("ask for the password for sudo: %w", err)
	}
	return text, nil
}
