package console

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScreenKeepsTheTextAlone(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
		replies  []string
	}{
		"lines":                   {"a\r\nb\nc", "a\nb\nc", nil},
		"returns before a line":   {"a\r\r\nb", "a\nb", nil},
		"a return alone":          {"10%\r20%\r\n", "10%\n20%\n", nil},
		"a return at the end":     {"a\r", "a", nil},
		"control characters":      {"a\x00b\x07c\x08d\x7fe\x0e", "abcde", nil},
		"tabs":                    {"a\tb", "a\tb", nil},
		"other alphabets":         {"zażółć 日本", "zażółć 日本", nil},
		"colours":                 {"\x1b[1;31mred\x1b[0m", "red", nil},
		"a private mode":          {"\x1b[?2004h$ ", "$ ", nil},
		"a title":                 {"\x1b]0;title\x07$ ", "$ ", nil},
		"a title ended otherwise": {"\x1b]0;title\x1b\\$ ", "$ ", nil},
		"a title that never ends": {"\x1b]0;tit\r\nlogin: ", "\nlogin: ", nil},
		"a device's string":       {"\x1bPq#0\x1b\\x", "x", nil},
		"an endless string":       {"\x1b_" + strings.Repeat("x", longest+10) + "y", strings.Repeat("x", 11) + "y", nil},
		"an endless sequence":     {"\x1b[" + strings.Repeat("1", longest+10) + "y", strings.Repeat("1", 11) + "y", nil},
		"a character set":         {"\x1b(Bx", "x", nil},
		"a keypad mode":           {"\x1b=\x1b>x", "x", nil},
		"a sequence given up":     {"\x1b[12\x18x", "x", nil},
		"a sequence begun anew":   {"\x1b[12\x1b[1mx\x1b\x1b[0m", "x", nil},
		"where is the cursor":     {"\x1b[6n", "", []string{"\x1b[1;1R"}},
		"are you well":            {"a\x1b[5nb\x1b[6n", "ab", []string{"\x1b[0n", "\x1b[1;1R"}},
		"another question":        {"\x1b[c\x1b[16n\x1b[?6n", "", nil},
		"half a question":         {"\x1b[6", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var whole, parts screen
			replies := whole.write([]byte(c.in))
			var also []string
			for i := range len(c.in) {
				also = append(also, parts.write([]byte{c.in[i]})...)
			}
			for _, got := range []struct {
				s       *screen
				replies []string
			}{{&whole, replies}, {&parts, also}} {
				if diff := cmp.Diff(c.want, string(got.s.text)); diff != "" {
					t.Errorf("text (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(c.replies, got.replies); diff != "" {
					t.Errorf("replies (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestScreenIsBounded(t *testing.T) {
	var s screen
	for range 1000 {
		s.write(bytes.Repeat([]byte("0123456789abcde\n"), 1<<10))
	}
	if len(s.text) < keep || cap(s.text) > 3*keep {
		t.Errorf("%d bytes are kept in %d, want about %d", len(s.text), cap(s.text), keep)
	}
	if got := s.end(); got != 1000<<14 {
		t.Errorf("end = %d, want %d", got, 1000<<14)
	}
	if text, whole := s.since(s.end() - 16); text != "0123456789abcde\n" || !whole {
		t.Errorf("since the last line: %q, %t", text, whole)
	}
	if text, whole := s.since(0); len(text) != len(s.text) || whole {
		t.Errorf("since the beginning: %d bytes, %t", len(text), whole)
	}
}

func TestPrompts(t *testing.T) {
	for text, want := range map[string]prompt{
		"":                                     noPrompt,
		"cirros login: ":                       loginPrompt,
		"\nDebian GNU/Linux 12\n\nvm login: ":  loginPrompt,
		"vm login:":                            loginPrompt,
		"login: ":                              loginPrompt,
		"vm.example.org ttyS0 login: ":         loginPrompt,
		"cirros login: x":                      noPrompt,
		"cirros login: \n":                     noPrompt,
		"login as 'cirros' user":               noPrompt,
		"login as 'cirros' user. password: ":   noPrompt,
		"default password: ":                   noPrompt,
		"Last login: ":                         noPrompt,
		"please do not use this login: ":       noPrompt,
		"[    1.0] systemd[1]: login: ":        noPrompt,
		"Password: ":                           passwordPrompt,
		"password:":                            passwordPrompt,
		"root's Password: ":                    passwordPrompt,
		"$ ":                                   shellPrompt,
		"# ":                                   shellPrompt,
		"user@vm:~$ ":                          shellPrompt,
		"[root@vm ~]# ":                        shellPrompt,
		"/ # ":                                 shellPrompt,
		"$":                                    noPrompt,
		"costs 5$ \n":                          noPrompt,
		"> ":                                   morePrompt,
		"a > ":                                 noPrompt,
		strings.Repeat("x", 300) + "$ ":        noPrompt,
		strings.Repeat("x", 300) + "\nlogin: ": loginPrompt,
	} {
		if got := promptOf(text); got != want {
			t.Errorf("promptOf(%q) = %d, want %d", text, got, want)
		}
	}
}

// FuzzScreen holds for whatever a guest sends: that it does not matter in what
// pieces, what is kept, and what is replied.
func FuzzScreen(f *testing.F) {
	f.Add([]byte("\x1b[1;31mcirros login: \x1b[0m"), 3)
	f.Add([]byte("login as 'cirros'\r\n\x1b]0;t\x07$ \x1b[6n"), 7)
	f.Add([]byte("\x1bP\x1b\\\r\r\n> "), 1)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		var whole, parts screen
		replies := whole.write(b)
		var also []string
		for part := range slices.Chunk(b, min(max(size, 1), 1<<16)) {
			also = append(also, parts.write(part)...)
		}
		if whole.asked != parts.asked || whole.asked > whole.end() {
			t.Errorf("asked at %d, in pieces at %d, of %d", whole.asked, parts.asked, whole.end())
		}
		if !bytes.Equal(whole.text, parts.text) || !slices.Equal(replies, also) {
			t.Errorf("in pieces: %q %q, whole: %q %q", parts.text, also, whole.text, replies)
		}
		for _, r := range replies {
			if r != "\x1b[1;1R" && r != "\x1b[0n" {
				t.Errorf("reply %q", r)
			}
		}
		if bytes.ContainsFunc(whole.text, func(r rune) bool { return r < 0x20 && r != '\n' && r != '\t' || r == 0x7f }) {
			t.Errorf("control characters in %q", whole.text)
		}
		if strings.ContainsFunc(printable(string(whole.text)), func(r rune) bool { return r < 0x20 && r != '\n' }) {
			t.Errorf("control characters in %q", printable(string(whole.text)))
		}
		promptOf(string(whole.text))
	})
}

// FuzzReadPings holds that a guest cannot claim more than there is to claim.
func FuzzReadPings(f *testing.F) {
	f.Add("@10.0.0.1 1 1 packets transmitted, 1 received rtt min/avg/max/mdev = 0.1/0.1/0.1/0.0 ms\n@fd00::1 3 ")
	f.Add("@10.0.0.1 3 = 0.585\n@fd00::1 4 = 1")
	f.Add("@10.0.0.1 2 PING 1 packets transmitted, 0 packets received\n@fd00::1 1 round-trip min/avg/max = 9/9/9 ms")
	f.Fuzz(func(t *testing.T, said string) {
		batch := []PingResult{{Target: netip.MustParseAddr("10.0.0.1")}, {Target: netip.MustParseAddr("fd00::1")}}
		if !readPings(said, batch) {
			return
		}
		for _, r := range batch {
			if r.Sent < 0 || r.Sent > mostTries || r.Received < 0 || r.Received > r.Sent || r.RTT < 0 || (r.Error != nil) != (r.Sent == 0) {
				t.Errorf("%+v of %q", r, said)
			}
		}
	})
}

func TestOnlyShellPrompts(t *testing.T) {
	for text, want := range map[string]bool{
		"$ ":                     true,
		"\n$ \n$ \nroot@vm1:~# ": true,
		"":                       false,
		"login: ":                false,
		"Welcome to vm1\n$ ":     false,
		"costs 5 $ \nlogin: ":    false,
	} {
		if got := onlyShellPrompts(text); got != want {
			t.Errorf("onlyShellPrompts(%q) = %t", text, got)
		}
	}
}
