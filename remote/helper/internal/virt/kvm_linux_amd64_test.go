package virt

import (
	"testing"
	"time"
	"unsafe"
)

func TestKVMIsTriedInBoundedTime(t *testing.T) {
	began := time.Now()
	runs := vcpuRuns()
	if took := time.Since(began); took > 3*vcpuLimit {
		t.Errorf("vcpuRuns took %v, want at most twice %v", took, vcpuLimit)
	}
	t.Logf("a vCPU runs: %t", runs)
}

func TestKVMStructuresHaveTheKernelsSizes(t *testing.T) {
	for name, c := range map[string]struct{ got, want uintptr }{
		"kvm_userspace_memory_region": {unsafe.Sizeof(kvmRegion{}), kvmSetUserMemoryRegion >> 16 & 0x3fff},
		"kvm_regs":                    {unsafe.Sizeof(kvmRegs{}), kvmSetRegs >> 16 & 0x3fff},
		"kvm_sregs":                   {unsafe.Sizeof(kvmSregs{}), kvmSetSregs >> 16 & 0x3fff},
	} {
		if c.got != c.want {
			t.Errorf("%s has %d bytes, want %d", name, c.got, c.want)
		}
	}
}
