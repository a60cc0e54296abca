// Package guesttest gives tests a guest to run in VMs. It builds nothing itself:
// that is what scripts/guest-image does.
package guesttest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// User and Password log in on the guest's console.
const (
	User     = "cirros"
	Password = "gocubsgo"
)

// Image gives the path of the guest's disk image, a qcow2 that must not be
// written to. Where there is none and none can be built the test is skipped, or
// fails if VXORCH_MUST_RUN=1: a test without a network finds only one that was
// built before.
func Image(t testing.TB) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	// Without an input the script asks nobody and installs nothing.
	cmd := exec.Command(filepath.Join(root(t), "scripts", "guest-image"), "--quick")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		const reason = "no guest image: %v: %s (scripts/guest-image --quick builds one)"
		if os.Getenv("VXORCH_MUST_RUN") == "1" {
			t.Fatalf(reason, err, stderr.String())
		}
		t.Skipf(reason, err, stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// root gives the module's directory; tests start in that of their package.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = filepath.Dir(dir)
	}
}
