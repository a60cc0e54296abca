package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"vxorch/orchestrator/report"
	"vxorch/remote/sshauth"
)

// secretFlags name files with what would be asked on a terminal. A secret itself
// never stands on a command line, nor in a variable.
func secretFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "passphrase-file", Usage: "read passphrases of SSH keys from `FILE`, one a line", EnvVars: []string{"VXORCH_PASSPHRASE_FILE"}},
		&cli.StringFlag{Name: "password-file", Usage: "read the SSH user's password from `FILE`", EnvVars: []string{"VXORCH_PASSWORD_FILE"}},
	}
}

// secrets are those of the user of this run: from files, or asked for.
func secrets(c *cli.Context, terminal *prompter) (*sshauth.Secrets, error) {
	var ask func(context.Context, sshauth.Question) (string, error)
	if terminal != nil {
		ask = terminal.ask
	}
	told := sshauth.NewSecrets(ask)
	passphrases, err := readSecrets(c, "passphrase-file")
	if err != nil {
		return nil, err
	}
	passwords, err := readSecrets(c, "password-file")
	if err != nil {
		return nil, err
	}
	told.Passphrases = passphrases
	if len(passwords) > 0 {
		told.Password = passwords[0]
	}
	return told, nil
}

// readSecrets reads the lines of the file that an option names.
func readSecrets(c *cli.Context, option string) ([]string, error) {
	file := c.String(option)
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("--%s: %v", option, err), ""}
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return nil, &usageError{fmt.Sprintf("--%s: %s is empty", option, file), ""}
	}
	return lines, nil
}

// prompter asks on the terminal, one question at a time.
type prompter struct {
	terminal *os.File
	out      io.Writer
	hold     func() (release func())
	turn     chan struct{} // holds an element while a question is asked
}

// newPrompter gives nil where there is nobody to ask: without a terminal, and in
// CI, even where one is made believe.
func newPrompter(s streams, hold func() (release func())) *prompter {
	terminal, ok := s.in.(*os.File)
	if !ok || !isTerminal(s.in) || !isTerminal(s.err) || os.Getenv("CI") != "" {
		return nil
	}
	return &prompter{terminal, s.err, hold, make(chan struct{}, 1)}
}

// ask puts one question. It returns when ctx ends, the terminal as it was.
func (p *prompter) ask(ctx context.Context, q sshauth.Question) (string, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	defer p.hold()()
	fmt.Fprint(p.out, strings.TrimSpace(report.Clean(q.Text)), " ")
	if q.Notice {
		<-ctx.Done()
		fmt.Fprintln(p.out)
		return "", nil
	}
	fd := int(p.terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("ask on the terminal: %w", err)
	}
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		var r reply
		if q.Echo {
			r.text, r.err = bufio.NewReader(p.terminal).ReadString('\n')
		} else {
			var secret []byte
			secret, r.err = term.ReadPassword(fd)
			r.text = string(secret)
		}
		replies <- r
	}()
	select {
	case r := <-replies:
		if !q.Echo {
			fmt.Fprintln(p.out)
		}
		if r.err != nil {
			return "", sshauth.ErrNoAnswer
		}
		return strings.TrimRight(r.text, "\r\n"), nil
	case <-ctx.Done():
		_ = term.Restore(fd, before)
		fmt.Fprintln(p.out)
		return "", context.Cause(ctx)
	}
}
