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

// Inspect asks the lab's bgpd what it knows. What it does not tell is left out.
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
		if ask(ctx, run, fmt.Sprintf("show bgp neighbors %s json", peer), &answer) == nil {
			row := answer[peer.String()]
			state.Peers = append(state.Peers, hostapi.BGPPeer{Address: peer, State: row.State, Reason: row.Reason})
		}
	}
	for _, vni := range q.VNIs {
		var routes map[string]json.RawMessage // "[3]:[0]:[32]:[192.0.2.11]": {…}
		if ask(ctx, run, fmt.Sprintf("show bgp l2vpn evpn route vni %d type multicast json", vni), &routes) != nil {
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

// ask has bgpd run a command that shows something, as vtysh does: the command ends
// with a NUL, the answer with three and a status (vtysh_client_run in FRR's
// vtysh/vtysh.c).
func ask(ctx context.Context, run, command string, answer any) error {
	dialer := net.Dialer{Timeout: askPatience}
	conn, err := dialer.DialUnix(ctx, "unix", nil, &net.UnixAddr{Name: filepath.Join(run, hostapi.BGPD+".vty"), Net: "unix"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askPatience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, command+"\x00"); err != nil {
		return err
	}
	var text bytes.Buffer
	piece := make([]byte, 64<<10)
	for text.Len() < maxAnswer {
		n, err := conn.Read(piece)
		text.Write(piece[:n])
		if body, _, found := bytes.Cut(text.Bytes(), []byte{0, 0, 0}); found {
			return json.Unmarshal(body, answer)
		}
		if err != nil {
			return err
		}
	}
	return errors.New("an answer without end")
}
