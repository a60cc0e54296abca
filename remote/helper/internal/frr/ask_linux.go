package frr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
)

const (
	askPatience = 2 * time.Second // for an answer
	maxAnswer   = 8 << 20         // bytes: the routes of some thousand hosts
)

// Inspect asks the lab's bgpd what it knows. What it does not tell is left out; of one
// that does not answer nothing is known, and nil given.
func Inspect(ctx context.Context, store own.Store, q hostapi.BGPQuery) *hostapi.BGPState {
	dir, err := store.Path(q.Lab, own.FRR)
	if err != nil {
		return nil
	}
	run := sockets(dir)
	state := &hostapi.BGPState{}
	for _, peer := range q.Peers {
		var answer map[string]struct {
			State  string `json:"bgpState"`
			Reason string `json:"lastNotificationReason"`
		}
		text, err := converse(ctx, run, askPatience, fmt.Sprintf("show bgp neighbors %s json", peer))
		if err != nil {
			return nil
		}
		if json.Unmarshal(text, &answer) == nil {
			row := answer[peer.String()]
			state.Peers = append(state.Peers, hostapi.BGPPeer{Address: peer, State: row.State, Reason: row.Reason})
		}
	}
	for _, vni := range q.VNIs {
		var routes map[string]json.RawMessage // "[3]:[0]:[32]:[192.0.2.11]": {…}
		text, err := converse(ctx, run, askPatience, fmt.Sprintf("show bgp l2vpn evpn route vni %d type multicast json", vni))
		if err != nil {
			return nil
		}
		if json.Unmarshal(text, &routes) != nil {
			continue
		}
		row := hostapi.EVPNState{VNI: vni}
		for route := range routes {
			if end, err := netip.ParseAddr(strings.TrimSuffix(route[strings.LastIndexByte(route, '[')+1:], "]")); err == nil {
				row.Ends = append(row.Ends, end)
			}
		}
		hostapi.SortFunc(row.Ends, netip.Addr.Compare)
		state.VNIs = append(state.VNIs, row)
	}
	return state
}

// Reconnect has the lab's bgpd begin its sessions anew. A reflector that takes two
// connections of a host which gave the first one up may hold on to a session that
// it never says anything in (seen of FRR 8.4.4, on busy machines): only its end
// helps. What cannot be done shows in what does not come.
func Reconnect(ctx context.Context, store own.Store, lab string) {
	dir, err := store.Path(lab, own.FRR)
	switch {
	case err != nil:
	case joins(dir):
		_, _ = converse(ctx, theirs.run, askPatience, "enable", "clear bgp peer-group "+hostapi.BGPReflectors(lab), "clear bgp peer-group "+hostapi.BGPClients(lab))
	default:
		_, _ = converse(ctx, sockets(dir), askPatience, "enable", "clear bgp *")
	}
}

// sockets is where the bgpd of the lab with that directory is spoken to.
func sockets(dir string) string {
	if joins(dir) {
		return theirs.run
	}
	return filepath.Join(dir, "run")
}

// converse has bgpd run commands, as vtysh does, and gives what the last one says:
// a command ends with a NUL, an answer with three and a status (vtysh_client_run in
// FRR's vtysh/vtysh.c).
func converse(ctx context.Context, run string, patience time.Duration, commands ...string) (said []byte, err error) {
	conn, err := call(ctx, run, patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for _, command := range commands {
		if said, _, err = say(conn, command); err != nil {
			return nil, err
		}
	}
	return said, nil
}

// call connects to bgpd, for as long as all that is said may take.
func call(ctx context.Context, run string, patience time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialUnix(ctx, "unix", nil, &net.UnixAddr{Name: filepath.Join(run, hostapi.BGPD+".vty"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// say gives one command, and what is said to it; status 0: it was done.
func say(conn io.ReadWriter, command string) (said []byte, status byte, err error) {
	if _, err := io.WriteString(conn, command+"\x00"); err != nil {
		return nil, 0, err
	}
	return hear(conn)
}

// hear reads one answer.
func hear(r io.Reader) (said []byte, status byte, err error) {
	var text bytes.Buffer
	piece := make([]byte, 64<<10)
	for text.Len() < maxAnswer {
		n, err := r.Read(piece)
		text.Write(piece[:n])
		if body, status, found := bytes.Cut(text.Bytes(), []byte{0, 0, 0}); found && len(status) > 0 {
			return body, status[0], nil
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, errors.New("an answer without end")
}
