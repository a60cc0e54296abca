// Package sshmaster runs the system's ssh as a ControlMaster and gives
// connections to its socket, for what only OpenSSH can do: keys on hardware,
// GSSAPI, PKCS#11. The master stays for a while when the last connection has
// ended, so that the next run does without handshake and authentication. What
// is said over the socket is the matter of sshconn.
package sshmaster

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/sshauth"
)

const (
	// startTimeout bounds connecting and authenticating, the user's part included.
	startTimeout = 2 * time.Minute
	// exitTimeout bounds asking a master to end.
	exitTimeout = 10 * time.Second
	// pathLimit is what a socket's path may have less what ssh appends to make it
	// (unix(7): 108 bytes; macOS: 104; a dot and 16 characters).
	pathLimit = 104 - 17 - 1
	// shown is how much of ssh's words an error has.
	shown = 2 << 10 // bytes
)

// Options are the same for all masters of a run.
type Options struct {
	Program string        // ssh; empty: the one in PATH
	Dir     string        // of the sockets, made if need be; empty: in XDG_RUNTIME_DIR or the directory for temporary files
	Persist time.Duration // how long a master stays unused; 0: it ends with the connection
	End     bool          // it ends with the connection, also one that was there already
	Fresh   bool          // attach to no master that was there already
	Ask     func(context.Context, sshauth.Question) (string, error)
	Log     *slog.Logger
}

// Connect gives a connection to the socket of the master that args, of ssh, lead
// to: of one that is there, or of a new one. args end with the host. It returns
// when ctx ends; every error is a *hostapi.Error.
func Connect(ctx context.Context, host string, args []string, opts Options) (net.Conn, error) {
	program, err := exec.LookPath(cmp.Or(opts.Program, "ssh"))
	if err != nil {
		return nil, hostapi.Errorf(hostapi.KindUnsupported, "install OpenSSH's client, or leave ssh.transport out of the inventory", "connect to %s by the system's ssh: %v", host, err)
	}
	dir, err := socketDir(opts.Dir)
	if err != nil {
		return nil, hostapi.Errorf(hostapi.KindInternal, "", "connect to %s by the system's ssh: %v", host, err)
	}
	m := &master{program: program, host: host, args: args, opts: opts, socket: filepath.Join(dir, name(args, opts))}
	if len(m.socket) > pathLimit {
		return nil, hostapi.Errorf(hostapi.KindInternal, "set XDG_RUNTIME_DIR to a shorter path", "connect to %s by the system's ssh: the path %s is too long for a socket", host, m.socket)
	}
	if conn := m.existing(ctx); conn != nil {
		opts.Log.Debug("ssh: attached to a master that was there", "host", host, "socket", m.socket)
		return conn, nil
	}
	unlock, err := m.lock(ctx) // two runs that start at once start one master
	if err != nil {
		return nil, hostapi.Errorf(hostapi.KindCanceled, "", "connect to %s by the system's ssh: %v", host, err)
	}
	defer unlock()
	if conn := m.existing(ctx); conn != nil {
		return conn, nil
	}
	if err := m.start(ctx); err != nil {
		return nil, err
	}
	if conn := m.attach(ctx); conn != nil {
		return conn, nil
	}
	return nil, hostapi.Errorf(hostapi.KindUnreachable, "", "connect to %s by the system's ssh: it has connected, and does not answer at %s", host, m.socket)
}

// name is the socket's: of all that makes a connection what it is.
func name(args []string, opts Options) string {
	sum := sha256.Sum256([]byte(strings.Join(args, "\x00") + "\x00" + opts.Persist.String()))
	return hex.EncodeToString(sum[:8])
}

// master is one ssh, running or to be.
type master struct {
	program string
	host    string
	args    []string
	opts    Options
	socket  string
}

// existing connects to a master that is there, where that is wanted.
func (m *master) existing(ctx context.Context) net.Conn {
	if m.opts.Fresh {
		return nil
	}
	return m.attach(ctx)
}

// attach connects to a master that runs; nil: none does.
func (m *master) attach(ctx context.Context) net.Conn {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", m.socket)
	if err != nil {
		return nil
	}
	return &attached{Conn: conn, master: m}
}

// attached is a connection to a master's socket.
type attached struct {
	net.Conn
	master *master
}

func (a *attached) Close() error {
	err := a.Conn.Close()
	if (a.master.opts.Persist == 0 || a.master.opts.End) && err == nil {
		a.master.exit()
	}
	return err
}

// exit ends the master and waits until it has removed its socket: it would
// remove that of the next one in its place.
func (m *master) exit() {
	ctx, cancel := context.WithTimeout(context.Background(), exitTimeout)
	defer cancel()
	if err := exec.CommandContext(ctx, m.program, "-F", "none", "-S", m.socket, "-O", "exit", "--", m.host).Run(); err != nil {
		m.opts.Log.Debug("ssh: the master cannot be ended", "host", m.host, "error", err)
		return
	}
	for ctx.Err() == nil {
		if _, err := os.Lstat(m.socket); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// start runs ssh until it has authenticated and gone to the background.
func (m *master) start(ctx context.Context) error {
	if err := os.Remove(m.socket); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was killed
		return hostapi.Errorf(hostapi.KindInternal, "", "connect to %s by the system's ssh: %v", m.host, err)
	}
	// A pipe would stay open for as long as the master lives (k0sproject/rig#405).
	words, err := os.CreateTemp(filepath.Dir(m.socket), "words-")
	if err != nil {
		return hostapi.Errorf(hostapi.KindInternal, "", "connect to %s by the system's ssh: %v", m.host, err)
	}
	defer words.Close()
	defer os.Remove(words.Name())
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("no connection within "+startTimeout.String()))
	defer cancel()

	// A master that is to end with its connection is told so, but outlives a run
	// that dies only for a minute.
	persist := max(m.opts.Persist, time.Minute)
	args := append([]string{"-M", "-N", "-f", "-S", m.socket, "-x", "-a", "-o", "ControlPersist=" + strconv.Itoa(int(persist.Seconds())),
		"-o", "ClearAllForwardings=yes", "-o", "PermitLocalCommand=no", "-o", "RemoteCommand=none", "-o", "RequestTTY=no"}, m.args...)
	cmd := exec.CommandContext(ctx, m.program, args...)
	cmd.Stderr = words
	// Without a terminal it asks by way of us, and a Ctrl-C is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = os.Environ()
	if m.opts.Ask != nil {
		asked, err := listen(ctx, filepath.Dir(m.socket), m.opts.Ask)
		if err != nil {
			return hostapi.Errorf(hostapi.KindInternal, "", "connect to %s by the system's ssh: %v", m.host, err)
		}
		defer asked.close()
		cmd.Env = append(cmd.Env, asked.environment()...)
	} else {
		cmd.Args = append([]string{cmd.Args[0], "-o", "BatchMode=yes"}, cmd.Args[1:]...)
	}
	m.opts.Log.Debug("ssh: starting a master", "host", m.host, "arguments", cmd.Args[1:])
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(words.Name())
		text = text[max(0, len(text)-shown):]
		return m.failed(ctx, err, hostapi.OneLine(string(text)))
	}
	return nil
}

// failed gives the error of an ssh that did not connect, by its words.
func (m *master) failed(ctx context.Context, err error, words string) error {
	kind, hint := hostapi.KindUnreachable, "does `ssh "+m.host+"` work from your shell?"
	switch {
	case ctx.Err() != nil:
		if errors.Is(context.Cause(ctx), context.Canceled) {
			kind, hint = hostapi.KindCanceled, ""
		}
		err = context.Cause(ctx)
	case strings.Contains(words, "Host key verification failed"), strings.Contains(words, "IDENTIFICATION HAS CHANGED"):
		kind, hint = hostapi.KindHostKey, "compare the key with the host's own; `ssh "+m.host+"` asks to accept it, ssh.accept_new: true in the inventory takes it"
	case strings.Contains(words, "Permission denied"), strings.Contains(words, "Too many authentication failures"):
		kind = hostapi.KindAuth
	}
	if words == "" {
		words = err.Error()
	}
	return hostapi.Errorf(kind, hint, "connect to %s by the system's ssh: %s", m.host, words)
}

// socketDir gives a directory that is the caller's alone: who can reach a
// master's socket is logged in.
func socketDir(dir string) (string, error) {
	if dir == "" {
		dir = os.Getenv("XDG_RUNTIME_DIR")
		if dir == "" {
			dir = filepath.Join(os.TempDir(), "vxorch-"+strconv.Itoa(os.Getuid()))
		} else {
			dir = filepath.Join(dir, "vxorch")
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || info.Mode().Perm()&0o077 != 0 || int(stat.Uid) != os.Getuid() {
		return "", fmt.Errorf("%s is not a directory that is yours alone (mode 0700)", dir)
	}
	return dir, nil
}
