package dhcp

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
	"vxorch/remote/internal/ns"
)

// hearing bounds how long answers are waited for where they never end.
const hearing = time.Second

// Questions are questions into segments, by probes that Solicit.
type Questions struct{ segments []*segment }

// segment is what one link leads to.
type segment struct {
	netns, link string
	conn        *packet.Conn // nil: it could not be asked
	from        net.HardwareAddr
	questions   []question
}

type question struct {
	probe  hostapi.Probe
	result *hostapi.ProbeResult
}

// Ask asks all the questions at once; Answers of what it gives waits for what comes.
// What could not be asked has its reason in its result.
func Ask(probes []hostapi.Probe, results []*hostapi.ProbeResult) *Questions {
	all := &Questions{}
	at := map[[2]string]*segment{}
	for i, p := range probes {
		key := [2]string{p.Netns, p.Solicit.Link}
		s := at[key]
		if s == nil {
			s = &segment{netns: p.Netns, link: p.Solicit.Link}
			at[key] = s
			all.segments = append(all.segments, s)
		}
		if p.Target = p.Target.Unmap(); !p.Target.IsValid() || p.Target.IsUnspecified() || p.Target.IsMulticast() {
			results[i].Error = &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("%s cannot be anybody's address", p.Target)}
			continue
		}
		s.questions = append(s.questions, question{p, results[i]})
	}
	for _, s := range all.segments {
		if err := ns.Do(s.netns, s.open); err != nil {
			s.fail(err)
			continue
		}
		s.ask()
	}
	return all
}

// Answers asks once more and waits until nothing has come for quiet, or ctx ends.
func (q *Questions) Answers(ctx context.Context, quiet time.Duration) {
	var group sync.WaitGroup
	for _, s := range q.segments {
		if s.conn == nil {
			continue
		}
		// The kernel takes its time to let go of a packet socket, for which nobody waits.
		defer func() { go s.conn.Close() }()
		s.ask()
		group.Go(func() { s.hear(ctx, quiet) })
	}
	group.Wait()
}

// open opens the socket in the namespace of the calling thread.
func (s *segment) open() error {
	program, err := answersOnly()
	if err != nil {
		return err
	}
	conn, _, err := listen(s.link, &packet.Config{Filter: program})
	if err != nil {
		return err
	}
	s.conn, s.from = conn, conn.LocalAddr().(*packet.Addr).HardwareAddr
	return nil
}

// ask asks as one with a link-local address, whom a bridge answers, too, for those
// that it was told of; by ARP also as one who has none yet (RFC 5227 §1.1), whom
// everybody answers who filters reverse paths. Neither teaches anybody anything.
// IPv6's like of the latter would take the address away from who is checking it.
func (s *segment) ask() {
	for _, q := range s.questions {
		a := asker{conn: s.conn, from: s.from, addr: q.probe.Target}
		err := a.send(self(a.addr))
		if err == nil && a.addr.Is4() {
			err = a.send(netip.IPv4Unspecified())
		}
		if err != nil {
			q.result.Error = cmp.Or(q.result.Error, hostapi.AsError(err))
			continue
		}
		q.result.Sent++
	}
}

func (s *segment) fail(err error) {
	for _, q := range s.questions {
		q.result.Error = hostapi.AsError(err)
	}
}

func (s *segment) hear(ctx context.Context, quiet time.Duration) {
	until := time.Now().Add(hearing)
	buffer := make([]byte, 256)
	for ctx.Err() == nil && time.Now().Before(until) {
		if err := s.conn.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return
		}
		n, _, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return // that nothing came; or the link is gone, as whoever pings by it says
		}
		for _, q := range s.questions {
			if answers(buffer[:n], q.probe) {
				q.result.Received = 1
			}
		}
	}
}

// answers tells whether a frame is the answer to p, of whose it is to be.
func answers(frame []byte, p hostapi.Probe) bool {
	from, kind, payload, ok := splitFrame(frame)
	if !ok || from.String() != p.Solicit.MAC {
		return false
	}
	if kind == etherARP {
		m, ok := parseARP(payload)
		return ok && m.sender == p.Target
	}
	return p.Target.Is6() && advertises(payload, p.Target)
}

// answersOnly is a program that lets through ARP replies and neighbour
// advertisements that come in.
func answersOnly() ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 9},
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherARP, SkipTrue: 5},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv6, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 14 + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolICMPv6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 14 + 40, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ipv6.ICMPTypeNeighborAdvertisement), SkipTrue: 3, SkipFalse: 2},
		bpf.LoadAbsolute{Off: 14 + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 2, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 0xffff},
	})
}
