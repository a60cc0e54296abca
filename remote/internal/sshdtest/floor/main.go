// Command floor does the least that an orchestrator over SSH can do: it connects
// to every host at once and runs `true` there. Its time is what vxorch's is held
// against. It checks no host key: use it on sandbox hosts only.
package main

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/crypto/ssh"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: floor IDENTITY HOST:PORT…")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(identity string, hosts []string) error {
	pem, err := os.ReadFile(identity)
	if err != nil {
		return err
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return fmt.Errorf("%s: %w", identity, err)
	}
	config := &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, host := range hosts {
		wg.Go(func() { errs[i] = runTrue(host, config) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func runTrue(host string, config *ssh.ClientConfig) error {
	client, err := ssh.Dial("tcp", host, config)
	if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err == nil {
		err = session.Run("true")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	return nil
}
