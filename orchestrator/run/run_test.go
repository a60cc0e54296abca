package run

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"vxorch/orchestrator/report"
	"vxorch/remote/hostapi"
)

func TestTimeThatIsUpIsSaidOnce(t *testing.T) {
	const up = "the time given by --timeout was up"
	for name, c := range map[string]struct {
		err  func(context.Context) error
		want string
	}{
		"by who waited, with the cause": {func(ctx context.Context) error {
			return &hostapi.Error{Kind: hostapi.KindCanceled, Message: fmt.Sprintf("connect to h: %v", context.Cause(ctx))}
		}, "h: connect: " + up + ": connect to h"},
		"by who waited, without it": {func(ctx context.Context) error {
			return fmt.Errorf("connect to h: %w", ctx.Err())
		}, "h: connect: " + up + ": connect to h: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(map[string]string{"h": "192.0.2.1"}, 1, time.Now, nil)
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, ErrTimeout)
			defer cancel()
			err := r.Stage(ctx, "h", "connect", func(ctx context.Context) ([]string, error) {
				<-ctx.Done()
				return nil, c.err(ctx)
			})
			if err == nil || err.Error() != c.want || !errors.Is(err, ErrTimeout) {
				t.Errorf("Stage: %v, want %s", err, c.want)
			}
			if h := r.Result("lab", "deploy").Hosts[0]; h.Result != report.Failed || h.Hint != ErrTimeout.Hint {
				t.Errorf("the host's result is %q with the hint %q, want %q with %q", h.Result, h.Hint, report.Failed, ErrTimeout.Hint)
			}
		})
	}
}
