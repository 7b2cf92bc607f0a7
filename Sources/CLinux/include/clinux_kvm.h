// KVM: what Swift does not import of <linux/kvm.h> - ioctl numbers, flexible arrays, unions with bit fields.
#ifndef CLINUX_KVM_H
#define CLINUX_KVM_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL 223
#endif
#ifndef KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP
#define KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP 225
#endif
#ifndef KVM_CAP_PRE_FAULT_MEMORY
#define KVM_CAP_PRE_FAULT_MEMORY 236
#endif
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

#ifndef KVM_GET_STATS_FD
#define KVM_GET_STATS_FD _IO(KVMIO, 0xce)
#endif

// An anonymous enum imports as UInt32; a macro of this kind does not import.
enum {
  CLINUX_KVM_GET_API_VERSION = KVM_GET_API_VERSION,
  CLINUX_KVM_CREATE_VM = KVM_CREATE_VM,
  CLINUX_KVM_CHECK_EXTENSION = KVM_CHECK_EXTENSION,
  CLINUX_KVM_GET_VCPU_MMAP_SIZE = KVM_GET_VCPU_MMAP_SIZE,
  CLINUX_KVM_GET_SUPPORTED_CPUID = KVM_GET_SUPPORTED_CPUID,
  CLINUX_KVM_GET_EMULATED_CPUID = KVM_GET_EMULATED_CPUID,
  CLINUX_KVM_GET_MSR_INDEX_LIST = KVM_GET_MSR_INDEX_LIST,
  CLINUX_KVM_GET_MSR_FEATURE_INDEX_LIST = KVM_GET_MSR_FEATURE_INDEX_LIST,
  CLINUX_KVM_CREATE_VCPU = KVM_CREATE_VCPU,
  CLINUX_KVM_SET_USER_MEMORY_REGION = KVM_SET_USER_MEMORY_REGION,
  CLINUX_KVM_GET_DIRTY_LOG = KVM_GET_DIRTY_LOG,
  CLINUX_KVM_CLEAR_DIRTY_LOG = KVM_CLEAR_DIRTY_LOG,
  CLINUX_KVM_RESET_DIRTY_RINGS = KVM_RESET_DIRTY_RINGS,
  CLINUX_KVM_SET_TSS_ADDR = KVM_SET_TSS_ADDR,
  CLINUX_KVM_SET_IDENTITY_MAP_ADDR = KVM_SET_IDENTITY_MAP_ADDR,
  CLINUX_KVM_SET_BOOT_CPU_ID = KVM_SET_BOOT_CPU_ID,
  CLINUX_KVM_CREATE_IRQCHIP = KVM_CREATE_IRQCHIP,
  CLINUX_KVM_IRQ_LINE = KVM_IRQ_LINE,
  CLINUX_KVM_GET_IRQCHIP = KVM_GET_IRQCHIP,
  CLINUX_KVM_SET_IRQCHIP = KVM_SET_IRQCHIP,
  CLINUX_KVM_CREATE_PIT2 = KVM_CREATE_PIT2,
  CLINUX_KVM_GET_PIT2 = KVM_GET_PIT2,
  CLINUX_KVM_SET_PIT2 = KVM_SET_PIT2,
  CLINUX_KVM_REINJECT_CONTROL = KVM_REINJECT_CONTROL,
  CLINUX_KVM_IRQFD = KVM_IRQFD,
  CLINUX_KVM_IOEVENTFD = KVM_IOEVENTFD,
  CLINUX_KVM_SIGNAL_MSI = KVM_SIGNAL_MSI,
  CLINUX_KVM_GET_CLOCK = KVM_GET_CLOCK,
  CLINUX_KVM_SET_CLOCK = KVM_SET_CLOCK,
  CLINUX_KVM_ENABLE_CAP = KVM_ENABLE_CAP,
  CLINUX_KVM_GET_TSC_KHZ = KVM_GET_TSC_KHZ,
  CLINUX_KVM_SET_TSC_KHZ = KVM_SET_TSC_KHZ,
  CLINUX_KVM_RUN = KVM_RUN,
  CLINUX_KVM_GET_REGS = KVM_GET_REGS,
  CLINUX_KVM_SET_REGS = KVM_SET_REGS,
  CLINUX_KVM_GET_SREGS = KVM_GET_SREGS,
  CLINUX_KVM_SET_SREGS = KVM_SET_SREGS,
  CLINUX_KVM_GET_SREGS2 = KVM_GET_SREGS2,
  CLINUX_KVM_SET_SREGS2 = KVM_SET_SREGS2,
  CLINUX_KVM_GET_FPU = KVM_GET_FPU,
  CLINUX_KVM_SET_FPU = KVM_SET_FPU,
  CLINUX_KVM_GET_XSAVE = KVM_GET_XSAVE,
  CLINUX_KVM_GET_XSAVE2 = KVM_GET_XSAVE2,
  CLINUX_KVM_SET_XSAVE = KVM_SET_XSAVE,
  CLINUX_KVM_GET_XCRS = KVM_GET_XCRS,
  CLINUX_KVM_SET_XCRS = KVM_SET_XCRS,
  CLINUX_KVM_GET_LAPIC = KVM_GET_LAPIC,
  CLINUX_KVM_SET_LAPIC = KVM_SET_LAPIC,
  CLINUX_KVM_GET_VCPU_EVENTS = KVM_GET_VCPU_EVENTS,
  CLINUX_KVM_SET_VCPU_EVENTS = KVM_SET_VCPU_EVENTS,
  CLINUX_KVM_GET_DEBUGREGS = KVM_GET_DEBUGREGS,
  CLINUX_KVM_SET_DEBUGREGS = KVM_SET_DEBUGREGS,
  CLINUX_KVM_GET_MP_STATE = KVM_GET_MP_STATE,
  CLINUX_KVM_SET_MP_STATE = KVM_SET_MP_STATE,
  CLINUX_KVM_GET_CPUID2 = KVM_GET_CPUID2,
  CLINUX_KVM_SET_CPUID2 = KVM_SET_CPUID2,
  CLINUX_KVM_GET_NESTED_STATE = KVM_GET_NESTED_STATE,
  CLINUX_KVM_SET_NESTED_STATE = KVM_SET_NESTED_STATE,
  CLINUX_KVM_KVMCLOCK_CTRL = KVM_KVMCLOCK_CTRL,
  CLINUX_KVM_INTERRUPT = KVM_INTERRUPT,
  CLINUX_KVM_NMI = KVM_NMI,
  CLINUX_KVM_TRANSLATE = KVM_TRANSLATE,
  CLINUX_KVM_GET_STATS_FD = KVM_GET_STATS_FD,
};

// The result or -errno. KVM's own EINTR is an answer (a kicked virtual CPU), so nothing is retried here.
int clinux_kvm(int fd, unsigned long request, void *argument);
int clinux_kvm_value(int fd, unsigned long request, unsigned long argument);

// CPUID leaves: SUPPORTED, EMULATED (of the system), GET (of a virtual CPU). `*count`: capacity in, entries out.
// -E2BIG if there are more.
int clinux_kvm_get_cpuid(int fd, unsigned long request, struct kvm_cpuid_entry2 *entries, uint32_t *count);
int clinux_kvm_set_cpuid(int fd, const struct kvm_cpuid_entry2 *entries, uint32_t count);

// Indices of model-specific registers; `*count` as above.
int clinux_kvm_msr_indices(int fd, unsigned long request, uint32_t *indices, uint32_t *count);
// Reads or writes registers up to the first that the kernel refuses; how many were done, or -errno.
int clinux_kvm_get_msrs(int fd, struct kvm_msr_entry *entries, uint32_t count);
int clinux_kvm_set_msrs(int fd, const struct kvm_msr_entry *entries, uint32_t count);

int clinux_kvm_set_routing(int fd, const struct kvm_irq_routing_entry *entries, uint32_t count);
static inline void clinux_kvm_chip_route(struct kvm_irq_routing_entry *entry, uint32_t gsi, uint32_t chip, uint32_t pin) {
  *entry = (struct kvm_irq_routing_entry){.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {chip, pin}};
}
static inline void clinux_kvm_msi_route(struct kvm_irq_routing_entry *entry, uint32_t gsi, uint64_t address,
                                        uint32_t data) {
  *entry = (struct kvm_irq_routing_entry){
      .gsi = gsi,
      .type = KVM_IRQ_ROUTING_MSI,
      .u.msi = {.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data}};
}

int clinux_kvm_get_dirty_log(int fd, uint32_t slot, uint64_t *bitmap);
int clinux_kvm_clear_dirty_log(int fd, uint32_t slot, uint64_t first_page, uint32_t page_count, const uint64_t *bitmap);

// Takes one entry of a dirty ring and gives it back to the kernel: 1 with its place, 0 if it is not filled.
static inline int clinux_kvm_take_dirty_page(struct kvm_dirty_gfn *entry, uint32_t *slot, uint64_t *offset) {
  if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY)) return 0;
  *slot = entry->slot;
  *offset = entry->offset;
  __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
  return 1;
}

// Maps `size` bytes of a virtual CPU's descriptor at `page` pages; 0 or -errno.
int clinux_kvm_map(int fd, uint64_t size, uint64_t page, void **address);

static inline void clinux_kvm_set_immediate_exit(struct kvm_run *run, uint8_t value) {
  __atomic_store_n(&run->immediate_exit, value, __ATOMIC_SEQ_CST);
}
static inline uint8_t clinux_kvm_immediate_exit(const struct kvm_run *run) {
  return __atomic_load_n(&run->immediate_exit, __ATOMIC_SEQ_CST);
}

// Where the bytes of a memory exit are in struct kvm_run.
enum { CLINUX_KVM_MEMORY_EXIT_OFFSET = offsetof(struct kvm_run, mmio.data) };

static inline uint64_t clinux_kvm_redirection(const struct kvm_irqchip *chip, int pin) {
  return chip->chip.ioapic.redirtbl[pin].bits;
}
static inline void clinux_kvm_set_redirection(struct kvm_irqchip *chip, int pin, uint64_t value) {
  chip->chip.ioapic.redirtbl[pin].bits = value;
}

#endif
