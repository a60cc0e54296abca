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
	run := filepath.Join(dir, "run")
	state := &hostapi.BGPState{}
	for _, peer := range q.Peers {
		var answer map[string]struct {
			State  string `json:"bgpState"`
			Reason string `json:"lastNotificationReason"`
		}
		text, err := converse(ctx, run, fmt.Sprintf("show bgp neighbors %s json", peer))
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
		text, err := converse(ctx, run, fmt.Sprintf("show bgp l2vpn evpn route vni %d type multicast json", vni))
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
	if dir, err := store.Path(lab, own.FRR); err == nil {
		_, _ = converse(ctx, filepath.Join(dir, "run"), "enable", "clear bgp *")
	}
}

// converse has bgpd run commands, as vtysh does, and gives what the last one says:
// a command ends with a NUL, an answer with three and a status (vtysh_client_run in
// FRR's vtysh/vtysh.c).
func converse(ctx context.Context, run string, commands ...string) ([]byte, error) {
	dialer := net.Dialer{Timeout: askPatience}
	conn, err := dialer.DialUnix(ctx, "unix", nil, &net.UnixAddr{Name: filepath.Join(run, hostapi.BGPD+".vty"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askPatience)); err != nil {
		return nil, err
	}
	var said []byte
	for _, command := range commands {
		if _, err := io.WriteString(conn, command+"\x00"); err != nil {
			return nil, err
		}
		if said, err = hear(conn); err != nil {
			return nil, err
		}
	}
	return said, nil
}

// hear reads one answer.
func hear(r io.Reader) ([]byte, error) {
	var text bytes.Buffer
	piece := make([]byte, 64<<10)
	for text.Len() < maxAnswer {
		n, err := r.Read(piece)
		text.Write(piece[:n])
		if body, status, found := bytes.Cut(text.Bytes(), []byte{0, 0, 0}); found && len(status) > 0 {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("an answer without end")
}
