package virt

import (
	"io"
	"net"
	"testing"
	"time"
)

func TestAConsoleWhoseEndIsNotToldIsClosed(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	terminal := &Terminal{conn: &conn{raw: near, stop: func() bool { return true }}, ended: make(chan struct{})}
	_, terminal.keys = io.Pipe()
	terminal.screen, _ = io.Pipe()
	closed := make(chan error, 1)
	go func() { closed <- terminal.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(hangUpLimit + 20*time.Second):
		t.Fatal("Close still waits")
	}
	if _, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection gave %v, want it closed", err)
	}
}
