package hostapi_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"vxorch/remote/hostapi"
)

func TestGreetingIsFoundBehindNoise(t *testing.T) {
	const token = "T0KEN"
	for name, noise := range map[string]string{
		"none":                      "",
		"a banner":                  "Welcome to host1\n",
		"without newline":           "loading nvm...",
		"empty lines":               "\n\n\n",
		"binary":                    "\x1b[2J\x00\xff\xfe\r\n",
		"the command, printed":      "sh -c 'exec vxhelper serve --token T0KEN --lease 15s'\n",
		"the token without a space": "T0KEN\nT0KENS x\n",
	} {
		t.Run(name, func(t *testing.T) {
			stream := bytes.NewBufferString(noise)
			if err := hostapi.Greet(stream, token, "need Linux x86_64 /root/a dir"); err != nil {
				t.Fatal(err)
			}
			stream.WriteString("frames\nT0KEN again\n")
			r := bufio.NewReader(stream)
			text, got, err := hostapi.AwaitGreeting(r, token, 1<<10)
			if err != nil || text != "need Linux x86_64 /root/a dir" || string(got) != noise {
				t.Errorf("AwaitGreeting = %q, %q, %v; want the greeting behind %q", text, got, err, noise)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "frames\nT0KEN again\n" {
				t.Errorf("left behind the greeting: %q", rest)
			}
		})
	}
}

func TestNoGreetingGivesWhatWasRead(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		limit  int
		noise  string
		err    error
	}{
		"the stream ends":         {"bash: no such shell", 100, "bash: no such shell", io.EOF},
		"within the greeting":     {"\nT rea", 100, "\nT rea", io.EOF},
		"noise up to the limit":   {strings.Repeat("x", 50), 20, strings.Repeat("x", 20), hostapi.ErrNoGreeting},
		"greeting over the limit": {"\nT ready\n", 5, "\nT re", hostapi.ErrNoGreeting},
	} {
		t.Run(name, func(t *testing.T) {
			text, noise, err := hostapi.AwaitGreeting(bufio.NewReader(strings.NewReader(c.stream)), "T", c.limit)
			if text != "" || string(noise) != c.noise || !errors.Is(err, c.err) {
				t.Errorf("AwaitGreeting = %q, %q, %v; want %q, %v", text, noise, err, c.noise, c.err)
			}
		})
	}
}

func FuzzAwaitGreeting(f *testing.F) {
	f.Add([]byte("banner\n"), "ready 1")
	f.Add([]byte("\nT0KEN"), "")
	f.Add([]byte("T0KEN early\n"), "late")
	f.Fuzz(func(t *testing.T, noise []byte, text string) {
		const token = "T0KEN"
		if strings.Contains(text, "\n") || bytes.Contains(noise, []byte(token)) {
			t.Skip("no greeting, or one of its own")
		}
		stream := bytes.NewBuffer(bytes.Clone(noise))
		if err := hostapi.Greet(stream, token, text); err != nil {
			t.Fatal(err)
		}
		limit := stream.Len()
		got, before, err := hostapi.AwaitGreeting(bufio.NewReader(stream), token, limit)
		if err != nil || got != text || !bytes.Equal(before, noise) {
			t.Errorf("AwaitGreeting = %q, %q, %v; want %q, %q", got, before, err, text, noise)
		}
	})
}
