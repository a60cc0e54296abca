// Package sshauth is who we are to a host: private keys from files and from
// agents, their certificates, passwords and answers. What the user is asked is
// asked once a run, and a key's passphrase only when a host would take that
// key. It opens no connection but those to agents.
package sshauth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"vxorch/remote/hostapi"
)

// tries bounds how often the user is asked for the same thing.
const tries = 3

// Question is put to the user. Its text may have a host's words in it.
type Question struct {
	Text string
	Echo bool // the answer may be seen
	// Notice: nothing is to be answered, it is to be shown until the context ends.
	Notice bool
}

// ErrNoAnswer is the error of an Ask whose user would not say.
var ErrNoAnswer = errors.New("no answer")

// Secrets are what the user has told in a run, kept for all its hosts. NewSecrets
// makes them; set the fields before use. Safe for concurrent use: one question
// at a time.
type Secrets struct {
	Ask         func(context.Context, Question) (string, error) // nil: there is nobody to ask
	Passphrases []string                                        // tried on encrypted keys before anybody is asked
	Password    string                                          // tried on hosts before anybody is asked; empty: none

	turn      chan struct{} // holds one element while somebody is at work on what follows
	opened    map[string]ssh.Signer
	given     map[string]error // files that nobody could open, with the reason
	passwords []string         // in the order in which they were told; hosts try the last
}

// NewSecrets gives secrets that are told by ask, which may be nil.
func NewSecrets(ask func(context.Context, Question) (string, error)) *Secrets {
	return &Secrets{Ask: ask, turn: make(chan struct{}, 1), opened: map[string]ssh.Signer{}, given: map[string]error{}}
}

// lock waits for the turn; what the one before was told, the next need not ask.
func (s *Secrets) lock(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Secrets) unlock() { <-s.turn }

// open decrypts the key in file, whose text is pem.
func (s *Secrets) open(ctx context.Context, file string, pem []byte) (ssh.Signer, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	if signer := s.opened[file]; signer != nil {
		return signer, nil
	}
	if err := s.given[file]; err != nil {
		return nil, err
	}
	for _, passphrase := range s.Passphrases {
		if signer, err := decrypt(pem, passphrase); err == nil {
			s.opened[file] = signer
			return signer, nil
		}
	}
	reason := hostapi.Errorf(hostapi.KindAuth, "load it into the ssh-agent: ssh-add "+file+"; or let VXORCH_PASSPHRASE_FILE name a file that has its passphrase",
		"key %s is encrypted", file)
	if len(s.Passphrases) > 0 {
		reason.Message += ", and none of the known passphrases opens it"
	}
	for range tries {
		if s.Ask == nil {
			break
		}
		passphrase, err := s.Ask(ctx, Question{Text: fmt.Sprintf("passphrase of key %s: ", file)})
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil || passphrase == "" { // an empty one skips the key, as with ssh
			break
		}
		signer, err := decrypt(pem, passphrase)
		if err == nil {
			s.Passphrases = append(s.Passphrases, passphrase) // other keys may have the same
			s.opened[file] = signer
			return signer, nil
		}
	}
	s.given[file] = reason
	return nil, reason
}

// password gives the password to try for who (user@host). refused is the number
// of the one that the host did not take, 0 at first. A host that refuses the one
// the others took gets one of its own.
func (s *Secrets) password(ctx context.Context, who string, refused int) (string, int, error) {
	if err := s.lock(ctx); err != nil {
		return "", 0, err
	}
	defer s.unlock()
	if s.Password != "" && len(s.passwords) == 0 {
		s.passwords = append(s.passwords, s.Password)
	}
	if n := len(s.passwords); n > refused {
		return s.passwords[n-1], n, nil
	}
	if s.Ask == nil {
		return "", 0, ErrNoAnswer
	}
	password, err := s.Ask(ctx, Question{Text: fmt.Sprintf("password of %s: ", who)})
	if err != nil {
		return "", 0, err
	}
	if password == "" {
		return "", 0, ErrNoAnswer
	}
	s.passwords = append(s.passwords, password)
	return password, len(s.passwords), nil
}

// answer asks what a host wants to know.
func (s *Secrets) answer(ctx context.Context, q Question) (string, error) {
	if s.Ask == nil {
		return "", ErrNoAnswer
	}
	if err := s.lock(ctx); err != nil {
		return "", err
	}
	defer s.unlock()
	return s.Ask(ctx, q)
}

// ForSSH gives what answers the questions of one run of the system's ssh: with
// what was read from files, then by asking. nil: neither can be.
func (s *Secrets) ForSSH() func(context.Context, Question) (string, error) {
	if s.Ask == nil && len(s.Passphrases) == 0 && s.Password == "" {
		return nil
	}
	var passphrases, passwords int // tried
	return func(ctx context.Context, q Question) (string, error) {
		if err := s.lock(ctx); err != nil {
			return "", err
		}
		defer s.unlock()
		text := strings.ToLower(q.Text)
		switch {
		case q.Notice:
		case strings.Contains(text, "passphrase") && passphrases < len(s.Passphrases):
			passphrases++
			return s.Passphrases[passphrases-1], nil
		case strings.Contains(text, "password") && passwords == 0 && s.Password != "":
			passwords++
			return s.Password, nil
		}
		if s.Ask == nil {
			return "", ErrNoAnswer
		}
		return s.Ask(ctx, q)
	}
}

// mayPassword tells whether a password can be had at all.
func (s *Secrets) mayPassword() bool { return s.Ask != nil || s.Password != "" }
