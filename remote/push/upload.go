package push

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"strings"

	"vxorch/remote/hostapi"
	"vxorch/remote/sshconn"
)

// uploadConcurrency is how many writes are under way at once. One at a time
// takes a round trip each 32 KiB: 20 s for a helper at 100 ms.
const uploadConcurrency = 64

// upload writes helper into the file temp of dir, by SFTP, or through a command's
// standard input where SFTP does not do: the server may offer none, or show
// other files (chroot) or a noisy profile's words. The helper is proven where it
// is started. When ctx ends, upload returns at once; its conn is to be closed.
func upload(ctx context.Context, conn *sshconn.Conn, h helper, dir, temp string, log *slog.Logger) error {
	done := make(chan error, 1)
	go func() {
		err := uploadSFTP(ctx, conn, h, path.Join(dir, temp))
		if err != nil && conn.Err() == nil && ctx.Err() == nil {
			log.Debug("push: no upload by SFTP, trying a command's standard input", "error", err)
			err = uploadInput(ctx, conn, h, temp)
		}
		done <- err
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
	}
	switch dead := conn.Err(); {
	case ctx.Err() != nil:
		return failure(hostapi.KindCanceled, "", "upload the helper: %v", context.Cause(ctx))
	case err == nil:
		return nil
	case dead != nil:
		return failure(hostapi.KindLost, "", "upload the helper: %v", dead)
	}
	return failure(hostapi.KindHelper, "the user's cache directory on the host must be writable and have room for some MB", "upload the helper into %s: %v", dir, err)
}

func uploadSFTP(ctx context.Context, conn *sshconn.Conn, h helper, file string) error {
	client, err := conn.SFTP(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	defer client.Close() // ends the session, so that the next can begin
	source, err := h.dir.Open(h.file)
	if err != nil {
		return err
	}
	defer source.Close()
	remote, err := client.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	if _, err := remote.ReadFromWithConcurrency(source, uploadConcurrency); err != nil {
		return err
	}
	return remote.Close()
}

func uploadInput(ctx context.Context, conn *sshconn.Conn, h helper, temp string) error {
	source, err := h.dir.Open(h.file)
	if err != nil {
		return err
	}
	defer source.Close()
	return finish(ctx, conn, receiveCommand(h, temp), source)
}

// finish runs a command to its end, with input as its standard input.
func finish(ctx context.Context, conn *sshconn.Conn, command string, input io.Reader) error {
	session, err := conn.Start(ctx, command)
	if err != nil {
		return err
	}
	defer session.Close()
	stop := context.AfterFunc(ctx, func() { session.Close() })
	defer stop()
	go func() { _, _ = io.Copy(io.Discard, session.Stdout) }() // a profile's noise
	if input == nil {
		input = bytes.NewReader(nil)
	}
	_, writeErr := io.Copy(session.Stdin, input)
	session.Stdin.Close()
	select {
	case <-session.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// How the command ended explains best why it took no more.
	if err := session.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(session.Stderr()))
	}
	return writeErr
}
