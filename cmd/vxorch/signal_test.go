package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// transcript is what a process prints, for others to look at meanwhile.
type transcript struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// TestInterruptOfAHungDeploy stops host1's helper, so that a deploy can get no
// further, and interrupts vxorch once, or again as soon as it says that it was.
func TestInterruptOfAHungDeploy(t *testing.T) {
	tr := newTrial(t, "signals")
	c := newCutting(t, "signals2")
	// A connection of which nothing is heard goes on for longer than an interrupt may take.
	patient := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(patient, []byte("Host *\n  ServerAliveInterval 60\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, again := range map[string]bool{"once": false, "twice": true} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(name+" "+sig.String(), func(t *testing.T) {
				c.t = t
				for try := 0; !c.interrupts(sig, again, tr.bin, "deploy", "--ssh-config", patient, c.box.Inventory()); try++ {
					if try == 20 {
						t.Fatal("every deploy was done before its helper could be stopped")
					}
				}
			})
		}
	}
	c.t = t
	c.awaitNoHelper("after all interrupts")
	c.converges("after all interrupts")
	c.cleans("after all interrupts")
	c.asBefore()
}

// interrupts stops host1's helper while vxorch runs, and interrupts it. It gives false
// if all was done by then but the end.
func (c *cutting) interrupts(sig syscall.Signal, again bool, vxorch ...string) bool {
	t := c.t
	c.awaitNoHelper("before a deploy")      // of the one before
	defer c.awaitNoHelper("after a deploy") // first it is killed:
	defer c.kill("/vxhelper serve")         // one that is stopped sees no end
	var out transcript
	code := make(chan int, 1)
	go func() {
		// The shell tells its number and becomes vxorch.
		n, err := c.box.Exec(t.Context(), append([]string{"sh", "-c", `echo pid $$; exec "$0" "$@"`}, vxorch...), strings.NewReader(""), &out, &out)
		if err != nil {
			t.Error(err)
		}
		code <- n
	}()
	if !c.stopHelper(code) {
		return false
	}
	number := regexp.MustCompile(`(?m)^pid (\d+)$`).FindStringSubmatch(out.String())
	if number == nil {
		t.Fatalf("no number: %s", out.String())
	}
	pid, err := strconv.Atoi(number[1])
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(pid, sig) // it may have ended
	for again && len(code) == 0 && !strings.Contains(out.String(), "vxorch: interrupted") {
		time.Sleep(time.Millisecond)
	}
	if again {
		_ = syscall.Kill(pid, sig) // it may have ended
	}
	var n int
	select {
	case n = <-code:
	case <-time.After(30 * time.Second):
		t.Fatalf("it does not end:\n%s", out.String())
	}
	if strings.Contains(out.String(), "host1 proof ok") {
		return false
	}
	if n != exitInterrupted && !(again && n == 128+int(sig)) {
		t.Errorf("exit %d, want %d\n%s", n, exitInterrupted, out.String())
	}
	if text := out.String(); !strings.Contains(text, "vxorch: interrupted: ") || !again &&
		!(strings.Contains(text, "interrupted at ") && strings.Contains(text, "vxorch: error: host1: ") && strings.Contains(text, "next: `vxorch deploy`")) {
		t.Errorf("it does not say what was interrupted, and what is next:\n%s", text)
	}
	return true
}

// stopHelper stops host1's helper as soon as it runs; false: the run ended first.
func (c *cutting) stopHelper(ended <-chan int) bool {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case <-ended:
			return false
		default:
		}
		for _, pid := range c.processes("host1", "/vxhelper serve") {
			if syscall.Kill(pid, syscall.SIGSTOP) != nil {
				continue
			}
			select {
			case <-ended:
				return false
			case <-time.After(200 * time.Millisecond): // what was on its way may have been all
				return true
			}
		}
	}
	c.t.Fatal("no helper runs")
	return false
}
