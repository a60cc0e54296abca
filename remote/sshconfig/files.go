package sshconfig

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kevinburke/ssh_config"
)

const (
	maxDepth = 16      // of files that include each other, as in ssh
	maxFile  = 1 << 20 // bytes
	maxLines = 100_000 // of all files, the included ones each time they are
)

// honoured are the keywords that count here.
var honoured = []string{
	"hostname", "port", "user", "identityfile", "certificatefile", "identitiesonly", "identityagent",
	"userknownhostsfile", "globalknownhostsfile", "hostkeyalias", "stricthostkeychecking",
	"proxyjump", "proxycommand", "connecttimeout", "serveraliveinterval", "serveralivecountmax",
	"canonicalizehostname",
}

// line is a line of a file, with the conditions under which it counts.
type line struct {
	file       string
	number     int
	conditions []condition // Host and Match lines, its own and those around an Include; all have to hold
	key        string      // in small letters
	text       string
}

// condition is a Host or Match line.
type condition struct {
	file   string
	number int
	text   string
}

// relevant tells whether there is anything that counts.
func relevant(lines []line) bool {
	return slices.ContainsFunc(lines, func(l line) bool { return slices.Contains(honoured, l.key) })
}

// reader reads files line by line, so that one that cannot be read spoils
// nothing else, and follows Include.
type reader struct {
	home  string
	log   *slog.Logger
	lines []line
}

func (r *reader) read(file string, around []condition, depth int) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var text []byte
	if err == nil && info.Size() > maxFile {
		err = errors.New("it is too long")
	}
	if err == nil {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		r.log.Warn("ssh: ssh_config cannot be read", "file", file, "error", err)
		return
	}
	conditions := around
	number := 0
	for l := range strings.Lines(string(text)) {
		number++
		l = strings.TrimSpace(l)
		end := strings.IndexAny(l, " \t=")
		if l == "" || l[0] == '#' || end < 0 || len(r.lines) >= maxLines {
			continue
		}
		key, value := strings.ToLower(l[:end]), strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(l[end:]), "="))
		switch key {
		case "host", "match":
			conditions = append(slices.Clone(around), condition{file, number, l})
		case "include":
			if depth < maxDepth {
				r.include(file, value, conditions, depth+1)
			}
		default:
			r.lines = append(r.lines, line{file, number, conditions, key, l})
		}
	}
}

// include reads the files that an Include names: relative to ~/.ssh in a user's
// file, to /etc/ssh in the system's.
func (r *reader) include(file, value string, conditions []condition, depth int) {
	for _, pattern := range fields(value) {
		switch {
		case strings.HasPrefix(pattern, "~/"):
			pattern = filepath.Join(r.home, pattern[2:])
		case !filepath.IsAbs(pattern) && strings.HasPrefix(file, filepath.Dir(systemFile)+"/"):
			pattern = filepath.Join(filepath.Dir(systemFile), pattern)
		case !filepath.IsAbs(pattern):
			pattern = filepath.Join(r.home, ".ssh", pattern)
		}
		found, err := filepath.Glob(pattern)
		if err != nil {
			r.log.Warn("ssh: ssh_config: an Include cannot be followed", "file", file, "pattern", pattern, "error", err)
		}
		for _, f := range found {
			r.read(f, conditions, depth)
		}
	}
}

// evaluate gives what lines say of the host; of two settings the first counts,
// lists aside. A line or condition that cannot be read is left out.
func evaluate(lines []line, q Query, warn func(file string, line int, what string, err error)) Settings {
	var s Settings
	seen := map[string]bool{"port": q.Port != 0, "user": q.User != ""}
	s.Port, s.User = q.Port, q.User
	answers := map[condition]bool{}
	holds := func(c condition) bool {
		answer, known := answers[c]
		if !known {
			var err error
			if answer, err = matches(c.text, q.Host); err != nil && !isFinal(c.text) {
				warn(c.file, c.number, "a stanza that only ssh itself can judge is left out", err)
			}
			answers[c] = answer
		}
		return answer
	}
	for _, l := range lines {
		lists := l.key == "identityfile" || l.key == "certificatefile"
		if !slices.Contains(honoured, l.key) || seen[l.key] && !lists {
			continue
		}
		if slices.ContainsFunc(l.conditions, func(c condition) bool { return !holds(c) }) {
			continue
		}
		value, err := valueOf(l.text)
		if err != nil {
			warn(l.file, l.number, "a line cannot be read", err)
			continue
		}
		if l.key == "proxyjump" || l.key == "proxycommand" { // the first of the two counts
			seen["proxyjump"], seen["proxycommand"] = true, true
		}
		seen[l.key] = true
		s.set(l.key, value)
	}
	return s
}

// isFinal tells stanzas for ssh's second pass, which come with some systems.
func isFinal(text string) bool {
	words := strings.Fields(strings.ToLower(text))
	return len(words) > 1 && (words[1] == "final" || words[1] == "canonical")
}

// matches tells whether a Host or Match line is about host.
func matches(text, host string) (bool, error) {
	config, err := decode(text + "\n  Port 1\n")
	if err != nil {
		return false, err
	}
	value, err := config.Get(host, "Port")
	return value == "1", err
}

// valueOf gives the value of a line.
func valueOf(text string) (string, error) {
	config, err := decode("Host *\n  " + text + "\n")
	if err != nil {
		return "", err
	}
	for _, host := range config.Hosts {
		for _, node := range host.Nodes {
			if setting, ok := node.(*ssh_config.KV); ok {
				return setting.Value, nil
			}
		}
	}
	return "", errors.New("no setting found")
}

// decode parses text; the library panics on some of what it cannot read.
func decode(text string) (config *ssh_config.Config, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("it cannot be parsed")
		}
	}()
	return ssh_config.Decode(strings.NewReader(text))
}
