package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// guestTalks has the container with root's rights send to a UDP port of an
// address, which it takes to be on its segment, and tells whether its ARP was
// answered.
func guestTalks(m *machineUnderTest, to netip.AddrPort) (answered bool) {
	m.t.Helper()
	err := ns.Do("lu-cn1", func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: addressOf(netip.PrefixFrom(to.Addr(), 32)).IPNet}
		neighbour := &netlink.Neigh{LinkIndex: link.Attrs().Index, IP: to.Addr().AsSlice()}
		if err := errors.Join(
			// Who does not answer is given up after 3 times 10 ms.
			os.WriteFile("/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms", []byte("10"), 0),
			netlink.RouteReplace(route),
		); err != nil {
			return err
		}
		_ = netlink.NeighDel(neighbour) // what an earlier try has learned
		if err := say(to); err != nil {
			return err
		}
		for {
			all, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			for _, n := range all {
				switch {
				case !n.IP.Equal(neighbour.IP):
				case n.State&unix.NUD_FAILED != 0:
					return nil
				case n.State&(unix.NUD_REACHABLE|unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE) != 0:
					answered = true
					return nil
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return answered
}

// guestKnows is guestTalks of a guest that needs no ARP.
func guestKnows(m *machineUnderTest, to netip.AddrPort) {
	m.t.Helper()
	mac, err := parseMAC(theBridge.MAC)
	if err != nil {
		m.t.Fatal(err)
	}
	err = ns.Do("lu-cn1", func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return errors.Join(
			netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: to.Addr().AsSlice(), HardwareAddr: mac, State: unix.NUD_PERMANENT}),
			say(to),
			netlink.NeighDel(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: to.Addr().AsSlice()}))
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func say(to netip.AddrPort) error {
	conn, err := net.Dial("udp4", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("hello"))
	return err
}

// dropped counts the packets that the host dropped since no route leads back to
// their sender over the link that they came from.
func dropped(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		for i, name := range names {
			if name == "IPReversePathFilter" && fields[0] == "TcpExt:" {
				n, err := strconv.Atoi(fields[i])
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		names = fields
	}
	t.Fatal("the kernel does not count what its reverse path filter drops")
	return 0
}

// TestGuestCannotTalkToTheHostOverTheLab is of IPv4; IPv6 is without an address
// and silent there.
func TestGuestCannotTalkToTheHostOverTheLab(t *testing.T) {
	m := newMachine(t)
	m.must(wholeLab()...)
	daemon, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	host := daemon.LocalAddr().(*net.UDPAddr).AddrPort()
	heard := func() bool {
		_ = daemon.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := daemon.Read(make([]byte, 10))
		return err == nil
	}
	closed := func(when string) {
		t.Helper()
		if guestTalks(m, host) {
			t.Errorf("%s: the host answered ARP for %s over the lab's bridge", when, host.Addr())
		}
		before := dropped(t)
		m.settle(func() error {
			guestKnows(m, host) // what is sent before the bridge forwards is lost
			if dropped(t) == before {
				return errors.New("nothing was dropped")
			}
			return nil
		})
		if heard() {
			t.Errorf("%s: a daemon of the host heard the guest", when)
		}
	}
	closed("deployed")

	// The control: a bridge as the kernel makes one.
	for _, setting := range []string{"arp_ignore", "rp_filter"} {
		if err := os.WriteFile(fmt.Sprintf("/proc/sys/net/ipv4/conf/br100/%s", setting), []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	answers := func(to netip.AddrPort, what string) {
		t.Helper()
		m.settle(func() error { // on a busy machine an answer may come after ARP has given up
			if !guestTalks(m, to) {
				return errors.New(what)
			}
			return nil
		})
	}
	answers(host, "an ordinary bridge did not answer ARP: the test tests nothing")
	m.settle(func() error {
		if !heard() {
			return errors.New("the host's daemon hears nothing over an ordinary bridge")
		}
		return nil
	})
	for heard() {
		continue
	}
	if n := m.must(wholeLab()...); n != 1 {
		t.Errorf("%d changes after the drift, want the bridge's", n)
	}
	closed("deployed again")

	// A proof's address on the bridge does answer, and nothing else does.
	proof := hostapi.Address{Link: "br100", Prefix: netip.MustParsePrefix("192.168.100.1/24"), Lifetime: time.Minute}
	m.must(create(proof))
	answers(netip.AddrPortFrom(proof.Prefix.Addr(), host.Port()), "the proof's address on the bridge does not answer ARP")
	if guestTalks(m, host) {
		t.Errorf("during a proof the host answered ARP for %s", host.Addr())
	}
	m.must(remove(proof))
	m.must(wholeLabAway()...)
}
