package route

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"vxorch/remote/hostapi"
)

const (
	proxyGrace  = time.Second
	proxyStderr = 2 << 10 // bytes of its words that are shown
)

// proxy is a connection whose other end is the standard input and output of a
// command (ProxyCommand). A socket takes deadlines, and its Close is at once.
type proxy struct {
	net.Conn
	command, address string

	cmd    *exec.Cmd
	stderr *bounded
	ended  chan struct{}
	once   sync.Once
}

// startProxy runs command by the user's shell, as ssh does. It has a process
// group of its own: a Ctrl-C is for vxorch, which ends it in its own time.
func startProxy(ctx context.Context, command, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, hostapi.Errorf(hostapi.KindInternal, "", "connect to %s by ProxyCommand: %v", address, err)
	}
	defer theirs.Close()
	p := &proxy{Conn: ours, command: command, address: address, stderr: &bounded{left: proxyStderr}, ended: make(chan struct{})}
	p.cmd = exec.Command(cmp.Or(os.Getenv("SHELL"), "/bin/sh"), "-c", "exec "+command)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs, theirs, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = proxyGrace // a child of its may hold on to its standard error
	if err := p.cmd.Start(); err != nil {
		ours.Close()
		return nil, hostapi.Errorf(hostapi.KindUnreachable, "mend ProxyCommand in ssh_config", "connect to %s by ProxyCommand %q: %v", address, command, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // Explain tells
	}()
	return p, nil
}

// Explain says why the connection ended: what the command said when it failed.
// nil: it did not.
func (p *proxy) Explain() *hostapi.Error {
	select {
	case <-p.ended:
	case <-time.After(proxyGrace):
		return nil
	}
	said := p.stderr.String()
	if p.cmd.ProcessState.Success() && said == "" {
		return nil
	}
	text := fmt.Sprintf("connect to %s: ProxyCommand ended: %v", p.address, p.cmd.ProcessState)
	if said != "" {
		text += ": " + said
	}
	return hostapi.Errorf(hostapi.KindUnreachable, "it is in ssh_config: "+p.command, "%s", text)
}

// Close ends the command: by the end of its input, else by a signal.
func (p *proxy) Close() error {
	err := p.Conn.Close()
	p.once.Do(func() {
		go func() {
			for _, signal := range []syscall.Signal{syscall.SIGHUP, syscall.SIGKILL} {
				select {
				case <-p.ended:
					return
				case <-time.After(proxyGrace):
					_ = syscall.Kill(-p.cmd.Process.Pid, signal) // it may have ended just now
				}
			}
		}()
	})
	return err
}

// bounded keeps the beginning of what is written.
type bounded struct {
	mu   sync.Mutex
	text strings.Builder
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(p), b.left)
	b.left -= n
	b.text.Write(p[:n])
	return len(p), nil
}

func (b *bounded) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return hostapi.OneLine(b.text.String())
}

// socketPair gives two ends of a connection, the second for a process.
func socketPair() (net.Conn, *os.File, error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "proxy"), os.NewFile(uintptr(fds[1]), "proxy")
	defer mine.Close()
	conn, err := net.FileConn(mine)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}
