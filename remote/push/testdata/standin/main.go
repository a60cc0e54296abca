// Standin is what push needs of a helper: it greets
// and sends back what it gets. STANDIN tells it to misbehave.
package main

import (
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
	flags.String("source", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return err
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
