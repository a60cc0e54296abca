package hostapi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// ErrNoGreeting says that a stream went on without the token that was awaited.
var ErrNoGreeting = errors.New("no greeting")

// Greet announces text, one line, to whoever started this side with token: the
// line that AwaitGreeting finds behind anything a shell profile prints. It
// begins with a newline, since such a print need not end in one.
func Greet(w io.Writer, token, text string) error {
	_, err := io.WriteString(w, "\n"+token+" "+text+"\n")
	return err
}

// AwaitGreeting reads r up to and including the first line that starts with
// token, at most limit bytes, and gives the rest of that line and what came
// before it. It reads nothing behind the line. The token counts at the start of
// a line only: a server that prints the command it was sent prints the token
// too. Without a greeting the error is ErrNoGreeting or r's, io.EOF among them,
// and noise is all that was read.
func AwaitGreeting(r *bufio.Reader, token string, limit int) (text string, noise []byte, err error) {
	start := 0 // of the current line, in noise
	for len(noise) < limit {
		b, err := r.ReadByte()
		if err != nil {
			return "", noise, err
		}
		if b != '\n' {
			noise = append(noise, b)
			continue
		}
		if line, ok := bytes.CutPrefix(noise[start:], []byte(token+" ")); ok {
			return string(line), bytes.TrimSuffix(noise[:start], []byte("\n")), nil
		}
		noise = append(noise, b)
		start = len(noise)
	}
	return "", noise, ErrNoGreeting
}
