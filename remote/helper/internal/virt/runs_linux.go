package virt

// RunsVCPU says whether guests run on KVM here, by running one for a moment.
func RunsVCPU() bool { return vcpuRuns() }
