package orchestrator_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"strings"
	"syscall"
	"testing"
	"time"

	"vxorch/inventory"
	"vxorch/orchestrator"
	"vxorch/orchestrator/history"
	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
	"vxorch/remote/hosttest"
	"vxorch/remote/wire"
)

// crowd is many fake machines behind the real wire, a round trip of 20 ms away.
type crowd struct {
	machines map[string]*hosttest.Machine
	text     string
}

// prompt answers every probe without looking for the way, which costs a fabric of
// a thousand machines more than all of the controller's work.
type prompt struct{ *hosttest.Session }

const latency = 20 * time.Millisecond

func (p prompt) Probe(_ context.Context, probes []hostapi.Probe) ([]hostapi.ProbeResult, error) {
	time.Sleep(latency)
	results := make([]hostapi.ProbeResult, len(probes))
	for i := range results {
		results[i] = hostapi.ProbeResult{Sent: 1, Received: 1, RTT: time.Millisecond}
	}
	return results, nil
}

func newCrowd(hosts int, flood string) *crowd {
	c := &crowd{machines: map[string]*hosttest.Machine{}}
	fabric := hosttest.NewFabric()
	var text strings.Builder
	text.WriteString("lab: lu\nhosts:\n")
	for i := range hosts {
		name := fmt.Sprintf("h%04d", i)
		address := netip.AddrFrom4([4]byte{10, 1, byte((i + 1) >> 8), byte(i + 1)})
		c.machines[name] = fabric.NewMachine(name, hosttest.MachineOptions{Address: netip.PrefixFrom(address, 16), Latency: latency})
		fmt.Fprintf(&text, "  %s: {address: %s}\n", name, address)
	}
	fmt.Fprintf(&text, "networks: {lu-br0: {subnet: 10.100.0.0/16, flood: %s}}\ncontainers: {c: {hosts: all}}\n", flood)
	c.text = text.String()
	return c
}

func (c *crowd) controller(root string) *orchestrator.Controller {
	return &orchestrator.Controller{
		Dial: func(_ context.Context, h inventory.Host) (hostapi.Host, error) {
			near, far := net.Pipe()
			go func() {
				_ = wire.Serve(context.Background(), far, prompt{c.machines[h.Name].Open()}, wire.ServeOptions{})
			}() // ends with near
			return wire.NewClient(near, wire.ClientOptions{}), nil
		},
		User: "alice", Machine: "laptop", Parallel: 64, Now: time.Now, History: history.Store{Root: root},
	}
}

// heap tells the largest heap that it sees until it is stopped.
func heap() (stop func() uint64) {
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		var most uint64
		for {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-done:
				peak <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(done); return <-peak }
}

// cpu is what this process has used.
func cpu() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // of oneself it cannot fail
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkCrowd deploys over fake hosts: both sides of the wire are in this
// process, so that its figures are of a controller and of its hosts together.
func BenchmarkCrowd(b *testing.B) {
	for _, flood := range []string{"multicast", "static"} {
		for _, hosts := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", flood, hosts), func(b *testing.B) {
				var peak uint64
				var used time.Duration
				for b.Loop() {
					b.StopTimer()
					c := newCrowd(hosts, flood)
					lab, err := inventory.Parse("lab.yaml", []byte(c.text))
					if err != nil {
						b.Fatal(err)
					}
					control := c.controller(b.TempDir())
					runtime.GC()
					stop, before := heap(), cpu()
					b.StartTimer()
					out := control.Deploy(b.Context(), lab, yes)
					b.StopTimer()
					used += cpu() - before
					peak = max(peak, stop())
					if out.Result.Result != report.Pass {
						b.Fatalf("%v", out.Errs)
					}
					b.StartTimer()
				}
				b.ReportMetric(float64(used.Milliseconds())/float64(b.N*hosts), "cpu-ms/host")
				b.ReportMetric(float64(peak)/float64(hosts)/(1<<10), "peak-KiB/host")
			})
		}
	}
}
