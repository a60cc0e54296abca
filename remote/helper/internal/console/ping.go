package console

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"vxorch/remote/hostapi"
)

// PingResult is what came of the pings to one target.
type PingResult struct {
	Target   netip.Addr
	Sent     int
	Received int
	RTT      time.Duration  // of the reply; 0 without one
	Error    *hostapi.Error // why nothing could be sent
}

const (
	// pingsAtOnce is how many pings run in the guest at a time: a line of their
	// targets is not too long for a terminal, and a small guest has the memory.
	pingsAtOnce = 64
	mostTries   = 3
)

// Ping pings all targets from inside the guest, many at a time, each up to tries
// times (0: 3, which is also the most), ended by the first reply; each request is
// given up after a second. It gives one result a target, in their order. A lost
// reply is a result, not an error. It needs a session.
func (c *Console) Ping(ctx context.Context, targets []netip.Addr, tries int) ([]PingResult, error) {
	giveBack, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	defer giveBack()
	if tries == 0 {
		tries = mostTries
	}
	if tries < 0 || tries > mostTries {
		return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("%d tries are not within 0…%d", tries, mostTries)}
	}
	var results []PingResult
	for _, t := range targets {
		if !t.IsValid() || t.Zone() != "" {
			return nil, &hostapi.Error{Kind: hostapi.KindInvalid, Message: fmt.Sprintf("cannot ping %q", t)}
		}
		results = append(results, PingResult{Target: t.Unmap()})
	}
	for batch := range slices.Chunk(results, pingsAtOnce) {
		if c.session == nil {
			return nil, errNoSession()
		}
		output, exit, err := c.ping(ctx, pingScript(batch, tries))
		if err != nil {
			return nil, err
		}
		if !readPings(output, batch) {
			return nil, &hostapi.Error{
				Kind:    hostapi.KindInternal,
				Message: fmt.Sprintf("the guest cannot ping: %s (exit code %d)", oneLine(output), exit),
			}
		}
	}
	return results, nil
}

// ping runs a script of pings with root's rights where there are any: busybox' ping
// needs them where it has no setuid bit.
func (c *Console) ping(ctx context.Context, script string) (output string, exit int, err error) {
	if !c.session.noSudo {
		output, exit, err = c.asRoot(ctx, script)
		// The script's own code is 0: it ends with wait.
		if err != nil || exit == 0 || c.session.root {
			return output, exit, err
		}
		c.session.noSudo = true
	}
	return c.shell(ctx, script)
}

// pingScript pings every target in the background and says a line of each: a
// mark, the target, the try that was the last, and ping's words. Echo of an
// unquoted substitution makes one line of them, and a line is what a shell writes
// at once, so that those of different targets do not mix. Where ping says a round
// trip's time, that is all that is said: each character on its serial line costs an
// emulated guest about 0.1 ms.
func pingScript(batch []PingResult, tries int) string {
	var v4, v6 []string
	for _, r := range batch {
		if r.Target.Is4() {
			v4 = append(v4, r.Target.String())
		} else {
			v6 = append(v6, r.Target.String())
		}
	}
	count := []string{"", "1", "1 2", "1 2 3"}[tries]
	var b strings.Builder
	b.WriteString("set -f; p() { t=$1; shift; for i in " + count +
		`; do o=$("$@" -q -c 1 -W 1 $t 2>&1) && break; done; case $o in *" = "*) o="= ${o##* = }"; o=${o%%/*};; esac; echo "@$t $i" $o; }; `)
	if len(v4) > 0 {
		b.WriteString("for a in " + strings.Join(v4, " ") + "; do p $a ping & done; ")
	}
	if len(v6) > 0 {
		// Whichever there is: old ones have no ping -6, new ones no ping6.
		b.WriteString(`q=ping6; command -v ping6 >/dev/null || q="ping -6"; ` +
			"for a in " + strings.Join(v6, " ") + "; do p $a $q & done; ")
	}
	b.WriteString("wait")
	return b.String()
}

// readPings puts what the script said into the results of batch; false if it says
// nothing of one.
func readPings(output string, batch []PingResult) bool {
	said := map[netip.Addr]string{}
	for line := range strings.Lines(output) {
		mark, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		// A message of the kernel's may stand before it.
		if _, target, ok := strings.Cut(mark, "@"); ok {
			if a, err := netip.ParseAddr(target); err == nil {
				said[a] = rest
			}
		}
	}
	for i := range batch {
		rest, ok := said[batch[i].Target]
		if !ok {
			return false
		}
		batch[i].read(rest)
	}
	return true
}

// read takes one line's part after the target.
func (r *PingResult) read(line string) {
	words := strings.Fields(line)
	last, received, ok := answered(words)
	if !ok {
		last, received, ok = counts(words)
	}
	if !ok {
		r.Error = &hostapi.Error{Kind: hostapi.KindInternal, Message: "ping in the guest: " + oneLine(strings.Join(words[min(1, len(words)):], " "))}
		if strings.Contains(line, "Network is unreachable") { // strerror(ENETUNREACH) of every libc
			r.Error.Kind = hostapi.KindUnreachable
		}
		return
	}
	if r.Sent = last; received {
		r.Received, r.RTT = 1, roundTrip(words)
	}
}

// answered reads the try that was answered where the round trip's time is said.
func answered(words []string) (last int, received, ok bool) {
	if len(words) < 3 || words[1] != "=" {
		return 0, false, false
	}
	last, err := strconv.Atoi(words[0])
	ok = err == nil && last >= 1 && last <= mostTries
	return last, ok, ok
}

// counts reads which try was the last and whether it was answered. Busybox says
// "1 packets transmitted, 1 packets received,", iputils "1 packets transmitted, 1
// received,".
func counts(words []string) (last int, received, ok bool) {
	at := slices.Index(words, "transmitted,")
	if at < 3 || at+1 >= len(words) {
		return 0, false, false
	}
	last, err := strconv.Atoi(words[0])
	replies, err2 := strconv.Atoi(words[at+1])
	if err != nil || err2 != nil || last < 1 || last > mostTries || replies < 0 {
		return 0, false, false
	}
	return last, replies > 0, true
}

// roundTrip reads the time of the reply; 0 if it is not said. Busybox says
// "round-trip min/avg/max = 0.1/0.1/0.1 ms", iputils "rtt min/avg/max/mdev = …".
func roundTrip(words []string) time.Duration {
	at := slices.Index(words, "=")
	if at < 0 || at+1 >= len(words) {
		return 0
	}
	text, _, _ := strings.Cut(words[at+1], "/")
	// Not as a float: it is to be exact.
	d, err := time.ParseDuration(text + "ms")
	if err != nil || d < 0 {
		return 0
	}
	return d
}
