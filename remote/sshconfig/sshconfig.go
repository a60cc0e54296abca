// Package sshconfig says what ssh_config has to say of a host: as the system's
// ssh resolves it where there is one, else by reading the files. What is said
// wrongly there is a warning, never a failure. It connects to nobody.
package sshconfig

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// resolveTimeout bounds one question to ssh, which may run a command of the
// user's (Match exec).
const resolveTimeout = 5 * time.Second

// Settings are what ssh_config says of a host. Zero values: nothing.
type Settings struct {
	HostName string
	Port     int
	User     string

	IdentityFiles    []string
	CertificateFiles []string
	IdentitiesOnly   bool
	IdentityAgent    string // path of a socket, or "none"

	UserKnownHosts        []string // "none" among them: no file
	GlobalKnownHosts      []string
	HostKeyAlias          string
	StrictHostKeyChecking string // yes, ask, accept-new, no

	ProxyJump    string // as written: [user@]host[:port],…; "none": none
	ProxyCommand string // tokens expanded

	ConnectTimeout      time.Duration
	ServerAliveInterval time.Duration
	ServerAliveCountMax int
}

// Query asks for a host.
type Query struct {
	Host string // as the user says it
	Port int    // given elsewhere; 0: not
	User string // given elsewhere; empty: not
}

// Resolver answers queries of one run, each once. The zero value reads nothing.
// Safe for concurrent use.
type Resolver struct {
	Home string       // whose .ssh/config counts; empty: nobody's
	File string       // the only file to read, in place of the user's and the system's; "none": no file
	User string       // who calls
	Log  *slog.Logger // nil: nowhere
	SSH  string       // the ssh program; empty: the one in PATH; "none": read the files

	once  sync.Once
	files []string // the user's, then the system's
	ssh   string   // the program; empty: none
	plain bool     // ssh finds the user's file by itself
	lines []line
	slots chan struct{}

	mu      sync.Mutex
	answers map[Query]*answer

	warned sync.Map // what was warned of, once for all hosts
}

const systemFile = "/etc/ssh/ssh_config"

// prepare reads the files. A run starts no ssh where they have nothing that
// counts here, as the ones that come with a system do not.
func (r *Resolver) prepare() {
	r.slots = make(chan struct{}, 2*runtime.NumCPU())
	switch {
	case r.File == "none":
		return
	case r.File != "":
		r.files = []string{r.File}
	case r.Home != "":
		r.files = []string{filepath.Join(r.Home, ".ssh", "config"), systemFile}
		// ssh goes by the password file, whatever HOME says.
		entry, err := user.LookupId(strconv.Itoa(os.Getuid()))
		r.plain = err != nil || entry.HomeDir == r.Home
	}
	reader := &reader{home: r.Home, log: r.log()}
	for _, file := range r.files {
		reader.read(file, nil, 0)
	}
	r.lines = reader.lines
	if !relevant(r.lines) || r.SSH == "none" {
		return
	}
	path, err := exec.LookPath(cmp.Or(r.SSH, "ssh"))
	if err == nil {
		r.ssh = path
	}
}

func (r *Resolver) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}

func (r *Resolver) warn(file string, line int, what string, err error) {
	if _, again := r.warned.LoadOrStore(file+":"+strconv.Itoa(line), true); !again {
		r.log().Warn("ssh: ssh_config: "+what, "file", file, "line", line, "error", err)
	}
}

// answer is what one question gave.
type answer struct {
	done     chan struct{}
	settings Settings
}

// Lookup gives what the files say of q.Host. It returns when ctx ends.
func (r *Resolver) Lookup(ctx context.Context, q Query) Settings {
	r.once.Do(r.prepare)
	if !relevant(r.lines) {
		return Settings{}
	}
	r.mu.Lock()
	a := r.answers[q]
	if a == nil { // a jump host is asked for by all hosts behind it
		a = &answer{done: make(chan struct{})}
		if r.answers == nil {
			r.answers = map[Query]*answer{}
		}
		r.answers[q] = a
		go func() {
			defer close(a.done)
			a.settings = r.expanded(r.resolve(q), q)
		}()
	}
	r.mu.Unlock()
	select {
	case <-a.done:
		return a.settings
	case <-ctx.Done():
		return Settings{}
	}
}

func (r *Resolver) resolve(q Query) Settings {
	if r.ssh == "" {
		return evaluate(r.lines, q, r.warn)
	}
	text, err := r.ask(q)
	if err == nil {
		return parseAnswer(text, r.passwdHome())
	}
	if _, again := r.warned.LoadOrStore(err.Error(), true); !again {
		r.log().Warn("ssh: ssh -G does not resolve ssh_config; what can be read of it counts", "error", err)
	}
	return evaluate(r.lines, q, r.warn)
}

// ask asks ssh.
func (r *Resolver) ask(q Query) (string, error) {
	r.slots <- struct{}{}
	defer func() { <-r.slots }()
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	args := append([]string{"-G"}, r.Arguments()...)
	if q.Port != 0 {
		args = append(args, "-p", strconv.Itoa(q.Port))
	}
	if q.User != "" {
		args = append(args, "-l", q.User)
	}
	cmd := exec.CommandContext(ctx, r.ssh, append(args, "--", q.Host)...)
	cmd.WaitDelay = time.Second // a command of the user's may hold on to the output
	var stderr strings.Builder
	cmd.Stderr = &bounded{w: &stderr, left: 4 << 10}
	text, err := cmd.Output()
	switch said := strings.TrimSpace(stderr.String()); {
	case ctx.Err() != nil:
		return "", errors.New("it took longer than " + resolveTimeout.String())
	case err != nil && said != "":
		return "", errors.New(said)
	case err != nil:
		return "", err
	}
	return string(text), nil
}

// Arguments are ssh's, so that it reads the same files.
func (r *Resolver) Arguments() []string {
	r.once.Do(r.prepare)
	switch {
	case r.File != "":
		return []string{"-F", r.File}
	case len(r.files) == 0:
		return []string{"-F", "none"}
	case r.plain:
		return nil
	}
	if _, err := os.Stat(r.files[0]); err != nil {
		return []string{"-F", "none"}
	}
	return []string{"-F", r.files[0]}
}

// passwdHome is what ssh takes for the home directory.
func (r *Resolver) passwdHome() string {
	if entry, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil {
		return entry.HomeDir
	}
	return r.Home
}

// bounded keeps the beginning of what is written.
type bounded struct {
	w    *strings.Builder
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.w.Write(p[:n])
	return len(p), nil
}
