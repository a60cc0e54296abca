package frr

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
)

// bgpd runs one with a configuration, in namespaces of its own, so that what it makes
// below /var/tmp is nobody else's.
func bgpd(t *testing.T, config string) existing {
	t.Helper()
	if _, err := os.Stat("/usr/lib/frr/bgpd"); err != nil || os.Getuid() != 0 {
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatal("root and FRR are needed: ", err)
		}
		t.Skip("root and FRR are needed: ", err)
	}
	uid, gid, err := account()
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("", "bgpd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	file := filepath.Join(run, "conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(run, uid, gid); err != nil {
		t.Fatal(err)
	}
	const alone = `mount -t tmpfs none /var/tmp && exec "$0" "$@"`
	daemon := exec.Command("unshare", "--net", "--mount", "sh", "-c", alone, "/usr/lib/frr/bgpd", "-f", file, "--vty_socket", run, "-i", filepath.Join(run, "pid"), "-z", filepath.Join(run, "zebra"), "-P", "0", "-p", "0")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		daemon.Process.Signal(os.Interrupt)
		daemon.Wait()
	})
	e := existing{run}
	for late := time.Now().Add(20 * time.Second); !strings.Contains(e.shown(t, false), "router bgp"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("bgpd does not come up")
		}
	}
	return e
}

// shown is its configuration.
func (e existing) shown(t *testing.T, must bool) string {
	t.Helper()
	text, err := converse(t.Context(), e.run, joinPatience, "enable", "show running-config")
	if err != nil && must {
		t.Fatal(err)
	}
	return string(text)
}

const fabric = `log syslog warnings
router bgp 65000
 bgp router-id 10.9.0.9
 neighbor fabric peer-group
 neighbor fabric remote-as internal
 neighbor 10.9.0.1 peer-group fabric
 neighbor 10.9.0.2 remote-as 65010
 bgp listen range 10.99.0.0/24 peer-group fabric
 address-family ipv4 unicast
  network 10.50.0.0/24
  neighbor fabric route-map theirs in
 exit-address-family
 address-family l2vpn evpn
  neighbor 10.9.0.2 activate
 exit-address-family
exit
bgp extcommunity-list standard theirs permit rt 1:1
route-map theirs permit 10
 match extcommunity theirs
exit
`

// vrf has an instance that is not the default one.
const vrf = "router bgp 65077 vrf blue\n neighbor 10.8.0.1 remote-as 65001\nexit\n"

// planned is the part that a plan has for a reflector of lab lu.
func planned(t *testing.T) hostapi.FRR {
	t.Helper()
	text, err := os.ReadFile("../../../../orchestrator/plan/testdata/bgpd-existing.conf")
	if err != nil {
		t.Fatal(err)
	}
	return hostapi.FRR{Local: netip.MustParseAddr("10.0.0.1"), Port: 179, Password: "sesame", Config: string(text), Existing: true}
}

// Whichever command was the last that a helper gave, of those that bring the part and
// of those that take it, the next one takes all of it, and nothing else.
func TestBgpdIsAsBeforeWhereverItIsCut(t *testing.T) {
	w := planned(t)
	for name, config := range map[string]string{"an instance of its own": fabric, "none": vrf} {
		t.Run(name, func(t *testing.T) {
			e, store := bgpd(t, config), own.Store{Root: t.TempDir()}
			dir, err := store.Path("lu", own.FRR)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			before := e.shown(t, true)
			// leave takes it away, as what join noted says.
			leave := func(what string, n int) {
				t.Helper()
				if _, err := e.leave(t.Context(), store, "lu", dir); err != nil {
					t.Fatalf("%s after %d commands: %v", what, n, err)
				}
				if after := e.shown(t, true); after != before {
					t.Fatalf("%s after %d commands: bgpd has now\n%s\nbefore it had\n%s", what, n, after, before)
				}
			}
			if err := e.join(t.Context(), store, "lu", dir, w); err != nil {
				t.Fatal(err)
			}
			whole, _, _ := e.read(t.Context(), "lu")
			undo := whole.Undo("lu", readShared(dir))
			leave("joined", -1)
			lines := strings.Split(strings.TrimSpace(w.Text()), "\n")
			for n := range lines {
				if err := e.tell(t.Context(), lines[:n]); err != nil {
					t.Fatal(err)
				}
				leave("joining ended", n)
			}
			for n := range undo {
				if err := e.join(t.Context(), store, "lu", dir, w); err != nil {
					t.Fatal(err)
				}
				if err := e.tell(t.Context(), undo[:n]); err != nil {
					t.Fatal(err)
				}
				leave("leaving ended", n)
			}
		})
	}
}

func TestBgpdKeepsWhatOthersPutBesideALab(t *testing.T) {
	e, store := bgpd(t, vrf), own.Store{Root: t.TempDir()}
	dir, err := store.Path("lu", own.FRR)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := e.join(t.Context(), store, "lu", dir, planned(t)); err != nil {
		t.Fatal(err)
	}
	if err := e.tell(t.Context(), []string{"router bgp 65000", "neighbor 10.7.0.7 remote-as 65007"}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.leave(t.Context(), store, "lu", dir); err != nil {
		t.Fatal(err)
	}
	after, _, _ := e.read(t.Context(), "lu")
	if after.Owns() || after.ASN != 65000 || fmt.Sprint(after.Neighbors) != "[10.7.0.7]" {
		t.Errorf("bgpd has now\n%s", e.shown(t, true))
	}
}

// A bgpd that began anew has lost the lab's part, and may have been told since of what
// the lab had brought.
func TestBgpdKeepsWhatItHasSinceItBeganAnew(t *testing.T) {
	e, store := bgpd(t, fabric), own.Store{Root: t.TempDir()}
	dir, err := store.Path("lu", own.FRR)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := e.tell(t.Context(), []string{"router bgp 65000", "address-family l2vpn evpn", "advertise-all-vni"}); err != nil {
		t.Fatal(err)
	}
	before := e.shown(t, true)
	// what was noted of it by this lab, and by another
	for _, noted := range []string{"lu", "beside"} {
		place, err := store.Path(noted, own.FRR)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(place, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(place, "shared"), []byte(formatShared(hostapi.BGPShared{Router: true, Advertises: true})), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.leave(t.Context(), store, "lu", dir); err != nil {
		t.Fatal(err)
	}
	if err := e.join(t.Context(), store, "lu", dir, planned(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.leave(t.Context(), store, "lu", dir); err != nil {
		t.Fatal(err)
	}
	if after := e.shown(t, true); after != before {
		t.Errorf("bgpd has now\n%s\nbefore it had\n%s", after, before)
	}
}

func TestWhatIsInNoBgpdThatRunsIsNowhere(t *testing.T) {
	e, store := existing{t.TempDir()}, own.Store{Root: t.TempDir()}
	if changed, err := e.leave(t.Context(), store, "lu", t.TempDir()); changed || err != nil {
		t.Errorf("changed %t, %v", changed, err)
	}
	if err := e.join(t.Context(), store, "lu", t.TempDir(), planned(t)); err == nil {
		t.Error("it was joined")
	}
}

func TestAPasswordThatIsRefusedIsNotRepeated(t *testing.T) {
	e := bgpd(t, fabric)
	err := e.tell(t.Context(), []string{"router bgp 65000", " neighbor nobody-here password sesame"})
	if err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("error %v", err)
	}
	if err := e.tell(t.Context(), []string{"router bgp 65000", " neighbor nobody-here shutdown"}); err == nil || !strings.Contains(err.Error(), "nobody-here") {
		t.Errorf("error %v, want one that has the line", err)
	}
}
