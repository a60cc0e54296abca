// Vxhelper is the host side of vxorch. The controller uploads and starts it; it
// is not meant to be started by hand.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"vxorch/remote/helper"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	code := helper.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
