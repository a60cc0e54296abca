package helper

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vxorch/remote/hostapi"
)

// emulator runs programs for arm64, without the help of the machine's binfmt.
const emulator = "qemu-aarch64-static"

// TestArm64HelperWorks runs the helper for arm64 hosts, emulated: it greets,
// answers, and makes and removes links in this test's network namespace. The
// emulator passes netlink messages on after translating the kinds that it knows,
// which those of links and addresses are.
func TestArm64HelperWorks(t *testing.T) {
	qemu, err := exec.LookPath(emulator)
	switch {
	case err == nil:
	case os.Getenv("VXORCH_MUST_RUN") == "1":
		t.Fatalf("scripts/test installs qemu-user-static: %v", err)
	default:
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "vxhelper")
	build := exec.Command("go", "build", "-o", file, "vxorch/cmd/vxhelper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := startCommand(t, exec.Command(qemu, file, "serve", "--token", token))
	c := p.client()
	ctx := context.Background()
	if _, err := c.Observe(ctx, lockRequest("deploy")); err != nil {
		t.Fatal(err)
	}
	for _, op := range []hostapi.Op{hostapi.Create, hostapi.Remove} {
		if result, err := c.Apply(ctx, bridge(op)); err != nil || len(result.Steps) != 1 || !result.Steps[0].Changed {
			t.Errorf("%s: %+v, %v; want a change", op, result, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if code := p.ends(patience); code != 0 {
		t.Errorf("exit code %d, want 0; stderr %s", code, p.stderr.String())
	}
}
