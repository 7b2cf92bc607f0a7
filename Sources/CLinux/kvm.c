#include "CLinux.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

int clinux_kvm(int fd, unsigned long request, void *argument) {
  int result = ioctl(fd, request, argument);
  return result < 0 ? -errno : result;
}

int clinux_kvm_value(int fd, unsigned long request, unsigned long argument) {
  int result = ioctl(fd, request, argument);
  return result < 0 ? -errno : result;
}

int clinux_kvm_get_cpuid(int fd, unsigned long request, struct kvm_cpuid_entry2 *entries, uint32_t *count) {
  struct kvm_cpuid2 *list = calloc(1, sizeof *list + sizeof *entries * *count);
  if (!list) return -ENOMEM;
  list->nent = *count;
  int result = clinux_kvm(fd, request, list);
  if (result >= 0) {
    *count = list->nent;
    memcpy(entries, list->entries, sizeof *entries * list->nent);
  }
  free(list);
  return result;
}

int clinux_kvm_set_cpuid(int fd, const struct kvm_cpuid_entry2 *entries, uint32_t count) {
  struct kvm_cpuid2 *list = calloc(1, sizeof *list + sizeof *entries * count);
  if (!list) return -ENOMEM;
  list->nent = count;
  memcpy(list->entries, entries, sizeof *entries * count);
  int result = clinux_kvm(fd, KVM_SET_CPUID2, list);
  free(list);
  return result;
}

int clinux_kvm_msr_indices(int fd, unsigned long request, uint32_t *indices, uint32_t *count) {
  struct kvm_msr_list *list = calloc(1, sizeof *list + sizeof *indices * *count);
  if (!list) return -ENOMEM;
  list->nmsrs = *count;
  int result = clinux_kvm(fd, request, list);
  if (result >= 0) {
    *count = list->nmsrs;
    memcpy(indices, list->indices, sizeof *indices * list->nmsrs);
  }
  free(list);
  return result;
}

static int transfer_msrs(int fd, unsigned long request, const struct kvm_msr_entry *in, struct kvm_msr_entry *out,
                         uint32_t count) {
  struct kvm_msrs *list = calloc(1, sizeof *list + sizeof *in * count);
  if (!list) return -ENOMEM;
  list->nmsrs = count;
  memcpy(list->entries, in, sizeof *in * count);
  int result = clinux_kvm(fd, request, list);
  if (result > 0 && out) memcpy(out, list->entries, sizeof *out * (size_t)result);
  free(list);
  return result;
}

int clinux_kvm_get_msrs(int fd, struct kvm_msr_entry *entries, uint32_t count) {
  return transfer_msrs(fd, KVM_GET_MSRS, entries, entries, count);
}

int clinux_kvm_set_msrs(int fd, const struct kvm_msr_entry *entries, uint32_t count) {
  return transfer_msrs(fd, KVM_SET_MSRS, entries, NULL, count);
}

int clinux_kvm_set_routing(int fd, const struct kvm_irq_routing_entry *entries, uint32_t count) {
  struct kvm_irq_routing *table = calloc(1, sizeof *table + sizeof *entries * count);
  if (!table) return -ENOMEM;
  table->nr = count;
  memcpy(table->entries, entries, sizeof *entries * count);
  int result = clinux_kvm(fd, KVM_SET_GSI_ROUTING, table);
  free(table);
  return result;
}

int clinux_kvm_get_dirty_log(int fd, uint32_t slot, uint64_t *bitmap) {
  struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = bitmap};
  return clinux_kvm(fd, KVM_GET_DIRTY_LOG, &log);
}

int clinux_kvm_clear_dirty_log(int fd, uint32_t slot, uint64_t first_page, uint32_t page_count,
                               const uint64_t *bitmap) {
  struct kvm_clear_dirty_log log = {
      .slot = slot, .num_pages = page_count, .first_page = first_page, .dirty_bitmap = (void *)bitmap};
  return clinux_kvm(fd, KVM_CLEAR_DIRTY_LOG, &log);
}

int clinux_kvm_map(int fd, uint64_t size, uint64_t page, void **address) {
  void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(page * 4096));
  if (mapped == MAP_FAILED) return -errno;
  *address = mapped;
  return 0;
}
