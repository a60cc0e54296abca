package frr

import (
	"bufio"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vxorch/remote/hostapi"
)

// vty answers commands as bgpd does, in pieces, and gives what it was told.
func vty(t *testing.T, run string, answer string) <-chan []string {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(run, hostapi.BGPD+".vty"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	told := make(chan []string, 1)
	go func() {
		var commands []string
		defer func() { told <- commands }()
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		for {
			command, err := in.ReadString(0)
			if err != nil {
				return
			}
			commands = append(commands, strings.TrimSuffix(command, "\x00"))
			for _, piece := range []string{answer, "\x00\x00", "\x00", "\x00"} {
				if _, err := conn.Write([]byte(piece)); err != nil {
					return
				}
			}
		}
	}()
	return told
}

func TestConverse(t *testing.T) {
	run := t.TempDir()
	told := vty(t, run, `{"a": 1}`)
	said, err := converse(t.Context(), run, "enable", "clear bgp *")
	if err != nil || string(said) != `{"a": 1}` {
		t.Errorf("converse: %q, %v", said, err)
	}
	if got, want := <-told, []string{"enable", "clear bgp *"}; !slices.Equal(got, want) {
		t.Errorf("bgpd was told %q, want %q", got, want)
	}
}

func TestABgpdThatHangsUpIsAnError(t *testing.T) {
	run := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(run, hostapi.BGPD+".vty"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			conn.Close()
		}
	}()
	if _, err := converse(t.Context(), run, "show version"); err == nil {
		t.Error("no error")
	}
}
