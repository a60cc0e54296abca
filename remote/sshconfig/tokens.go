package sshconfig

import (
	"crypto/sha1"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// expanded gives s with ssh_config's tokens, ~ and variables expanded (ssh_config(5),
// TOKENS). ssh -G leaves some of them as they are.
func (r *Resolver) expanded(s Settings, q Query) Settings {
	hostName := q.Host
	if s.HostName != "" {
		// Of all tokens, HostName knows that one only.
		hostName = strings.NewReplacer("%h", q.Host, "%%", "%").Replace(s.HostName)
		s.HostName = hostName
	}
	port, login := s.Port, s.User
	if port == 0 {
		port = 22
	}
	if login == "" {
		login = r.User
	}
	machine, _ := os.Hostname()
	short, _, _ := strings.Cut(machine, ".")
	keyName := s.HostKeyAlias
	if keyName == "" {
		keyName = q.Host
	}
	sum := sha1.Sum([]byte(machine + hostName + strconv.Itoa(port) + login + s.ProxyJump))
	tokens := strings.NewReplacer("%%", "%", "%h", hostName, "%n", q.Host, "%p", strconv.Itoa(port), "%r", login,
		"%u", r.User, "%d", r.Home, "%i", strconv.Itoa(os.Getuid()), "%l", machine, "%L", short, "%k", keyName,
		"%j", s.ProxyJump, "%C", hex.EncodeToString(sum[:]))
	file := func(name string) string {
		if name == "SSH_AUTH_SOCK" || strings.HasPrefix(name, "$") && !strings.HasPrefix(name, "${") {
			return os.Getenv(strings.TrimPrefix(name, "$"))
		}
		name = tokens.Replace(variables(name))
		if rest, ok := strings.CutPrefix(name, "~/"); ok {
			name = filepath.Join(r.Home, rest)
		}
		return name
	}
	for _, list := range []*[]string{&s.IdentityFiles, &s.CertificateFiles, &s.UserKnownHosts, &s.GlobalKnownHosts} {
		for i := range *list {
			(*list)[i] = file((*list)[i])
		}
	}
	s.IdentityAgent = file(s.IdentityAgent)
	s.ProxyCommand = tokens.Replace(s.ProxyCommand)
	return s
}

// variables expands ${NAME}, and nothing else that has a $ in it.
func variables(text string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			out.WriteString("${" + rest)
			return out.String()
		}
		out.WriteString(os.Getenv(name))
		text = after
	}
}
