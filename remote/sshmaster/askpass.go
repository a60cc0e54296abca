package sshmaster

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"vxorch/remote/sshauth"
)

// socketVariable tells a process of this program that ssh has started it to ask
// the user (SSH_ASKPASS), and whom it passes the question on to.
const socketVariable = "VXORCH_ASKPASS"

const maxQuestion = 16 << 10 // bytes

// question is what ssh wants to know; kind is its SSH_ASKPASS_PROMPT.
type question struct{ Text, Kind string }

// AskIfAsked is what ssh's questions are asked by: in a process that ssh has
// started for one, it asks, prints the answer and ends the process. Call it
// first of all.
func AskIfAsked() {
	socket := os.Getenv(socketVariable)
	if socket == "" {
		return
	}
	answer, err := pass(socket, question{strings.Join(os.Args[1:], " "), os.Getenv("SSH_ASKPASS_PROMPT")})
	if err != nil {
		os.Exit(1) // ssh takes that for no answer
	}
	fmt.Println(answer)
	os.Exit(0)
}

func pass(socket string, q question) (answer string, err error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return "", err
	}
	if q.Kind == "none" { // to be shown until ssh ends us
		_, _ = io.Copy(io.Discard, conn)
		return "", nil
	}
	answer, err = bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSuffix(answer, "\n"), err
}

// asker answers the questions of one ssh.
type asker struct {
	dir      string
	listener net.Listener
	running  sync.WaitGroup
	cancel   context.CancelFunc
}

// listen answers by ask until it is closed.
func listen(ctx context.Context, near string, ask func(context.Context, sshauth.Question) (string, error)) (*asker, error) {
	dir, err := os.MkdirTemp(near, "ask-")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", dir+"/s")
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &asker{dir: dir, listener: listener, cancel: cancel}
	a.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			a.running.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				answer(ctx, conn, ask)
			})
		}
	})
	return a, nil
}

func answer(ctx context.Context, conn net.Conn, ask func(context.Context, sshauth.Question) (string, error)) {
	var q question
	if json.NewDecoder(io.LimitReader(conn, maxQuestion)).Decode(&q) != nil {
		return
	}
	if q.Kind == "none" { // touch the key: nothing to answer
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() { _, _ = io.Copy(io.Discard, conn); cancel() }() // until ssh is content
		_, _ = ask(ctx, sshauth.Question{Text: q.Text, Notice: true})
		return
	}
	text, err := ask(ctx, sshauth.Question{Text: q.Text, Echo: q.Kind == "confirm"})
	if err == nil {
		fmt.Fprintln(conn, text)
	}
}

func (a *asker) environment() []string {
	program, err := os.Executable()
	if err != nil {
		return nil // ssh then finds nobody to ask
	}
	return []string{
		socketVariable + "=" + a.dir + "/s", "SSH_ASKPASS=" + program, "SSH_ASKPASS_REQUIRE=force",
		"DISPLAY=" + cmp.Or(os.Getenv("DISPLAY"), ":"), // before OpenSSH 8.4 it takes that to be asked
	}
}

func (a *asker) close() {
	a.cancel()
	a.listener.Close()
	a.running.Wait()
	os.RemoveAll(a.dir)
}
