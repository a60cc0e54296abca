package program

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vxorch/remote/hostapi"
)

func TestRun(t *testing.T) {
	if err := Run(t.Context(), []string{"sh", "-c", `test "$DEBIAN_FRONTEND" = noninteractive && read x || exit 0; exit 1`}); err != nil {
		t.Errorf("%v, want no input and no questions", err)
	}
	err := Run(t.Context(), []string{"sh", "-c", `head -c 5000 /dev/zero | tr '\0' x; printf '\n\033[31mE: no\007 way\r\n' >&2; exit 7`})
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.HasSuffix(err.Error(), "; [31mE: no way") || len(err.Error()) > maxOutput+200 {
		t.Errorf("%v, want the end of its words without control characters", err)
	}
	if err := Run(t.Context(), []string{"no-such-program"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want that it does not exist", err)
	}
}

func TestRunDoesNotWaitForDaemons(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	if err := Run(t.Context(), []string{"sh", "-c", "sleep 600 & echo $! >" + pid}); err != nil {
		t.Error(err)
	}
	// The test's own time-out tells whether it waited.
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), []string{"sh", "-c", "kill " + string(text)}); err != nil {
		t.Error(err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ready := filepath.Join(t.TempDir(), "ready")
	go func() {
		for _, err := os.Stat(ready); err != nil; _, err = os.Stat(ready) {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	err := Run(ctx, []string{"sh", "-c", ": >" + ready + "; exec sleep 600"})
	if !errors.Is(err, hostapi.ErrCanceled) {
		t.Errorf("%v, want ErrCanceled", err)
	}
}
