//go:build !linux

package virttest

import "testing"

// Main skips the tests: they need Linux.
func Main(m *testing.M) { giveUp("they need Linux") }
