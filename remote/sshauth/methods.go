package sshauth

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Next gives the method to try next at a host that accepts those of c: all keys
// as one method, since of two of a kind the library uses the first only; then
// what a user can be asked. nil: there is nothing left to try.
func (k *Keyring) Next(who string, c *ssh.ClientAuthContext) ssh.AuthMethod {
	tried := func(method string) int {
		n := 0
		for _, m := range c.TriedMethods {
			if m == method {
				n++
			}
		}
		return n
	}
	allowed := func(method string) bool { return slices.Contains(c.AllowedMethods, method) }
	ends := k.refusal != nil || !k.secrets.mayPassword()
	switch {
	// Once more for each key that could not sign: those behind it are left.
	case allowed("publickey") && len(k.signers) > 0 && tried("publickey") <= k.unsigned:
		return ssh.PublicKeysCallback(func() ([]ssh.Signer, error) { return k.signers, nil })
	case allowed("keyboard-interactive") && !ends && tried("keyboard-interactive") < tries:
		return ssh.KeyboardInteractive(func(_, instruction string, questions []string, echos []bool) ([]string, error) {
			return k.answers(who, instruction, questions, echos)
		})
	case allowed("password") && !ends && tried("password") < tries:
		return ssh.PasswordCallback(func() (string, error) { return k.password(who) })
	}
	return nil
}

// password tells the host a password that it has not refused yet.
func (k *Keyring) password(who string) (password string, err error) {
	k.patiently(func() {
		var number int
		if password, number, err = k.secrets.password(k.wanted.Ctx, who, k.told); err == nil {
			k.told = number
		}
	})
	if err != nil {
		k.refusal = err
	}
	return password, err
}

// answers answers a host's questions. One for a password alone is answered with
// what the user has told already.
func (k *Keyring) answers(who, instruction string, questions []string, echos []bool) (answers []string, err error) {
	if len(questions) == 1 && !echos[0] && strings.Contains(strings.ToLower(questions[0]), "password") {
		password, err := k.password(who)
		return []string{password}, err
	}
	for i, q := range questions {
		if instruction != "" {
			q, instruction = instruction+"\n"+q, ""
		}
		var answer string
		k.patiently(func() {
			answer, err = k.secrets.answer(k.wanted.Ctx, Question{Text: fmt.Sprintf("(%s) %s", who, q), Echo: echos[i]})
		})
		if err != nil {
			k.refusal = err
			return nil, err
		}
		answers = append(answers, answer)
	}
	return answers, nil
}
