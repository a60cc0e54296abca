package push

import (
	"context"
	"io"
	"os"
	"time"

	"vxorch/remote/sshconn"
)

// How many writes of 32 KiB are under way at once. One at a time takes a round
// trip each: 8 s for a helper at 100 ms. But what is under way and not on the line
// is in sshd, which grows its buffer for it by copying the whole buffer each time:
// with 64 of them at hand at once that cost each host more CPU than to unpack the
// helper and take its hash. So there are as many as fill 1 Gbit/s, which is one
// each 250 µs of the round trip, but some even on the shortest line, and no more
// than the 2 MiB that sshd takes.
const (
	leastWrites  = 8
	mostWrites   = 64
	writeSpacing = 250 * time.Microsecond
)

// writes is how many shall be under way where a round trip takes so long.
func writes(roundTrip time.Duration) int {
	return int(min(max(leastWrites, roundTrip/writeSpacing), mostWrites))
}

// sendBuffer is how much is handed to the connection at once. It makes packets
// of 32 KiB of it, as large as the server takes.
const sendBuffer = 256 << 10

// upload is a helper on its way to the host, which has made file for it.
type upload struct {
	helper helper
	packed bool
	file   string
}

// bySFTP writes the helper into the file. It makes none: a server that shows
// other files by SFTP than by its shell has no such file, and shall get none. For
// the session to open it takes a quarter of timeout at most, so that a server
// which keeps silent is not waited for long, and timeout for each sign of life
// after that. The file's end is not waited for: what has been acknowledged can be
// read by everybody.
func (u upload) bySFTP(ctx context.Context, conn *sshconn.Conn, timeout time.Duration) error {
	opening, cancel := context.WithTimeoutCause(ctx, timeout/4, errSlow)
	defer cancel()
	client, err := conn.SFTP(opening)
	if err != nil {
		return err
	}
	defer client.Close()
	written := make(chan error, 1)
	go func() { written <- u.write(client) }()
	heard := client.Heard()
	for {
		select {
		case err := <-written:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(timeout):
		}
		before := heard
		if heard = client.Heard(); heard == before {
			return errSlow
		}
	}
}

func (u upload) write(client *sshconn.SFTP) error {
	source, err := u.helper.open(u.packed)
	if err != nil {
		return err
	}
	defer source.Close()
	began := time.Now()
	file, err := client.OpenFile(u.file, os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = file.ReadFromWithConcurrency(source, writes(time.Since(began)))
	return err
}

// inline writes the helper to the input of the command that asked for it.
func (u upload) inline(stdin io.Writer) error {
	source, err := u.helper.open(u.packed)
	if err != nil {
		return err
	}
	defer source.Close()
	if _, err := io.WriteString(stdin, wordInline+"\n"); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{stdin}, struct{ io.Reader }{source}, make([]byte, sendBuffer))
	return err
}
