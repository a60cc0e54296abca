package sshconfig

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// usual are the names of the key files that ssh tries by itself. It lists them
// all where ssh_config names none.
var usual = []string{"id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_mldsa44_ed25519"}

// parseAnswer reads what ssh -G prints: keywords in small letters with their
// values, defaults included. home is what ssh takes for the home directory.
func parseAnswer(text, home string) Settings {
	var s Settings
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		s.set(strings.ToLower(key), value)
	}
	isUsual := func(file string) bool { return slices.Contains(usual, filepath.Base(file)) }
	if len(s.IdentityFiles) >= 3 && !slices.ContainsFunc(s.IdentityFiles, func(f string) bool { return !isUsual(f) }) {
		s.IdentityFiles = nil
	}
	standard := []string{filepath.Join(home, ".ssh", "known_hosts"), filepath.Join(home, ".ssh", "known_hosts2")}
	if slices.Equal(s.UserKnownHosts, standard) {
		s.UserKnownHosts = nil
	}
	return s
}

// set takes a setting in; of two the caller has chosen one, lists aside.
func (s *Settings) set(key, value string) {
	switch key {
	case "hostname":
		s.HostName = unquote(value)
	case "port":
		s.Port, _ = strconv.Atoi(unquote(value))
	case "user":
		s.User = unquote(value)
	case "identityfile":
		if file := unquote(value); file != "none" {
			s.IdentityFiles = append(s.IdentityFiles, file)
		}
	case "certificatefile":
		if file := unquote(value); file != "none" {
			s.CertificateFiles = append(s.CertificateFiles, file)
		}
	case "identitiesonly":
		s.IdentitiesOnly = isYes(value)
	case "identityagent":
		s.IdentityAgent = unquote(value)
	case "userknownhostsfile":
		s.UserKnownHosts = fields(value)
	case "globalknownhostsfile":
		s.GlobalKnownHosts = fields(value)
	case "hostkeyalias":
		s.HostKeyAlias = unquote(value)
	case "stricthostkeychecking":
		s.StrictHostKeyChecking = strictness(unquote(value))
	case "proxyjump":
		s.ProxyJump = unquote(value)
	case "proxycommand":
		s.ProxyCommand = value // a command line, with quotes of its own
	case "connecttimeout":
		s.ConnectTimeout = interval(value)
	case "serveraliveinterval":
		s.ServerAliveInterval = interval(value)
	case "serveralivecountmax":
		s.ServerAliveCountMax, _ = strconv.Atoi(unquote(value))
	}
}

func isYes(value string) bool { return value == "yes" || value == "true" }

// strictness gives the one word for each degree: ssh -G prints others.
func strictness(value string) string {
	switch value {
	case "true":
		return "yes"
	case "false", "off":
		return "no"
	}
	return value
}

// interval reads seconds, or a time with units (sshd_config(5), TIME FORMATS);
// 0: none.
func interval(value string) time.Duration {
	value = unquote(value)
	if n, err := strconv.Atoi(value); err == nil && n >= 0 && n < 1<<31 {
		return time.Duration(n) * time.Second
	}
	if d, err := time.ParseDuration(value); err == nil && d > 0 {
		return d
	}
	return 0
}

func unquote(value string) string {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}

// fields splits at spaces outside of double quotes.
func fields(value string) []string {
	var list []string
	var word strings.Builder
	quoted, begun := false, false
	for _, r := range value {
		switch {
		case r == '"':
			quoted, begun = !quoted, true
		case !quoted && (r == ' ' || r == '\t'):
			if begun {
				list = append(list, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		list = append(list, word.String())
	}
	return list
}
