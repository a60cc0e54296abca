//go:build !linux

package ns

import (
	"os"

	"vxorch/remote/hostapi"
)

// Do needs Linux, unless name is empty.
func Do(name string, f func() error) error {
	if name == "" {
		return f()
	}
	return unsupported()
}

// Open needs Linux.
func Open(name string) (*os.File, error) { return nil, unsupported() }

// List needs Linux.
func List() ([]Entry, error) { return nil, unsupported() }

// Create needs Linux.
func Create(name string, prepare func() error) error { return unsupported() }

// Unnamed needs Linux.
func Unnamed(f func() error) error { return unsupported() }

// Remove needs Linux.
func Remove(name string) error { return unsupported() }

// Tidy needs Linux.
func Tidy() error { return unsupported() }

func unsupported() error {
	return &hostapi.Error{Kind: hostapi.KindUnsupported, Message: "network namespaces need Linux"}
}
