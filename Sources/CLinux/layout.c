// What Swift and the shims rely on about the kernel's structures; a header that disagrees does not compile.
#include "CLinux.h"

#include <stddef.h>

#define SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " is not " #size " bytes")
#define OFFSET(type, field, offset) \
  _Static_assert(offsetof(type, field) == (offset), #type "." #field " is not at " #offset)

SIZE(struct uffd_msg, 32);
OFFSET(struct uffd_msg, arg.pagefault.flags, 8);
OFFSET(struct uffd_msg, arg.pagefault.address, 16);
SIZE(struct uffdio_api, 24);
SIZE(struct uffdio_copy, 40);
OFFSET(struct uffdio_copy, copy, 32);
SIZE(struct uffdio_zeropage, 32);
SIZE(struct uffdio_continue, 32);
SIZE(struct clinux_uffdio_move, 40);

SIZE(struct kvm_regs, 144);
SIZE(struct kvm_sregs, 312);
SIZE(struct kvm_sregs2, 320);
SIZE(struct kvm_fpu, 416);
SIZE(struct kvm_xsave, 4096);
SIZE(struct kvm_xcrs, 392);
SIZE(struct kvm_debugregs, 128);
SIZE(struct kvm_vcpu_events, 64);
SIZE(struct kvm_lapic_state, 1024);
SIZE(struct kvm_mp_state, 4);
SIZE(struct kvm_irqchip, 520);
SIZE(struct kvm_ioapic_state, 216);
SIZE(struct kvm_pit_state2, 112);
SIZE(struct kvm_clock_data, 48);
SIZE(struct kvm_cpuid_entry2, 40);
SIZE(struct kvm_msr_entry, 16);
SIZE(struct kvm_userspace_memory_region, 32);
SIZE(struct kvm_dirty_gfn, 16);
SIZE(struct kvm_irq_routing_entry, 48);
SIZE(struct kvm_run, 2352);
OFFSET(struct kvm_run, immediate_exit, 1);
OFFSET(struct kvm_run, exit_reason, 8);
OFFSET(struct kvm_run, io, 32);
OFFSET(struct kvm_run, mmio, 32);
