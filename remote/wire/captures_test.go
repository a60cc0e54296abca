package wire

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"vxorch/remote/hostapi"
)

func TestPacketsThatCannotBeAreRefused(t *testing.T) {
	const when = `"time":"2026-01-02T03:04:05.123456789Z"`
	for name, tc := range map[string]struct {
		points, packets string
		fits            bool
	}{
		"as asked for":           {`[null,{"kind":2}]`, `{"packets":[{"point":0,"length":60,"data":"AAAA",` + when + `}]}`, true},
		"none":                   {`[null,null]`, `{}`, true},
		"results of a point":     {`[null]`, `{}`, false},
		"no such point":          {`[null,null]`, `{"packets":[{"point":2,` + when + `}]}`, false},
		"a point before all":     {`[null,null]`, `{"packets":[{"point":-1,` + when + `}]}`, false},
		"more than the snaplen":  {`[null,null]`, `{"packets":[{"length":60,"data":"AAAAAAAA",` + when + `}]}`, false},
		"more than there was":    {`[null,null]`, `{"packets":[{"length":2,"data":"AAAA",` + when + `}]}`, false},
		"a frame of a gigabyte":  {`[null,null]`, `{"packets":[{"length":1073741824,"data":"AAAA",` + when + `}]}`, false},
		"before all time":        {`[null,null]`, `{"packets":[{"length":60}]}`, false},
		"after all time":         {`[null,null]`, `{"packets":[{"length":60,"time":"9999-01-02T03:04:05Z"}]}`, false},
		"less than none lost":    {`[null,null]`, `{"lost":-1}`, false},
		"a million packets":      {`[null,null]`, `{"packets":[` + repeated("{}", 1<<20) + `]}`, false},
		"a packet of 8 MiB":      {`[null,null]`, `{"packets":[{"data":"` + strings.Repeat("A", 8<<20) + `"}]}`, false},
		"what is no base64":      {`[null,null]`, `{"packets":[{"length":60,"data":"%",` + when + `}]}`, false},
		"an object for a result": {`{}`, `{}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			c := NewClient(near, ClientOptions{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				for id, answer := range []string{tc.points, tc.packets} {
					if _, err := readFrame(far); err != nil {
						return
					}
					frame(far, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"result":%s}}`, id+1, answer))
				}
				_, _ = io.Copy(io.Discard, far)
			}()
			_, err := c.Capture(t.Context(), hostapi.CaptureRequest{Snaplen: 4, Points: make([]hostapi.CapturePoint, 2)})
			if err == nil {
				_, err = c.Packets(t.Context(), hostapi.PacketsRequest{})
			}
			if (err == nil) != tc.fits {
				t.Errorf("it came to %v, want it to fit: %v", err, tc.fits)
			}
			_ = near.Close()
			_ = c.Close()
			<-done
		})
	}
}
