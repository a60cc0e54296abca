package survey

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vxorch/remote/hostapi"
)

// Read reads what req asks for, but does not listen. What cannot be read is left
// out: a host that keeps something to itself has not failed for that.
func Read(ctx context.Context, req hostapi.CheckRequest) (hostapi.CheckFacts, error) {
	f := hostapi.CheckFacts{
		Lacks:      lacks(),
		MachineID:  text("/etc/machine-id"),
		Filters:    filters(ctx, req.Bridges),
		Networkd:   networkd{}.takesOver(req.Links),
		Vendor:     vendor(),
		Neighbours: int(number("/proc/sys/net/ipv4/neigh/default/gc_thresh3")),
		Memory:     availableMemory(text("/proc/meminfo")),
	}
	if req.Device != "" {
		f.Driver = driver(req.Device)
		f.ReversePath = int(max(number(reversePath("all")), number(reversePath(req.Device))))
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		f.Files = int64(min(limit.Max, 1<<40)) // unlimited is a huge number
	}
	f.Time = time.Now() // last, so that what was slow counts for the way there
	return f, ctx.Err()
}

// text is a small file's, without white space around it; empty: none.
func text(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func number(path string) int64 {
	n, _ := strconv.ParseInt(text(path), 10, 64) // what is none is left out
	return n
}

// reversePath is the file of a device's rp_filter. A name with dots is one there,
// too; one with slashes is no device's.
func reversePath(device string) string {
	return "/proc/sys/net/ipv4/conf/" + strings.ReplaceAll(device, "/", "") + "/rp_filter"
}

// availableMemory gives MemAvailable of /proc/meminfo, in bytes.
func availableMemory(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			n, _ := strconv.ParseInt(kib, 10, 64)
			return n << 10
		}
	}
	return 0
}

// driver names the driver of a network device; empty for one that has none.
func driver(device string) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, device)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Driver[:])
}

// vendor is what the firmware says of the machine.
func vendor() string {
	const dmi = "/sys/class/dmi/id/"
	return strings.TrimSpace(text(dmi+"sys_vendor") + " " + text(dmi+"product_name"))
}
