package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/history"
	"vxorch/orchestrator/plan"
	"vxorch/orchestrator/report"
	"vxorch/remote"
	"vxorch/remote/hostapi"
	"vxorch/remote/sandbox"
)

// shortLease is that of the runs that are cut by a black hole: what has to be waited
// for, and long enough for what only stands still for a moment.
const shortLease = 4 * time.Second

// helperEnds is less than the default lease, which is not what a helper is to end by.
const helperEnds = 13 * time.Second

// TestDeployCutAtEveryStepConvergesAndLeavesNothing cuts deploys of two hosts by
// every hand at every moment of host1's work in turn: before it is dialled, read,
// sent a proof, and before each step, every one of which is a call of its own
// here. Death within a step is tried where the steps are made.
func TestDeployCutAtEveryStepConvergesAndLeavesNothing(t *testing.T) {
	needRoot(t)
	for _, hand := range []struct {
		name    string
		cut     func(c *cutting)
		mend    func(c *cutting) // before the next run; may be nil
		each    func(moments []string) []int
		results []string // that host1 may come to; where there was nothing to cut yet it is also ok
		words   string   // a pattern of host1's error
		lease   time.Duration
	}{
		{"interrupt", func(c *cutting) { c.cancel() }, nil, everyMoment, []string{report.Interrupted}, "context canceled", 0},
		{"vxorch killed", func(c *cutting) { c.hangUp() }, nil, everyMoment, []string{report.Failed, report.Unreachable}, "closed", 0},
		{"helper killed", func(c *cutting) { c.kill("/vxhelper serve") }, nil, everyMoment, []string{report.Failed}, "killed by signal KILL", 0},
		{"sshd killed", func(c *cutting) { c.kill("sshd: root", "sshd-session: root") }, nil, everyMoment, []string{report.Failed}, "the connection was lost: (the host closed it|connection reset by peer|broken pipe)", 0},
		{"host rebooted", (*cutting).reboot, nil, everyMoment, []string{report.Failed}, "the connection was lost: (the host closed it|connection reset by peer|broken pipe)", 0},
		{"black hole", func(c *cutting) { c.link("down") }, func(c *cutting) { c.link("up") }, oncePerPhase, []string{report.Failed, report.Unreachable}, "the connection was lost: nothing came for|no answer within", shortLease},
	} {
		t.Run(hand.name, func(t *testing.T) {
			t.Parallel()
			c := newCutting(t, strings.ReplaceAll(hand.name, " ", ""))
			c.lease = hand.lease
			moments := c.watch()
			if len(moments) < 10 {
				t.Fatalf("a deploy has the moments %q only", moments)
			}
			for i, k := range hand.each(moments) {
				where := fmt.Sprintf("%s before %s (moment %d)", hand.name, moments[k], k)
				o := c.deployCutAt(k, hand.cut)
				c.checkCut(where, o, hand.results, regexp.MustCompile(hand.words))
				c.awaitNoHelper(where)
				if hand.mend != nil {
					hand.mend(c)
				}
				if i%2 == 0 {
					c.converges(where)
				}
				c.cleans(where)
			}
			c.asBefore()
		})
	}
}

func everyMoment(moments []string) []int {
	all := make([]int, len(moments))
	for i := range all {
		all[i] = i
	}
	return all
}

// oncePerPhase is the middle of each stretch of moments of one name.
func oncePerPhase(moments []string) []int {
	var picked []int
	for begin := 0; begin < len(moments); {
		end := begin
		for end < len(moments) && moments[end] == moments[begin] {
			end++
		}
		picked = append(picked, (begin+end)/2)
		begin = end
	}
	return picked
}

// cutting is a sandbox on which deploys are cut.
type cutting struct {
	t      *testing.T
	box    *sandbox.Sandbox
	lab    *inventory.Lab
	before map[string]string // how the hosts looked
	lease  time.Duration     // of the deploys that are cut; 0: the default

	mu      sync.Mutex
	cancel  context.CancelFunc // of the deploy that runs
	conns   []net.Conn
	moments []string
	at      int // moment to cut at; -1: none
	cut     func(*cutting)
}

func newCutting(t *testing.T, name string) *cutting {
	box, err := sandbox.Up(t.Context(), sandbox.Options{Name: fmt.Sprintf("t%d-%s", os.Getpid(), name), Owner: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	lab, err := inventory.Load(box.Inventory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &cutting{t: t, box: box, lab: lab, before: map[string]string{}, at: -1}
	c.converges("the first deploy") // caches the helper
	c.cleans("the first deploy")
	for _, h := range box.Hosts() {
		c.before[h.Name] = c.snapshot(h.Name)
	}
	return c
}

// controller reaches the hosts by SSH. Those of a deploy that is to be cut count
// host1's moments.
func (c *cutting) controller(counted bool) *orchestrator.Controller {
	return &orchestrator.Controller{
		Dial: func(ctx context.Context, h inventory.Host) (hostapi.Host, error) {
			if counted && h.Name == "host1" {
				c.moment("connect")
			}
			var lease time.Duration
			if counted {
				lease = c.lease
			}
			host, err := remote.Dial(ctx, target(h), remote.Options{
				User: "root", Home: c.t.TempDir(), Lease: lease,
				Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
					if lease > 0 { // in a black hole this is what the default takes ten seconds for
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, lease)
						defer cancel()
					}
					conn, err := c.box.Dial(ctx, network, address)
					if err == nil && counted {
						c.mu.Lock()
						c.conns = append(c.conns, conn)
						c.mu.Unlock()
					}
					return conn, err
				},
			})
			if err == nil && counted && h.Name == "host1" {
				host = &stepwise{host, c}
			}
			return host, err
		},
		Resolve: resolve, User: "tester", Machine: "here", History: history.Store{Root: c.t.TempDir()}, Parallel: 64, Now: time.Now,
	}
}

// stepwise is a Host that tells each moment before it comes.
type stepwise struct {
	hostapi.Host
	c *cutting
}

func (s *stepwise) Observe(ctx context.Context, req hostapi.ObserveRequest) (hostapi.Facts, error) {
	s.c.moment("observe")
	return s.Host.Observe(ctx, req)
}

func (s *stepwise) Probe(ctx context.Context, probes []hostapi.Probe) ([]hostapi.ProbeResult, error) {
	s.c.moment("proof")
	return s.Host.Probe(ctx, probes)
}

func (s *stepwise) Apply(ctx context.Context, b hostapi.Batch) (all hostapi.BatchResult, err error) {
	steps := b.Steps
	for i := range steps {
		s.c.moment("steps")
		b.Steps = steps[i : i+1]
		one, err := s.Host.Apply(ctx, b)
		all.Steps = append(all.Steps, one.Steps...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func (c *cutting) moment(what string) {
	c.mu.Lock()
	c.moments = append(c.moments, what)
	now := len(c.moments)-1 == c.at
	c.mu.Unlock()
	if now {
		c.cut(c)
	}
}

// deployCutAt runs a deploy that is cut at the k-th moment; -1: at none.
func (c *cutting) deployCutAt(k int, cut func(*cutting)) orchestrator.Outcome {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	c.mu.Lock()
	c.cancel, c.conns, c.moments, c.at, c.cut = cancel, nil, nil, k, cut
	c.mu.Unlock()
	return c.controller(true).Deploy(ctx, c.lab, agreed)
}

func agreed(plan.Plan) error { return nil }

// watch lists the moments of a deploy that is not cut.
func (c *cutting) watch() []string {
	o := c.deployCutAt(-1, nil)
	if len(o.Errs) > 0 || o.Result.Result != report.Pass {
		c.t.Fatalf("a deploy that is not cut: %s, %v", o.Result.Result, o.Errs)
	}
	moments := c.moments
	c.cleans("a deploy that is not cut")
	return moments
}

// checkCut wants host1 failed, and said so by name and with the reason.
func (c *cutting) checkCut(where string, o orchestrator.Outcome, results []string, words *regexp.Regexp) {
	c.t.Helper()
	if len(c.moments) <= c.at {
		c.t.Fatalf("%s: there was no such moment", where)
	}
	early := c.moments[c.at] == "connect" && o.Result.Result == report.Pass
	for _, h := range o.Result.Hosts {
		if h.Name == "host1" && !early && (!slices.Contains(results, h.Result) || !words.MatchString(h.Error)) {
			c.t.Errorf("%s: host1 is %s (%q), want one of %q because of %q", where, h.Result, h.Error, results, words)
		}
	}
	for _, err := range o.Errs {
		if !strings.HasPrefix(err.Error(), "host") {
			c.t.Errorf("%s: error %q does not begin with its host", where, err)
		}
	}
	if o.Result.Result != report.Fail && !early {
		c.t.Errorf("%s: the run is a %s", where, o.Result.Result)
	}
}

func (c *cutting) converges(where string) {
	c.t.Helper()
	o := c.controller(false).Deploy(c.t.Context(), c.lab, agreed)
	if len(o.Errs) > 0 || o.Result.Result != report.Pass {
		c.t.Fatalf("%s: the next deploy: %s, %v, %+v", where, o.Result.Result, o.Errs, o.Result.Probes)
	}
}

func (c *cutting) cleans(where string) {
	c.t.Helper()
	o := c.controller(false).Destroy(c.t.Context(), c.lab, agreed)
	if len(o.Errs) > 0 || o.Result.Result != report.Pass {
		c.t.Fatalf("%s: destroy: %s, %v", where, o.Result.Result, o.Errs)
	}
}

func (c *cutting) snapshot(host string) string {
	c.t.Helper()
	state, err := hostState(c.box, host)
	if err != nil {
		c.t.Fatal(err)
	}
	// What a reboot may change: its own numbers, that of the other end of eth0, words
	// of mount(2). What taking eth0 down may change is the order of groups.
	lines := strings.Split(regexp.MustCompile(`@if\d+|,uuid=on|(?m)^\S+  /run/(boot_id|sshd\.pid)$`).ReplaceAllString(state, ""), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (c *cutting) asBefore() {
	for _, h := range c.box.Hosts() {
		if diff := cmp.Diff(strings.Split(c.before[h.Name], "\n"), strings.Split(c.snapshot(h.Name), "\n")); diff != "" {
			c.t.Errorf("%s is not as it was (-before +after):\n%s", h.Name, diff)
		}
	}
}

// processes finds a host's processes by parts of their command lines.
func (c *cutting) processes(host string, parts ...string) (found []int) {
	status, err := c.box.Status()
	if err != nil {
		c.t.Error(err)
		return nil
	}
	space := ""
	for _, h := range status.Hosts {
		if h.Name == host {
			space, _ = os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", h.PID))
		}
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || space == "" {
		c.t.Errorf("look for %q on %s: %v", parts, host, err)
		return nil
	}
	for _, line := range lines {
		text, _ := os.ReadFile(line) // it may have ended
		text = bytes.ReplaceAll(text, []byte{0}, []byte{' '})
		for _, part := range parts {
			if !bytes.Contains(text, []byte(part)) {
				continue
			}
			if its, err := os.Readlink(filepath.Join(filepath.Dir(line), "ns/pid")); err == nil && its == space {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(line)))
				found = append(found, pid)
			}
		}
	}
	return found
}

// kill kills those of host1's processes.
func (c *cutting) kill(parts ...string) {
	for _, pid := range c.processes("host1", parts...) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			c.t.Error(err)
		}
	}
}

// hangUp ends the connections as the kernel does for a vxorch that was killed.
func (c *cutting) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

func (c *cutting) reboot() {
	if err := c.box.Reboot(context.Background(), "host1"); err != nil {
		c.t.Error(err)
	}
}

// link takes host1's underlay down, so that all packets are dropped, or up.
func (c *cutting) link(state string) {
	var out bytes.Buffer
	code, err := c.box.HostExec(context.Background(), "host1", []string{"ip", "link", "set", "eth0", state}, strings.NewReader(""), &out, &out)
	if code != 0 || err != nil {
		c.t.Errorf("set eth0 %s: exit %d, %v: %s", state, code, err, out.String())
	}
}

// awaitNoHelper waits for the ends of the helpers, of which a short lease is the
// longest that may be waited for.
func (c *cutting) awaitNoHelper(where string) {
	c.t.Helper()
	deadline := time.Now().Add(helperEnds)
	for _, h := range c.box.Hosts() {
		for len(c.processes(h.Name, "/vxhelper serve")) > 0 {
			if time.Now().After(deadline) {
				c.t.Fatalf("%s: a helper still runs on %s", where, h.Name)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
