package console_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/helper/internal/console"
	"vxorch/remote/hostapi"
)

// guest plays a guest at the other end of a console's stream.
type guest struct {
	conn  net.Conn
	lines chan string // what was typed, without the \r; closed at the end
	echo  bool
	ran   []string // commands, in order

	asks    bool // a line editor: where the cursor is, with each prompt while it echoes
	answers int  // to that
}

// play gives a console to a guest that acts as told until the test ends.
func play(t *testing.T, act func(g *guest)) *console.Console {
	t.Helper()
	ours, theirs := net.Pipe()
	g := &guest{conn: theirs, lines: make(chan string, 1000), echo: true}
	var parts sync.WaitGroup
	parts.Go(func() {
		defer close(g.lines)
		var line []byte
		b := make([]byte, 1)
		for {
			if _, err := theirs.Read(b); err != nil {
				return
			}
			switch b[0] {
			case '\r':
				g.lines <- string(line)
				line = nil
			case 3:
				g.lines <- "^C"
				line = nil
			default:
				if line = append(line, b[0]); string(line) == "\x1b[1;1R" { // a terminal's answer
					g.lines <- string(line)
					line = nil
				}
			}
		}
	})
	parts.Go(func() {
		act(g)
		for range g.lines { // whatever else is typed falls on deaf ears
		}
	})
	c := console.New(ours, console.Options{})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		theirs.Close()
		parts.Wait()
	})
	return c
}

// What a line editor asks a terminal, and what one answers.
const (
	query  = "\x1b[6n"
	answer = "\x1b[1;1R"
)

// say writes text with a terminal's line ends.
func (g *guest) say(text string) {
	io.WriteString(g.conn, strings.ReplaceAll(text, "\n", "\r\n"))
}

// hear gives the next line that is typed; empty at the end, too.
func (g *guest) hear() string { return <-g.lines }

// ask says a prompt until what is typed is not empty, and echoes it.
func (g *guest) ask(prompt string) string {
	for {
		g.say(prompt)
		line, ok := <-g.lines
		if !ok {
			return ""
		}
		g.say(line + "\n")
		if line != "" {
			return line
		}
	}
}

// login is a getty and login that let one in.
func (g *guest) login(banner string) bool {
	user := g.ask(banner + "cirros login: ")
	g.say("Password: ")
	password := g.hear()
	g.say("\n")
	return user == "cirros" && password == "gocubsgo"
}

// exchanged is a command between its markers; where its output does not matter it
// has no first one.
var exchanged = regexp.MustCompile(`^(?:echo __IN_\$\?_(\w+); )?(.*); echo __RC_\$\?_(\w+)$`)

// shell plays one until the end; noise is said in the middle of every echo and
// output.
func (g *guest) shell(prompt, noise string, commands map[string]string) {
	for {
		g.say(prompt)
		if g.asks && g.echo {
			g.say(query)
		}
		line, ok := <-g.lines
		for line == answer {
			g.answers++
			line, ok = <-g.lines
		}
		if !ok || line == "exit" || strings.HasSuffix(line, "; exit") {
			return
		}
		if g.echo {
			echo := prompt + line
			for at := 80; at < len(echo); at += 82 {
				echo = echo[:at] + "\r\n" + echo[at:]
			}
			echo = echo[len(prompt):]
			half := len(echo) / 2
			g.say(echo[:half] + noise + echo[half:] + "\n")
		}
		if line == "" || line == "^C" {
			continue
		}
		parts := exchanged.FindStringSubmatch(line)
		if parts == nil || parts[1] != "" && parts[1] != parts[3] {
			g.say("sh: " + line + ": not found\n")
			continue
		}
		code := 0
		if strings.Contains(parts[2], "stty -echo") {
			g.echo = false
			code = 1 // not root
		}
		if strings.HasPrefix(parts[2], "stty echo") {
			g.echo = true
		}
		g.ran = append(g.ran, parts[2])
		if parts[1] != "" {
			g.say("__IN_0_" + parts[1] + "\n")
		}
		g.say(noise)
		for command, output := range commands {
			if strings.Contains(parts[2], command) {
				if text, failed := strings.CutPrefix(output, "FAIL "); failed {
					output, code = text, 1
				}
				g.say(output)
			}
		}
		g.say(fmt.Sprintf("__RC_%d_%s\n", code, parts[3]))
	}
}

var plain = map[string]string{
	"say this": "line one\n\n  \x1b[1mline\x1b[0m three\n",
}

const cirros = `
  ____               ____  ____
 / __/ __ ____ ____ / __ \/ __/
/ /__ / // __// __// /_/ /\ \ 
\___//_//_/  /_/   \____/___/ 
   http://cirros-cloud.net


login as 'cirros' user. default password: 'gocubsgo'. use 'sudo' for root.
`

const message = "[   12.345678] random: crng init done\n"

func TestLogin(t *testing.T) {
	for name, act := range map[string]func(g *guest){
		"a banner that speaks of logins and passwords": func(g *guest) {
			g.hear()
			// As slowly as its words could be taken for prompts.
			for _, part := range []string{cirros[:180], "login", " as 'cirros' user. default password", ": ", "'gocubsgo'.\n"} {
				g.say(part)
				time.Sleep(50 * time.Millisecond)
			}
			if g.login("") {
				g.shell("$ ", "", plain)
			}
		},
		"a guest that boots": func(g *guest) {
			for i := range 40 {
				g.say(fmt.Sprintf("[  %d.0] booting: %d # of 40\n", i, i))
				time.Sleep(time.Second)
			}
			if g.login(cirros) {
				g.shell("$ ", "", plain)
			}
		},
		"a session that is still there":    func(g *guest) { g.hear(); g.shell("$ ", "", plain) },
		"a root session":                   func(g *guest) { g.hear(); g.shell("# ", "", plain) },
		"a prompt with a name and a place": func(g *guest) { g.hear(); g.shell("user@vm:~$ ", "", plain) },
		"a prompt with colours and a title": func(g *guest) {
			g.hear()
			g.shell("\x1b[?2004h\x1b]0;user@vm: ~\x07\x1b[01;32muser@vm\x1b[00m:\x1b[01;34m~\x1b[00m$ ", "", plain)
		},
		"a prompt that a message of the kernel's hides": func(g *guest) {
			g.hear()
			g.say("cirros login: " + message)
			if g.login("") {
				g.shell("$ ", "", plain)
			}
		},
		"a password prompt that a message hides": func(g *guest) {
			g.ask("cirros login: ")
			g.say("Password: " + message)
			g.hear()
			g.say("Login incorrect\n")
			if g.login("") {
				g.shell("$ ", "", plain)
			}
		},
		"messages in every echo and output": func(g *guest) { g.hear(); g.shell("$ ", message, plain) },
		"a line editor that asks where it is": func(g *guest) {
			g.hear()
			g.say("$ \x1b[6n")
			if got := g.hear(); got != "\x1b[1;1R" {
				g.say("no terminal: " + got)
				return
			}
			g.shell("$ ", "", plain)
		},
		"somebody else's try": func(g *guest) {
			g.say("Password: ")
			g.hear()
			g.say("\nLogin incorrect\n")
			if g.login("") {
				g.shell("$ ", "", plain)
			}
		},
		"somebody else's half command": func(g *guest) {
			g.hear()
			for line := ""; line != "^C"; {
				g.say("> ")
				line = g.hear()
			}
			g.say("\n")
			g.shell("$ ", "", plain)
		},
		"a getty that begins anew in the middle": func(g *guest) {
			g.ask(cirros + "cirros login: ")
			g.say("Password: ")
			g.hear()
			g.say("\nLogin timed out after 60 seconds.\n")
			if g.login(cirros) {
				g.shell("$ ", "", plain)
			}
		},
		"returns that were typed while it booted": func(g *guest) {
			time.Sleep(20 * time.Second)
			if g.login(cirros) { // ask hears them all
				g.shell("$ ", "", plain)
			}
		},
		"a greeting that looks like a prompt": func(g *guest) {
			if g.login("") {
				g.say("Last login: ")
				time.Sleep(time.Second)
				g.say("Mon Nov 23 02:33:47 UTC 2026 on ttyS0\n")
				g.shell("$ ", "", plain)
			}
		},
		"a name that needs no password": func(g *guest) { g.ask("cirros login: "); g.shell("$ ", "", plain) },
		"a slow hash": func(g *guest) {
			if g.login("") {
				time.Sleep(8 * time.Second)
				g.shell("$ ", "", plain)
			}
		},
		"a wrong try that was not ours": func(g *guest) {
			g.login("")
			time.Sleep(3 * time.Second)
			g.say("Login incorrect\n")
			if g.login("") {
				g.shell("$ ", "", plain)
			}
		},
		"a shell that is none at first": func(g *guest) {
			g.hear()
			g.say("rescue # ")
			g.hear()
			time.Sleep(10 * time.Second)
			if g.login("\n") {
				g.shell("$ ", "", plain)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var heard *guest
				c := play(t, func(g *guest) { heard = g; act(g) })
				ctx := timeout(t, 2*time.Minute)
				if err := c.Login(ctx, "cirros", "gocubsgo"); err != nil {
					t.Fatalf("Login: %v", err)
				}
				output, exit, err := c.Run(ctx, "say this")
				if !strings.HasSuffix(output, "line one\n\n  line three\n") || exit != 0 || err != nil {
					t.Errorf("Run: %q, %d, %v", output, exit, err)
				}
				synctest.Wait()
				for _, command := range heard.ran {
					if strings.Contains(command, "gocubsgo") {
						t.Errorf("the password is in a command: %s", command)
					}
				}
			})
		})
	}
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAWrongPasswordIsSaidToBeWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		c := play(t, func(g *guest) {
			for {
				ok := g.login(cirros)
				if tries++; ok || tries > 10 {
					return
				}
				time.Sleep(3 * time.Second)
				g.say("Login incorrect\n")
			}
		})
		err := c.Login(timeout(t, 2*time.Minute), "cirros", "cubswin:)")
		if e := new(hostapi.Error); !errors.Is(err, hostapi.ErrAuth) || !errors.As(err, &e) || e.Hint == "" || !strings.Contains(e.Message, `"cirros"`) {
			t.Errorf("Login: %#v", err)
		}
		if strings.Contains(err.Error()+c.Tail(), "cubswin:)") {
			t.Errorf("the password is told: %v\n%s", err, c.Tail())
		}
		if tries > 2 {
			t.Errorf("%d tries", tries)
		}
	})
}

func TestAGuestThatNeverShowsALogin(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(g *guest)
		want []string
		hint string
	}{
		"silent": {
			func(g *guest) {}, []string{"never showed a login prompt", "said nothing"}, "console=ttyS0",
		},
		"stuck": {
			func(g *guest) { g.say("SeaBIOS\nBooting from Hard Disk...\n\x1b[31mNo bootable device.\x07\n") },
			[]string{"never showed a login prompt", "ended with", "Booting from Hard Disk... | No bootable device."}, "",
		},
		"panicking": {
			func(g *guest) {
				for ; ; time.Sleep(time.Second) {
					if _, err := io.WriteString(g.conn, "Kernel panic - not syncing: VFS\r\n"); err != nil {
						return
					}
				}
			}, []string{"never showed a login prompt", "Kernel panic - not syncing"}, "",
		},
		"flooding": {
			func(g *guest) {
				flood := []byte(strings.Repeat("\x1b[31mspam\x1b[6n\x1b]", 2000))
				for {
					if _, err := g.conn.Write(flood); err != nil {
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
			}, []string{"never showed a login prompt", "spam"}, "",
		},
		"at its login, and deaf": {
			func(g *guest) { g.hear(); g.say("cirros login: ") }, []string{`did not let "cirros" in`, "cirros login:"}, "",
		},
		"gone": {
			func(g *guest) { g.say("Power down.\n"); g.conn.Close() }, []string{"the console closed", "Power down."}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				console := play(t, c.act)
				err := console.Login(timeout(t, time.Minute), "cirros", "gocubsgo")
				e := new(hostapi.Error)
				if !errors.As(err, &e) || e.Kind != hostapi.KindInternal || !strings.Contains(e.Hint, c.hint) {
					t.Fatalf("Login: %#v", err)
				}
				for _, text := range c.want {
					if !strings.Contains(e.Message, text) {
						t.Errorf("%q lacks %q", e.Message, text)
					}
				}
				if strings.ContainsFunc(e.Message, func(r rune) bool { return r < ' ' }) {
					t.Errorf("%q has control characters", e.Message)
				}
			})
		})
	}
}

// deaf is a stream that nobody reads or writes at the other end, and that does
// not notice its own end.
type deaf struct{}

func (deaf) Read([]byte) (int, error)  { select {} }
func (deaf) Write([]byte) (int, error) { select {} }
func (deaf) Close() error              { return nil }

func TestAStreamThatBlocksHoldsNobody(t *testing.T) {
	c := console.New(deaf{}, console.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	for range 3 { // one has the turn, the others wait for it
		go func() { done <- c.Login(ctx, "cirros", "gocubsgo") }()
	}
	go func() { done <- c.SetAddresses(ctx, []console.Interface{{MAC: "02:00:00:00:00:01"}}) }()
	cancel()
	for range 4 {
		select {
		case err := <-done:
			if err == nil {
				t.Error("no error")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("still waiting after its context ended")
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheEndOfACallersPatienceIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := play(t, func(g *guest) {})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := c.Login(ctx, "cirros", "gocubsgo"); !errors.Is(err, hostapi.ErrCanceled) {
			t.Errorf("Login: %v", err)
		}
	})
}

// loggedIn gives a console to a guest whose shell is there already.
func loggedIn(t *testing.T, commands map[string]string) (*console.Console, **guest) {
	t.Helper()
	all := map[string]string{}
	for _, m := range []map[string]string{plain, commands} {
		for command, output := range m {
			all[command] = output
		}
	}
	var heard *guest
	c := play(t, func(g *guest) { heard = g; g.hear(); g.shell("$ ", "", all) })
	if err := c.Login(timeout(t, time.Minute), "cirros", "gocubsgo"); err != nil {
		t.Fatal(err)
	}
	return c, &heard
}

func TestACommandThatDoesNotEndIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		interrupted := make(chan string, 1)
		c := play(t, func(g *guest) {
			g.hear()
			g.say("$ ")
			for n := 0; ; n++ {
				line := g.hear()
				parts := exchanged.FindStringSubmatch(line)
				if parts == nil {
					return
				}
				g.say("__IN_0_" + parts[3] + "\n")
				if strings.Contains(line, "sleep") {
					g.say("sleeping\n")
					interrupted <- g.hear()
					return
				}
				g.say("1000\n__RC_0_" + parts[3] + "\n$ ")
			}
		})
		ctx := timeout(t, time.Minute)
		if err := c.Login(ctx, "cirros", "gocubsgo"); err != nil {
			t.Fatal(err)
		}
		_, _, err := c.Run(timeout(t, time.Second), "sleep 1000")
		if err == nil || !strings.Contains(err.Error(), "did not end") || !strings.Contains(err.Error(), "sleeping") {
			t.Errorf("Run: %v", err)
		}
		if got := <-interrupted; got != "^C" {
			t.Errorf("the guest got %q, want ^C", got)
		}
		if _, _, err := c.Run(ctx, "true"); !errors.Is(err, hostapi.ErrInvalid) {
			t.Errorf("Run in a session that is over: %v", err)
		}
	})
}

func TestCommandsThatCannotBeTyped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := loggedIn(t, nil)
		for name, command := range map[string]string{
			"lines": "echo\nreboot", "an end of file": "echo \x04", "too long": strings.Repeat("x", 5000),
		} {
			if _, _, err := c.Run(t.Context(), command); !errors.Is(err, hostapi.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if output, _, err := c.Run(t.Context(), "say this"); !strings.Contains(output, "line one") || err != nil {
			t.Errorf("afterwards: %q, %v", output, err)
		}
		for _, login := range [][2]string{{"a\rb", "c"}, {"a", "b\rc"}} {
			if err := c.Login(t.Context(), login[0], login[1]); !errors.Is(err, hostapi.ErrInvalid) {
				t.Errorf("Login as %q: %v", login, err)
			}
		}
	})
}

func TestACommandThatSaysTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := loggedIn(t, map[string]string{
			"yes": strings.Repeat("y\n", 2<<20),
			"fit": strings.Repeat("y\n", 400<<10),
		})
		if _, _, err := c.Run(t.Context(), "yes"); !errors.Is(err, hostapi.ErrInvalid) || !strings.Contains(err.Error(), "1048576") {
			t.Errorf("Run: %v", err)
		}
		if output, _, err := c.Run(t.Context(), "fit"); len(output) != 800<<10 || err != nil {
			t.Errorf("Run: %d bytes, %v", len(output), err)
		}
	})
}

func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := play(t, func(g *guest) {
			g.say(strings.Repeat("early\n", 5000) + "\x1b[2Jsp\xe9cial \x1b]0;title\x07\u200e\u202eé\t日本\b.\n")
		})
		time.Sleep(time.Second)
		got := c.Tail()
		if want := "early\nspcial é 日本.\n"; !strings.HasSuffix(got, want) || len(got) > 4096 || len(got) < 4000 {
			t.Errorf("Tail: %d bytes, %q", len(got), got[max(0, len(got)-100):])
		}
	})
}

func TestLeaveGivesTheConsoleBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := make(chan string, 10)
		c := play(t, func(g *guest) {
			g.hear()
			if g.login("") {
				g.shell("$ ", "", plain)
				for _, command := range g.ran {
					after <- command
				}
				close(after)
			}
		})
		ctx := timeout(t, time.Minute)
		if err := c.Login(ctx, "cirros", "gocubsgo"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.Leave(ctx); err != nil {
				t.Errorf("Leave: %v", err)
			}
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		var ran []string
		for command := range after {
			ran = append(ran, command)
		}
		want := []string{
			"stty -echo cols 500; test -w /proc/sys/kernel/printk",
			"stty echo cols 80",
		}
		if diff := cmp.Diff(want, ran); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	})
}

// TestALineEditorIsAnsweredAtOnce by a console that waits for nothing else once it was
// asked, and answers the last time before it closes, or whoever comes next would wait.
func TestALineEditorIsAnsweredAtOnce(t *testing.T) {
	for name, prompts := range map[string]string{"one prompt": "", "several returns": "$ \n$ \n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var heard *guest
				c := play(t, func(g *guest) {
					heard = g
					g.asks = true
					g.hear()
					g.say(prompts)
					g.shell("$ ", "", plain)
				})
				began := time.Now() // of a clock that goes on when all wait
				if err := c.Login(timeout(t, time.Minute), "cirros", "gocubsgo"); err != nil {
					t.Fatal(err)
				}
				if err := c.Leave(timeout(t, time.Minute)); err != nil {
					t.Error(err)
				}
				if waited := time.Since(began); waited != 0 {
					t.Errorf("it waited for %v", waited)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if heard.answers != 2 || len(heard.ran) != 2 {
					t.Errorf("%d answers, and commands %q; want two of each", heard.answers, heard.ran)
				}
			})
		})
	}
}

// TestAShellThatDoesNotAskAgain is left all the same, after a moment.
func TestAShellThatDoesNotAskAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := play(t, func(g *guest) {
			g.hear()
			g.say("$ " + query)
			g.hear() // the answer
			g.shell("$ ", "", plain)
		})
		ctx := timeout(t, time.Minute)
		if err := c.Login(ctx, "cirros", "gocubsgo"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := c.Leave(ctx); err != nil {
			t.Errorf("Leave: %v", err)
		}
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("it waited for %v", waited)
		}
	})
}

func TestAddressesThatCannotBeSet(t *testing.T) {
	one := []console.Interface{{MAC: "02:00:00:00:00:01", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}}
	for name, c := range map[string]struct {
		commands map[string]string
		set      []console.Interface
		kind     hostapi.Kind
		want     string
	}{
		"no such device": {map[string]string{"02:00:00:00:00:01": "FAIL no such device\n"}, one, hostapi.KindInternal, "02:00:00:00:00:01 of the guest: no such device"},
		"no sudo":        {map[string]string{"02:00:00:00:00:01": "FAIL sudo: a password is required\n"}, one, hostapi.KindPermission, "a password is required"},
		"a strange MAC":  {nil, []console.Interface{{MAC: "x; reboot"}}, hostapi.KindInvalid, "no MAC"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				console, _ := loggedIn(t, c.commands)
				err := console.SetAddresses(timeout(t, time.Minute), c.set)
				if e := hostapi.AsError(err); e == nil || e.Kind != c.kind || !strings.Contains(e.Message, c.want) {
					t.Errorf("SetAddresses: %#v", e)
				}
			})
		})
	}
}

func TestPingsOfBothKinds(t *testing.T) {
	targets := []netip.Addr{
		netip.MustParseAddr("192.168.100.1"), netip.MustParseAddr("192.168.100.2"), netip.MustParseAddr("fd00::3"),
		netip.MustParseAddr("192.168.100.4"), netip.MustParseAddr("192.168.100.5"), netip.MustParseAddr("192.168.100.6"),
		netip.MustParseAddr("192.168.100.7"), netip.MustParseAddr("fd00::8"), netip.MustParseAddr("192.168.100.9"),
	}
	// In the order in which they end.
	said := `@192.168.100.4 1 PING 192.168.100.4 (192.168.100.4): 56 data bytes ping: sendto: Network is unreachable
@192.168.100.1 1 PING 192.168.100.1 (192.168.100.1): 56 data bytes --- 192.168.100.1 ping statistics --- 1 packets transmitted, 1 packets received, 0% packet loss round-trip min/avg/max = 1.234/1.234/1.234 ms
` + message + `@fd00::3 2 PING fd00::3(fd00::3) 56 data bytes --- fd00::3 ping statistics --- 1 packets transmitted, 1 received, 0% packet loss, time 0ms rtt min/avg/max/mdev = 0.045/0.045/0.045/0.000 ms
[   13.0] a message before it @192.168.100.2 3 PING
@192.168.100.2 3 PING 192.168.100.2 (192.168.100.2) 56(84) bytes of data. --- 192.168.100.2 ping statistics --- 1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms
@192.168.100.5 3 PING 192.168.100.5 (192.168.100.5): 56 data bytes --- 192.168.100.5 ping statistics --- 1 packets transmitted, 0 packets received, 100% packet loss
@192.168.100.6 1 sh: ping: not found
@192.168.100.7 2 = 0.321
` + message + `@fd00::8 1 = 12.5
@192.168.100.9 9 = 1.0
`
	synctest.Test(t, func(t *testing.T) {
		c, heard := loggedIn(t, map[string]string{"ping": said})
		got, err := c.Ping(timeout(t, time.Minute), targets, 3)
		if err != nil {
			t.Fatal(err)
		}
		want := []console.PingResult{
			{Target: targets[0], Sent: 1, Received: 1, RTT: 1234 * time.Microsecond},
			{Target: targets[1], Sent: 3},
			{Target: targets[2], Sent: 2, Received: 1, RTT: 45 * time.Microsecond},
			{Target: targets[3], Error: &hostapi.Error{
				Kind:    hostapi.KindUnreachable,
				Message: "ping in the guest: PING 192.168.100.4 (192.168.100.4): 56 data bytes ping: sendto: Network is unreachable",
			}},
			{Target: targets[4], Sent: 3},
			{Target: targets[5], Error: &hostapi.Error{Kind: hostapi.KindInternal, Message: "ping in the guest: sh: ping: not found"}},
			{Target: targets[6], Sent: 2, Received: 1, RTT: 321 * time.Microsecond},
			{Target: targets[7], Sent: 1, Received: 1, RTT: 12500 * time.Microsecond},
			{Target: targets[8], Error: &hostapi.Error{Kind: hostapi.KindInternal, Message: "ping in the guest: = 1.0"}},
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("Ping (-want +got):\n%s", diff)
		}
		synctest.Wait()
		pings := 0
		for _, command := range (*heard).ran {
			if strings.Contains(command, "ping") {
				pings++
			}
		}
		if pings != 1 {
			t.Errorf("%d commands for one lot of pings", pings)
		}
	})
}

func TestPingsWithoutSudo(t *testing.T) {
	target := netip.MustParseAddr("10.0.0.1")
	said := "@10.0.0.1 1 PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data. --- 10.0.0.1 ping statistics --- 1 packets transmitted, 1 received, 0% packet loss, time 0ms\n"
	synctest.Test(t, func(t *testing.T) {
		// What is said of the one and of the other command.
		c, heard := loggedIn(t, map[string]string{"sudo -n sh -c": "FAIL sudo: a password is required\n", "sh -c 'set -f": said})
		ctx := timeout(t, time.Minute)
		for range 2 {
			results, err := c.Ping(ctx, []netip.Addr{target}, 3)
			if err != nil || len(results) != 1 || results[0].Received != 1 {
				t.Errorf("Ping: %+v, %v; want a reply", results, err)
			}
		}
		synctest.Wait()
		asked := 0
		for _, command := range (*heard).ran {
			if strings.HasPrefix(command, "sudo") {
				asked++
			}
		}
		if asked != 1 || len((*heard).ran) != 4 {
			t.Errorf("sudo was asked %d times, want once, in %q", asked, (*heard).ran)
		}
	})
}

func TestPingsThatMakeNoSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := loggedIn(t, map[string]string{"ping": "sh: syntax error\n"})
		ctx := timeout(t, time.Minute)
		for name, p := range map[string]struct {
			target netip.Addr
			tries  int
		}{
			"no target": {netip.Addr{}, 1}, "a zone": {netip.MustParseAddr("fe80::1%eth0"), 1}, "tries": {netip.MustParseAddr("10.0.0.1"), 4},
		} {
			if _, err := c.Ping(ctx, []netip.Addr{p.target}, p.tries); !errors.Is(err, hostapi.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := c.Ping(ctx, []netip.Addr{netip.MustParseAddr("10.0.0.1")}, 0); err == nil || !strings.Contains(err.Error(), "syntax error") {
			t.Errorf("a guest that cannot: %v", err)
		}
	})
}

func TestWithoutASessionNothingIsTyped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := play(t, func(g *guest) {
			if line, ok := <-g.lines; ok {
				t.Errorf("typed: %q", line)
			}
		})
		ctx := timeout(t, time.Minute)
		_, _, run := c.Run(ctx, "true")
		_, ping := c.Ping(ctx, []netip.Addr{netip.MustParseAddr("10.0.0.1")}, 1)
		set := c.SetAddresses(ctx, []console.Interface{{MAC: "02:00:00:00:00:01"}})
		for name, err := range map[string]error{"Run": run, "Ping": ping, "SetAddresses": set} {
			if !errors.Is(err, hostapi.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := c.Leave(ctx); err != nil {
			t.Errorf("Leave: %v", err)
		}
	})
}
