package virt

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// vcpuLimit is how long a vCPU has for its program. The processor itself takes
// a few milliseconds; a KVM that emulates it, more than TCG does.
const vcpuLimit = 200 * time.Millisecond

// vcpuTurns is how often the program's loop is run.
const vcpuTurns = 10_000_000

// Of linux/kvm.h and its documentation, virt/kvm/api.rst.
const (
	kvmGetAPIVersion       = 0xae00
	kvmCreateVM            = 0xae01
	kvmGetVCPUMmapSize     = 0xae04
	kvmCreateVCPU          = 0xae41
	kvmSetTSSAddr          = 0xae47
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmRun                 = 0xae80
	kvmSetRegs             = 0x4090ae82
	kvmGetSregs            = 0x8138ae83
	kvmSetSregs            = 0x4138ae84

	kvmAPIVersion = 12
	kvmExitHLT    = 5

	immediateExit = 1 // offsets in struct kvm_run
	exitReason    = 8

	pageSize = 4096
)

// kvmRegion is struct kvm_userspace_memory_region.
type kvmRegion struct {
	slot, flags       uint32
	guest, size, host uint64
}

// kvmRegs is struct kvm_regs.
type kvmRegs struct {
	general     [16]uint64
	rip, rflags uint64
}

// kvmSegment is struct kvm_segment.
type kvmSegment struct {
	base                                                uint64
	limit                                               uint32
	selector                                            uint16
	kind, present, dpl, db, s, l, g, avl, unusable, pad uint8
}

// kvmSregs is struct kvm_sregs.
type kvmSregs struct {
	cs, ds, es, fs, gs, ss, tr, ldt kvmSegment
	tables                          [4]uint64
	cr0, cr2, cr3, cr4, cr8         uint64
	efer, apicBase                  uint64
	interrupts                      [4]uint64
}

// vcpuRuns says whether guests are better off with KVM than without: whether a
// vCPU runs a short program, and in good time. That /dev/kvm is there proves
// nothing, least of all inside a VM. It returns within twice vcpuLimit, whatever
// the kernel does.
func vcpuRuns() bool {
	halted := make(chan bool, 1)
	go func() { halted <- vcpuHalts() }()
	select {
	case ok := <-halted:
		return ok
	case <-time.After(2 * vcpuLimit):
		return false // the thread is lost in the kernel until this process ends
	}
}

func vcpuHalts() bool {
	kvm, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(kvm)
	if version, err := ioctl(kvm, kvmGetAPIVersion, 0); err != nil || version != kvmAPIVersion {
		return false
	}
	size, err := ioctl(kvm, kvmGetVCPUMmapSize, 0)
	if err != nil || size < exitReason+4 {
		return false
	}
	vm, err := ioctl(kvm, kvmCreateVM, 0)
	if err != nil {
		return false
	}
	defer unix.Close(vm)
	// Older Intel processors want a place of ours for it; others do not care.
	_, _ = ioctl(vm, kvmSetTSSAddr, 0xfffbd000)

	page, err := unix.Mmap(-1, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return false
	}
	defer unix.Munmap(page)
	program := binary.LittleEndian.AppendUint32([]byte{0xb9}, vcpuTurns) // mov ecx, turns
	program = append(program, 0x49 /* dec ecx */, 0x75, 0xfd /* jnz to it */, 0xf4 /* hlt */)
	copy(page, program)
	region := kvmRegion{guest: pageSize, size: pageSize, host: uint64(uintptr(unsafe.Pointer(&page[0])))}
	if pass(vm, kvmSetUserMemoryRegion, unsafe.Pointer(&region)) != nil {
		return false
	}
	vcpu, err := ioctl(vm, kvmCreateVCPU, 0)
	if err != nil {
		return false
	}
	defer unix.Close(vcpu)
	// 32-bit protected mode, flat: in real mode older processors are emulated.
	var sregs kvmSregs
	if pass(vcpu, kvmGetSregs, unsafe.Pointer(&sregs)) != nil {
		return false
	}
	sregs.cr0 |= 1
	data := kvmSegment{limit: 0xffffffff, selector: 16, kind: 3, present: 1, db: 1, s: 1, g: 1}
	sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss = data, data, data, data, data
	sregs.cs = data
	sregs.cs.selector, sregs.cs.kind = 8, 11
	regs := kvmRegs{rip: pageSize, rflags: 2}
	if pass(vcpu, kvmSetSregs, unsafe.Pointer(&sregs)) != nil || pass(vcpu, kvmSetRegs, unsafe.Pointer(&regs)) != nil {
		return false
	}
	run, err := unix.Mmap(vcpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return false
	}
	defer unix.Munmap(run)
	return halts(vcpu, run)
}

// halts runs the vCPU until it halts, until it does something else or until
// vcpuLimit has passed.
func halts(vcpu int, run []byte) bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := unix.Gettid()
	var over atomic.Bool
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-done:
			return
		case <-time.After(vcpuLimit):
		}
		over.Store(true)
		run[immediateExit] = 1
		for { // one that comes before the vCPU is entered is lost
			// Go's runtime takes this signal for its own and does nothing.
			_ = unix.Tgkill(unix.Getpid(), thread, unix.SIGURG)
			select {
			case <-done:
				return
			case <-time.After(vcpuLimit / 20):
			}
		}
	}()
	defer func() {
		close(done)
		<-ended
	}()
	for {
		_, err := ioctl(vcpu, kvmRun, 0)
		if err == unix.EINTR && !over.Load() {
			continue
		}
		return err == nil && binary.LittleEndian.Uint32(run[exitReason:]) == kvmExitHLT
	}
}

// ioctl is one that takes a number and gives one.
func ioctl(fd int, request, arg uintptr) (int, error) {
	value, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
	if errno != 0 {
		return 0, errno
	}
	return int(value), nil
}

// pass is one that takes or fills a structure.
func pass(fd int, request uintptr, structure unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(structure)); errno != 0 {
		return errno
	}
	return nil
}
