package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"vxorch/remote/hostapi"
)

// confirm asks a yes-or-no question. Without a terminal it cannot be asked.
func confirm(c *cli.Context, s streams, question string) error {
	if c.Bool("yes") {
		return nil
	}
	if !isTerminal(s.in) {
		return &hostapi.Error{Kind: hostapi.KindInvalid, Message: "nothing was changed: nobody can be asked: " + question, Hint: "--yes answers it"}
	}
	fmt.Fprintf(s.err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(s.in).ReadString('\n')
		if err != nil {
			line = "" // no answer is a no
		}
		answer <- line
	}()
	select {
	case line := <-answer:
		if a := strings.ToLower(strings.TrimSpace(line)); a == "y" || a == "yes" {
			return nil
		}
		return errors.New("nothing was changed")
	case <-c.Context.Done():
		return c.Context.Err()
	}
}

// isTerminal tells whether a stream is one that a person looks at.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
