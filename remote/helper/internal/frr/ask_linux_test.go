package frr

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vxorch/remote/helper/internal/own"
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
	said, err := converse(t.Context(), run, joinPatience, "enable", "clear bgp *")
	if err != nil || string(said) != `{"a": 1}` {
		t.Errorf("converse: %q, %v", said, err)
	}
	if got, want := <-told, []string{"enable", "clear bgp *"}; !slices.Equal(got, want) {
		t.Errorf("bgpd was told %q, want %q", got, want)
	}
}

func TestInspect(t *testing.T) {
	q := hostapi.BGPQuery{Lab: "lu", VNIs: []int{100}}
	for name, c := range map[string]struct {
		answer string
		want   *hostapi.BGPState
	}{
		"routes": {`{"[3]:[0]:[32]:[192.0.2.2]": {}, "[3]:[0]:[32]:[192.0.2.1]": {}, "numPrefix": 2}`, &hostapi.BGPState{
			VNIs: []hostapi.EVPNState{{VNI: 100, Ends: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}}},
		}},
		"it does not serve the VNI":    {"{ }", &hostapi.BGPState{VNIs: []hostapi.EVPNState{{VNI: 100}}}},
		"it does not know the command": {"% Unknown command", &hostapi.BGPState{}},
		"there is no bgpd":             {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			store := own.Store{Root: t.TempDir()}
			dir, err := store.Path(q.Lab, own.FRR)
			if err != nil {
				t.Fatal(err)
			}
			run := filepath.Join(dir, "run")
			if err := os.MkdirAll(run, 0o700); err != nil {
				t.Fatal(err)
			}
			if c.answer != "" {
				vty(t, run, c.answer)
			}
			if d := cmp.Diff(c.want, Inspect(t.Context(), store, q), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
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
	if _, err := converse(t.Context(), run, joinPatience, "show version"); err == nil {
		t.Error("no error")
	}
}
