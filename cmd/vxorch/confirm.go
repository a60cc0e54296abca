package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"vxorch/orchestrator"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

// asker asks the user before a verb takes something away.
type asker struct {
	ctx  context.Context
	s    streams
	yes  bool                    // answers every question
	hold func() (release func()) // the live progress, which would write over the question

	user, machine string // who asks, as marks name them
}

// confirm shows lines, which may hold hosts' words, and asks a yes-or-no
// question. Without a terminal it cannot be asked.
func (a asker) confirm(lines []string, question string) error {
	defer a.hold()()
	for _, line := range lines {
		fmt.Fprintln(a.s.err, report.Clean(line))
	}
	if a.yes {
		return nil
	}
	if !isTerminal(a.s.in) {
		return &usageError{"nothing was changed: there is no terminal to ask on: " + question, "--yes answers it"}
	}
	fmt.Fprintf(a.s.err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(a.s.in).ReadString('\n')
		if err != nil {
			line = "" // no answer is a no
		}
		answer <- line
	}()
	select {
	case line := <-answer:
		if word := strings.ToLower(strings.TrimSpace(line)); word == "y" || word == "yes" {
			return nil
		}
		return errors.New("nothing was changed")
	case <-a.ctx.Done():
		fmt.Fprintln(a.s.err)
		return errors.New("interrupted: nothing was changed")
	}
}

// confirmRemovals asks before a deploy takes away workloads that somebody else
// made, or that lose a disk. Containers of one's own go without a question: whoever
// took them out of the inventory has said it.
func (a asker) confirmRemovals(p plan.Plan) error {
	var lines []string
	ask := false
	for _, r := range p.Removals {
		own := r.Mark.User == a.user && r.Mark.Controller == a.machine
		ask = ask || !own && !r.Mark.Intended || r.Kind == hostapi.KindDomain
		lines = append(lines, describeRemoval(r, own))
	}
	if !ask {
		a.yes = true
	}
	return a.confirm(lines, fmt.Sprintf("remove %s?", count(len(p.Removals), "workload")))
}

// describeRemoval names a workload and, unless it was who asks, its maker.
func describeRemoval(r plan.Removal, own bool) string {
	why := "no longer in the inventory"
	switch {
	case r.Anew:
		why = "made anew, what is on its disk is lost"
	case r.Kind == hostapi.KindDomain:
		why += ", what is on its disk is lost"
	}
	line := fmt.Sprintf("%s: %s on %s (%s", why, cmp.Or(r.Mark.For, r.Name), r.Host, r.Name)
	switch {
	case r.Mark.Intended: // of a namespace or of files, that nobody has come to use
		line += ", left half made by a run that died"
	case !own:
		line += fmt.Sprintf(", made by %s@%s", r.Mark.User, r.Mark.Controller)
	}
	return line + ")"
}

// confirmDestroy asks before a lab is taken away.
func (a asker) confirmDestroy(lab string) orchestrator.Confirm {
	return func(p plan.Plan) error {
		hosts := 0
		for _, steps := range p.Phases[0].Steps {
			if len(steps) > 0 {
				hosts++
			}
		}
		return a.confirm(nil, fmt.Sprintf("remove %s of lab %s from %s?", count(p.Changes(), "object"), lab, count(hosts, "host")))
	}
}

// isTerminal tells whether a stream is one that a person looks at.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
