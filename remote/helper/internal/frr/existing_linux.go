package frr

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"vxorch/remote/helper/internal/own"
	"vxorch/remote/hostapi"
)

// joinPatience is how long the host's own bgpd may take to show what it has, to be
// told of a lab's part or to be rid of it: it may have much to do.
const joinPatience = 10 * time.Second

// existing is the FRR that the host runs by itself, as its programs are told to by
// default. It is changed by commands to its bgpd only, as vtysh gives them, and never
// made to write its files: a lab's part does not outlive bgpd.
//
// frr-reload is not what does it: it makes a whole configuration out of a file, and
// would undo what else differs from that.
type existing struct{ run string } // directory of its sockets

var theirs = existing{"/run/frr"}

// read takes its bgpd's configuration apart, and gives it as it is, too; false: it does
// not answer.
func (e existing) read(ctx context.Context, lab string) (now hostapi.BGPText, text string, ok bool) {
	said, err := converse(ctx, e.run, joinPatience, "enable", "show running-config")
	if err != nil {
		return now, "", false
	}
	return hostapi.ReadBGP(string(said), lab), string(said), true
}

// join adds the lab's part w to its bgpd, whose configuration holds none of the
// lab's by now.
func (e existing) join(ctx context.Context, store own.Store, lab, dir string, w hostapi.FRR) error {
	now, text, ok := e.read(ctx, lab)
	if !ok {
		return hostapi.Errorf(hostapi.KindUnsupported, "start it, or leave evpn.frr out", "the host's own bgpd does not answer at %s", e.run)
	}
	var err error
	if now.VNIs, err = foreignVNIs(lab); err != nil {
		return err
	}
	if cause, hint := w.Clash(lab, now.HostBGP); cause != "" {
		return hostapi.Errorf(hostapi.KindForeign, hint, "%s", cause)
	}
	// What another lab brought is this one's, too, until both have gone.
	shared := others(store, lab, text)
	shared.Router = shared.Router || now.ASN == 0
	shared.Advertises = shared.Advertises || !now.Advertises
	lines := slices.Collect(strings.Lines(w.Text()))
	if now.ASN == 0 {
		// Else it takes the highest address, which may be one that many hosts have.
		i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "router bgp ") })
		lines = slices.Insert(lines, i+1, fmt.Sprintf(" bgp router-id %s\n", w.Local))
	}
	for name, text := range map[string]string{"shared": formatShared(shared), "bgpd.conf": w.Text(), "port": strconv.Itoa(w.Port)} {
		path := filepath.Join(dir, name)
		_ = os.Remove(path) // it may be FRR's user's
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	err = e.tell(ctx, lines)
	ctx = context.WithoutCancel(ctx) // half a part is worth nothing, and each conversation has its bound
	if err != nil {
		_, undone := e.leave(ctx, store, lab, dir)
		return errors.Join(err, undone)
	}
	now, _, ok = e.read(ctx, lab)
	if !ok || !now.Owns() {
		return fmt.Errorf("the host's own bgpd was told of the lab, and does not show it")
	}
	return os.WriteFile(filepath.Join(dir, "part"), []byte(digestPart(now)), 0o600)
}

// leave takes the lab's part out of its bgpd, and tells whether there was any. What
// is in no bgpd that runs is nowhere.
func (e existing) leave(ctx context.Context, store own.Store, lab, dir string) (changed bool, err error) {
	now, text, ok := e.read(ctx, lab)
	if !ok {
		if _, running := processes(dir); joins(dir) && slices.ContainsFunc(running, func(p hostapi.Process) bool { return p.Name == hostapi.BGPD }) {
			return false, fmt.Errorf("the host's own bgpd does not answer at %s, and may hold a part of the lab's", e.run)
		}
		return false, nil
	}
	if !now.Owns() {
		return false, nil // nor is the lab's what bears no name: it comes after what does, and goes before it
	}
	alone, other := readShared(dir), others(store, lab, text)
	alone.Router = alone.Router && !other.Router
	alone.Advertises = alone.Advertises && !other.Advertises
	return true, e.tell(ctx, now.Undo(lab, alone))
}

// tell gives it lines of a configuration, until it refuses one.
func (e existing) tell(ctx context.Context, lines []string) error {
	conn, err := call(ctx, e.run, joinPatience)
	if err != nil {
		return err
	}
	defer conn.Close() // which ends a configuration that was begun
	for _, line := range slices.Concat([]string{"enable", "configure terminal"}, lines, []string{"end"}) {
		said, status, err := say(conn, strings.TrimSpace(line))
		if err != nil {
			return fmt.Errorf("tell the host's own bgpd: %w", err)
		}
		switch {
		case status == 0:
		case strings.Contains(line, " password "): // what is said may repeat it
			return fmt.Errorf("the host's own bgpd refuses the password (status %d)", status)
		default:
			return fmt.Errorf("the host's own bgpd refuses %q (status %d): %s", strings.TrimSpace(line), status, bytes.TrimSpace(said))
		}
	}
	return nil
}

// observe adds to f what is there of the host's own bgpd, and of the lab's part in it.
func (e existing) observe(ctx context.Context, lab, dir string, f *hostapi.FRRFacts) error {
	now, _, ok := e.read(ctx, lab)
	joined := joins(dir)
	if joined {
		f.Existing, f.Daemons = true, f.Others
	}
	if part, _ := os.ReadFile(filepath.Join(dir, "part")); joined && (!ok || string(part) != digestPart(now)) {
		f.Digest = "" // it was begun anew since, or somebody changed it
	}
	if !ok {
		return nil
	}
	if now.Owns() && f.Mark == nil { // what was noted of it is gone
		f.Existing, f.Mark = true, &hostapi.Mark{Lab: lab, Intended: true}
	}
	f.Host = &now.HostBGP
	var err error
	f.Host.VNIs, err = foreignVNIs(lab)
	return err
}

// joins tells whether the lab with that directory is a part of the host's own FRR.
func joins(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "shared"))
	return err == nil
}

func digestPart(t hostapi.BGPText) string {
	sum := sha256.Sum256([]byte(t.Part))
	return hex.EncodeToString(sum[:])
}

// others is what other labs share of the host's own bgpd, which has that configuration.
func others(store own.Store, lab, text string) (all hostapi.BGPShared) {
	for _, dir := range store.Every(own.FRR) {
		other := filepath.Base(filepath.Dir(dir))
		if other == lab || !hostapi.ReadBGP(text, other).Owns() {
			continue
		}
		s := readShared(dir)
		all.Router, all.Advertises = all.Router || s.Router, all.Advertises || s.Advertises
	}
	return all
}

func formatShared(s hostapi.BGPShared) string { return fmt.Sprintf("%t %t\n", s.Router, s.Advertises) }

// readShared: without it, nothing is the lab's but what bears its name.
func readShared(dir string) hostapi.BGPShared {
	text, _ := os.ReadFile(filepath.Join(dir, "shared"))
	w := append(strings.Fields(string(text)), "", "")
	return hostapi.BGPShared{Router: w[0] == "true", Advertises: w[1] == "true"}
}

// foreignVNIs are those of the host's VTEPs that are not the lab's.
func foreignVNIs(lab string) ([]int, error) {
	links, err := netlink.LinkList()
	for n := 0; errors.Is(err, netlink.ErrDumpInterrupted) && n < 10; n++ { // something changed meanwhile
		links, err = netlink.LinkList()
	}
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var all []int
	for _, l := range links {
		v, ok := l.(*netlink.Vxlan)
		if !ok || v.VxlanId == 0 {
			continue
		}
		if mark, ok := own.ParseMark(v.Alias); !ok || mark.Lab != lab {
			all = append(all, v.VxlanId)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
