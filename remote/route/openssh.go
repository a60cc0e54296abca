package route

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"vxorch/remote/hostapi"
	"vxorch/remote/sshconn"
	"vxorch/remote/sshmaster"
)

// defaultPersist is how long an ssh that connects for us stays connected when
// the run has ended, so that the next begins without a handshake.
const defaultPersist = time.Minute

// dialOpenSSH connects to t by the system's ssh, which finds the way by itself.
func (n *Network) dialOpenSSH(ctx context.Context, t Target) (*Conn, error) {
	if t.HostKey != "" {
		return nil, hostapi.Errorf(hostapi.KindInvalid, "name a known_hosts file that has the key", "host_key: the system's ssh cannot be given a fingerprint")
	}
	h := n.hop(ctx, t)
	opts := sshmaster.Options{Dir: n.opts.MasterDir, Persist: defaultPersist, End: n.opts.EndMasters, Ask: n.opts.Secrets.ForSSH(), Log: n.opts.Log}
	if t.Persist != nil {
		opts.Persist = *t.Persist
	}
	conn, err := n.attach(ctx, t, h, opts)
	if errors.Is(err, errAttach) { // seen to die of it when sshd had refused a session (OpenSSH 9.2)
		n.opts.Log.Debug("ssh: a master does not answer; starting another", "host", t.Address, "error", err)
		opts.Fresh = true
		conn, err = n.attach(ctx, t, h, opts)
	}
	if err != nil {
		return nil, hostapi.AsError(err)
	}
	return &Conn{conn, h.lease}, nil
}

var errAttach = errors.New("master does not answer")

// attach attaches to a master, which it starts if need be, in its turn.
func (n *Network) attach(ctx context.Context, t Target, h hop, opts sshmaster.Options) (*sshconn.Conn, error) {
	done, err := n.gate(places([]hop{h})).turn(ctx)
	if err != nil {
		return nil, hostapi.Errorf(hostapi.KindCanceled, "", "connect to %s: %v", t.Address, err)
	}
	defer done(false)
	raw, err := sshmaster.Connect(ctx, t.Address, n.sshArguments(t, h), opts)
	if err != nil {
		return nil, err
	}
	conn, err := sshconn.Attach(ctx, raw, t.Address, sshconn.Options{Log: n.opts.Log})
	if err != nil && ctx.Err() == nil && !opts.Fresh {
		return nil, errors.Join(errAttach, err)
	}
	return conn, err
}

// sshArguments are those that tell ssh what the inventory says.
func (n *Network) sshArguments(t Target, h hop) []string {
	strict := "yes"
	if h.target.AcceptNew {
		strict = "accept-new"
	}
	args := append(n.resolver.Arguments(), "-o", "StrictHostKeyChecking="+strict,
		"-o", "ServerAliveInterval="+seconds(h.interval), "-o", "ServerAliveCountMax="+strconv.Itoa(max(1, int(h.silence/h.interval))))
	if h.dialTimeout == 0 {
		args = append(args, "-o", "ConnectTimeout=10")
	}
	if t.Port != 0 {
		args = append(args, "-p", strconv.Itoa(t.Port))
	}
	if t.User != "" {
		args = append(args, "-l", t.User)
	}
	for _, file := range t.Identity {
		args = append(args, "-i", file)
	}
	if len(t.KnownHosts) > 0 {
		args = append(args, "-o", "UserKnownHostsFile=\""+strings.Join(t.KnownHosts, "\" \"")+"\"", "-o", "GlobalKnownHostsFile=none")
	}
	if len(t.Jump) > 0 {
		args = append(args, "-J", strings.Join(t.Jump, ","))
	}
	return append(args, "--", t.Address)
}

// seconds gives whole ones, at least one: ssh takes 0 for never.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(d.Round(time.Second).Seconds())))
}
