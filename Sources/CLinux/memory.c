#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

static int map_flags(int fd, int no_reserve) {
  return (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | (no_reserve ? MAP_NORESERVE : 0);
}

int clinux_map(int fd, size_t length, int64_t offset, int no_reserve, void **address) {
  void *mapped = mmap(NULL, length, PROT_READ | PROT_WRITE, map_flags(fd, no_reserve), fd, offset);
  if (mapped == MAP_FAILED) return -errno;
  *address = mapped;
  return 0;
}

int clinux_reserve(size_t length, size_t alignment, void **address, void **reserved, size_t *reserved_length) {
  size_t whole = length + alignment;
  if (whole < length) return -ENOMEM;
  void *mapped = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return -errno;
  *reserved = mapped;
  *reserved_length = whole;
  *address = (void *)(((uintptr_t)mapped + alignment - 1) & ~(uintptr_t)(alignment - 1));
  return 0;
}

int clinux_map_over(void *address, int fd, size_t length, int64_t offset, int no_reserve) {
  int flags = map_flags(fd, no_reserve) | MAP_FIXED;
  return mmap(address, length, PROT_READ | PROT_WRITE, flags, fd, offset) == MAP_FAILED ? -errno : 0;
}

int clinux_unmap(void *address, size_t length) { return munmap(address, length) < 0 ? -errno : 0; }

int clinux_advise(void *address, size_t length, int advice) {
  static const int values[] = {[CLINUX_ADVICE_HUGE_PAGES] = MADV_HUGEPAGE,
                               [CLINUX_ADVICE_NO_HUGE_PAGES] = MADV_NOHUGEPAGE,
                               [CLINUX_ADVICE_DISCARD] = MADV_DONTNEED,
                               [CLINUX_ADVICE_REMOVE] = MADV_REMOVE,
                               [CLINUX_ADVICE_POPULATE] = MADV_POPULATE_WRITE,
                               [CLINUX_ADVICE_NOT_DUMPED] = MADV_DONTDUMP,
                               [CLINUX_ADVICE_NOT_INHERITED] = MADV_DONTFORK};
  if (advice < 1 || advice >= (int)(sizeof values / sizeof values[0])) return -EINVAL;
  return madvise(address, length, values[advice]) < 0 ? -errno : 0;
}

int clinux_protect(void *address, size_t length, int access) {
  int protection = (access & 1 ? PROT_READ : 0) | (access & 2 ? PROT_WRITE : 0);
  return mprotect(address, length, protection) < 0 ? -errno : 0;
}

int clinux_resident(void *address, size_t length, unsigned char *result) {
  return mincore(address, length, result) < 0 ? -errno : 0;
}

int clinux_memfd(const char *name, uint64_t huge_page_size) {
  unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (huge_page_size != 0) {
    if (huge_page_size & (huge_page_size - 1)) return -EINVAL;
    flags |= MFD_HUGETLB | (unsigned int)__builtin_ctzll(huge_page_size) << MFD_HUGE_SHIFT;
  }
  int fd = memfd_create(name, flags);
  return fd < 0 ? -errno : fd;
}

int clinux_seal_size(int fd) {
  return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ? -errno : 0;
}

int64_t clinux_page_size(void) { return sysconf(_SC_PAGESIZE); }
