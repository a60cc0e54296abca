package link

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// shares names the settings of l that a link on the same port must have too
// (VXLAN_F_RCV_FLAGS in the kernel's include/net/vxlan.h), as `ip -d link` does.
func shares(l *netlink.Vxlan) string {
	var flags []string
	for _, f := range []struct {
		set  bool
		name string
	}{{l.FlowBased, "external"}, {l.GBP, "gbp"}, {l.UDP6ZeroCSumRx, "udp6zerocsumrx"}} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	return strings.Join(flags, " ")
}

// overlaps gives the routes of the main table that share addresses with one of
// subnets. Those of links that bear a mark come and go with a lab's proof.
func (k *Kernel) overlaps(subnets []netip.Prefix, links []hostapi.Link) ([]hostapi.HostRoute, error) {
	byIndex := map[int]hostapi.Link{}
	for _, l := range links {
		byIndex[l.Index] = l
	}
	var out []hostapi.HostRoute
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		of := slices.DeleteFunc(slices.Clone(subnets), func(p netip.Prefix) bool { return p.Addr().Is6() != (family == netlink.FAMILY_V6) })
		if len(of) == 0 {
			continue
		}
		routes, err := consistent(func() ([]netlink.Route, error) {
			return k.host.library.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		})
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) { // no IPv6
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst == nil || byIndex[r.LinkIndex].Mark != nil {
				continue
			}
			ones, _ := r.Dst.Mask.Size()
			prefix := netip.PrefixFrom(addrOf(r.Dst.IP), ones)
			if ones == 0 || !prefix.IsValid() {
				continue
			}
			device := byIndex[r.LinkIndex].Name
			if device == "lo" {
				device = "" // IPv6 has routes to nowhere there
			}
			for _, subnet := range of {
				if subnet.Overlaps(prefix) {
					out = append(out, hostapi.HostRoute{Subnet: subnet, Prefix: prefix, Device: device, Gateway: addrOf(r.Gw)})
				}
			}
		}
	}
	hostapi.SortFunc(out, func(a, b hostapi.HostRoute) int {
		return cmp.Or(a.Subnet.Compare(b.Subnet), a.Prefix.Compare(b.Prefix), cmp.Compare(a.Device, b.Device))
	})
	return out, nil
}

// socket is a line of /proc/net/udp or tcp.
type socket struct {
	address netip.Addr
	port    int
	state   string // a number in hexadecimal
	inode   string
}

// listening is the state of a TCP socket that waits for connections (TCP_LISTEN in
// the kernel's include/net/tcp_states.h).
const listening = "0A"

// portHolders tells which processes have sockets on ports. What no process has
// is the kernel's. A port that a VXLAN link has is not asked about: it is quick to
// see that a port is in use, and slow to find by whom.
func portHolders(ports []int, links []hostapi.Link) ([]hostapi.PortHolder, error) {
	ports = slices.DeleteFunc(slices.Clone(ports), func(port int) bool {
		return slices.ContainsFunc(links, func(l hostapi.Link) bool { return l.VXLAN != nil && l.Up && l.VXLAN.Port == port })
	})
	if len(ports) == 0 {
		return nil, nil
	}
	return whoHas("udp", ports, func(socket) bool { return true })
}

// Listeners tells which processes listen at a TCP port.
func Listeners(port int) ([]hostapi.PortHolder, error) {
	return whoHas("tcp", []int{port}, func(s socket) bool { return s.state == listening })
}

// whoHas tells which processes have sockets of a protocol on ports, of those that
// count.
func whoHas(protocol string, ports []int, counts func(socket) bool) ([]hostapi.PortHolder, error) {
	var sockets []socket
	for _, file := range []string{protocol, protocol + "6"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list %s sockets: %w", protocol, err)
		}
		sockets = append(sockets, parseSockets(text, ports)...)
	}
	sockets = slices.DeleteFunc(sockets, func(s socket) bool { return !counts(s) })
	if len(sockets) == 0 {
		return nil, nil
	}
	wanted := map[string]socket{}
	for _, s := range sockets {
		wanted["socket:["+s.inode+"]"] = s
	}
	holders := holdersOf(wanted)
	hostapi.SortFunc(holders, func(a, b hostapi.PortHolder) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), a.Address.Compare(b.Address), cmp.Compare(a.PID, b.PID))
	})
	return holders, nil
}

// parseSockets gives the sockets of text, in the format of /proc/net/udp and tcp, that
// are bound to one of ports.
func parseSockets(text []byte, ports []int) []socket {
	var out []socket
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			continue
		}
		address, number, ok := strings.Cut(fields[1], ":")
		if !ok {
			continue
		}
		port, err := strconv.ParseUint(number, 16, 16)
		if err != nil || !slices.Contains(ports, int(port)) {
			continue
		}
		raw, err := hex.DecodeString(address)
		if err != nil || len(raw)%4 != 0 {
			continue
		}
		for i := 0; i < len(raw); i += 4 { // words in the machine's order, little-endian on all we run on
			slices.Reverse(raw[i : i+4])
		}
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			continue
		}
		out = append(out, socket{a, int(port), fields[3], fields[9]})
	}
	return out
}

// holdersOf finds the processes that have one of sockets open, by the text of the
// links in their fd directories; a socket counts once.
func holdersOf(sockets map[string]socket) []hostapi.PortHolder {
	var out []hostapi.PortHolder
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, process := range processes {
		files, err := os.ReadDir(process + "/fd")
		if err != nil {
			continue // it ended
		}
		for _, file := range files {
			target, err := os.Readlink(filepath.Join(process, "fd", file.Name()))
			if err != nil {
				continue
			}
			s, ok := sockets[target]
			if !ok {
				continue
			}
			delete(sockets, target)
			pid, _ := strconv.Atoi(filepath.Base(process)) // as the pattern has it
			name, _ := os.ReadFile(process + "/comm")      // a name is worth having, no more
			out = append(out, hostapi.PortHolder{Port: s.port, Address: s.address, Process: strings.TrimSpace(string(name)), PID: pid})
		}
		if len(sockets) == 0 {
			break
		}
	}
	return out
}
