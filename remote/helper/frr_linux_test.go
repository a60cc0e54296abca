package helper

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vxorch/remote/hosttest"
)

func TestContractFRR(t *testing.T) {
	if _, err := os.Stat("/usr/lib/frr/bgpd"); err != nil {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal(err)
		}
		t.Skip("FRR is not installed: ", err)
	}
	hosttest.ContractFRR(t, func(t *testing.T) hosttest.Env {
		return hosttest.Env{
			Host: mustNew(t), Reopen: mustNew, Underlay: underlay(t), Local: netip.MustParseAddr("192.0.2.1"), Plant: plant, PlantNet: plantNet, BGP: ownFRR,
		}
	})
}

// ownFRR runs an FRR of the machine's own, where its programs look for one.
func ownFRR(t *testing.T, asn int) (shown func() string) {
	const run = "/run/frr"
	if err := os.Mkdir(run, 0o755); err == nil {
		t.Cleanup(func() { os.Remove(run) })
	}
	if _, err := os.Lstat("/var/tmp/frr"); err != nil {
		t.Cleanup(func() { os.Remove("/var/tmp/frr") })
	}
	if left, _ := filepath.Glob(run + "/*"); len(left) > 0 {
		t.Fatalf("an FRR of this machine's own is in the way: %q", left)
	}
	dir := t.TempDir()
	config := "log syslog warnings\nroute-map theirs permit 10\nexit\n"
	if asn != 0 {
		config += fmt.Sprintf("router bgp %d\n neighbor 192.0.2.77 remote-as 64513\nexit\n", asn)
	}
	for _, path := range []string{filepath.Dir(dir), dir} { // of FRR's user, as it has to pass
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chown", "frr:frr", run).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { // they leave their sockets behind
		for _, name := range []string{"bgpd.pid", "bgpd.vty", "zebra.pid", "zebra.vty", "zserv.api"} {
			os.Remove(filepath.Join(run, name))
		}
	})
	for name, more := range map[string][]string{"zebra": {"-f", "/dev/null"}, "bgpd": {"-f", file, "-l", "127.0.0.1", "-p", "21179"}} {
		daemon := exec.Command("/usr/lib/frr/"+name, append(more, "-P", "0")...)
		if err := daemon.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			daemon.Process.Signal(os.Interrupt)
			daemon.Wait()
		})
	}
	shown = func() string {
		out, err := exec.Command("vtysh", "-d", "bgpd", "-c", "show running-config").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for late := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if out, _ := exec.Command("vtysh", "-d", "bgpd", "-c", "show running-config").CombinedOutput(); strings.Contains(string(out), "theirs") {
			return shown
		}
		if time.Now().After(late) {
			t.Fatal("the machine's own bgpd does not come up")
		}
	}
}
