// Package virttest runs a package's tests beside a libvirt of their own, with
// QEMU, that nothing outside sees:
//
//	func TestMain(m *testing.M) { virttest.Main(m) }
//
// The tests find what package nstest gives them, process numbers of their own,
// and empty directories where libvirt keeps its things. Its daemon runs once
// Start was called. When the tests end every process that they began does.
package virttest

import (
	"fmt"
	"os"
)

// giveUp ends a test binary whose tests cannot run here: well, unless they must.
func giveUp(reason string) {
	fmt.Fprintf(os.Stderr, "skipped: no libvirt for the tests: %s\n", reason)
	if os.Getenv("VXORCH_MUST_RUN") == "1" {
		os.Exit(1)
	}
	os.Exit(0)
}
