// Standin is what push needs of a helper: it proves and installs itself, greets
// and sends back what it gets. STANDIN tells it to misbehave.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"vxorch/remote/hostapi"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 || args[0] != "serve" {
		return fmt.Errorf("want serve, got %q", args)
	}
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	token := flags.String("token", "", "")
	flags.Duration("lease", 0, "")
	install := flags.String("install", "", "")
	want := flags.String("sha256", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *install != "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(self)
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != *want {
			os.Remove(self)
			return fmt.Errorf("my hash is not the one that was uploaded")
		}
		if err := os.Rename(self, *install); err != nil {
			return err
		}
	}
	switch os.Getenv("STANDIN") {
	case "fail":
		return fmt.Errorf("\x1b[31mno such luck")
	case "hang":
		time.Sleep(time.Minute)
	case "chatter":
		for {
			if _, err := fmt.Println("chatter"); err != nil {
				return nil
			}
		}
	}
	if err := hostapi.Greet(os.Stdout, *token, "ready 1"); err != nil {
		return err
	}
	if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
		return err
	}
	if os.Getenv("STANDIN") == "late" {
		return fmt.Errorf("ended badly")
	}
	return nil
}
