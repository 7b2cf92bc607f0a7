#include "CLinux.h"
#include "retry.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
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
                               [CLINUX_ADVICE_NOT_INHERITED] = MADV_DONTFORK,
                               [CLINUX_ADVICE_COLD] = MADV_COLD};
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

int clinux_untouched(int pagemap, const void *address, size_t count, uint64_t *words) {
  // See Documentation/admin-guide/mm/pagemap.rst: 63 present, 62 swapped out or otherwise kept. With neither there is
  // nothing, and a private page reads as zeros.
  const uint64_t used = (uint64_t)3 << 62;
  uint64_t entries[512];
  for (size_t page = 0; page < count;) {
    size_t wanted = count - page < 512 ? count - page : 512;
    off_t offset = (off_t)(((uintptr_t)address / 4096 + page) * sizeof *entries);
    ssize_t length = pread(pagemap, entries, wanted * sizeof *entries, offset);
    if (length < 0 && errno == EINTR) continue;
    if (length < (ssize_t)sizeof *entries) return length < 0 ? -errno : -EIO;
    size_t got = (size_t)length / sizeof *entries;
    for (size_t index = 0; index < got; index++, page++) {
      if (page % 64 == 0) words[page / 64] = 0;
      if (!(entries[index] & used)) words[page / 64] |= (uint64_t)1 << page % 64;
    }
  }
  return 0;
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

int clinux_memory_file(int fd, int64_t *size, int64_t *page_size, int *cannot_shrink) {
  struct stat status;
  struct statfs system;
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || fstat(fd, &status) < 0 || fstatfs(fd, &system) < 0) return -errno;
  *size = status.st_size;
  // Of hugetlbfs the size of its huge pages; a file of ordinary memory says the kernel's.
  *page_size = system.f_bsize;
  *cannot_shrink = (seals & F_SEAL_SHRINK) != 0;
  return 0;
}

int clinux_replace_descriptor(int fd, int number) { RETRY(int, dup3(fd, number, O_CLOEXEC)); }

#define PAGE_BYTES 4096
// How many pages ahead the first cache line is asked for: about the time that memory takes to answer.
#define PREFETCHED_PAGES 12

typedef long long vector __attribute__((vector_size(32), may_alias));

__attribute__((target("avx2"))) static int is_zero_page_avx2(const vector *v) {
  for (int offset = 0; offset < PAGE_BYTES / 32; offset += 8, v += 8) {
    vector all = (v[0] | v[1]) | (v[2] | v[3]) | ((v[4] | v[5]) | (v[6] | v[7]));
    if (all[0] | all[1] | all[2] | all[3]) return 0;
  }
  return 1;
}

static int is_zero_page_words(const uint64_t *words) {
  for (int word = 0; word < PAGE_BYTES / 8; word += 8, words += 8)
    if (words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7]) return 0;
  return 1;
}

uint64_t clinux_zero_pages(const void *start, int count) {
  const char *page = start;
  int has_avx2 = __builtin_cpu_supports("avx2");
  uint64_t zero = 0;
  for (int index = 0; index < count && index < PREFETCHED_PAGES; index++) __builtin_prefetch(page + index * PAGE_BYTES);
  for (int index = 0; index < count; index++, page += PAGE_BYTES) {
    if (index + PREFETCHED_PAGES < count) __builtin_prefetch(page + PREFETCHED_PAGES * PAGE_BYTES);
    // Most pages that are not zero show it in their first cache line, and no other is then fetched for it.
    const uint64_t *words = (const uint64_t *)page;
    if (words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7]) continue;
    if (has_avx2 ? is_zero_page_avx2((const vector *)page) : is_zero_page_words(words)) zero |= (uint64_t)1 << index;
  }
  return zero;
}

int64_t clinux_page_size(void) { return sysconf(_SC_PAGESIZE); }

static int populate_code_of(struct dl_phdr_info *object, size_t size, void *result) {
  (void)size;
  uintptr_t page = (uintptr_t)getpagesize();
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
    uintptr_t start = (object->dlpi_addr + part->p_vaddr) & ~(page - 1);
    uintptr_t end = object->dlpi_addr + part->p_vaddr + part->p_memsz;
    if (madvise((void *)start, end - start, MADV_POPULATE_READ) < 0 && *(int *)result == 0) *(int *)result = -errno;
  }
  return 1;  // The program comes first; libraries are others' as well, and in memory.
}

int clinux_populate_code(void) {
  int result = 0;
  dl_iterate_phdr(populate_code_of, &result);
  return result;
}
