//go:build !amd64

package virt

// vcpuRuns is not known how to tell on this architecture: guests run by TCG.
func vcpuRuns() bool { return false }
