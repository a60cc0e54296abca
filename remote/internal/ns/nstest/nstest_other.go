//go:build !linux

package nstest

import "testing"

// Main skips the tests: they need Linux.
func Main(m *testing.M) { giveUp("they need Linux") }
