// Mappings of memory: anonymous, memfd, hugetlbfs.
#ifndef CLINUX_MEMORY_H
#define CLINUX_MEMORY_H

#include <stddef.h>
#include <stdint.h>

// The kinds of advice that guest memory gets; values of this header, not of madvise.
enum {
  CLINUX_ADVICE_HUGE_PAGES = 1,
  CLINUX_ADVICE_NO_HUGE_PAGES = 2,
  CLINUX_ADVICE_DISCARD = 3,       // MADV_DONTNEED: anonymous pages read as zero afterwards
  CLINUX_ADVICE_REMOVE = 4,        // MADV_REMOVE: the same for a memfd, for every mapping of it
  CLINUX_ADVICE_POPULATE = 5,      // MADV_POPULATE_WRITE: fault every page in
  CLINUX_ADVICE_NOT_DUMPED = 6,    // MADV_DONTDUMP
  CLINUX_ADVICE_NOT_INHERITED = 7, // MADV_DONTFORK
  CLINUX_ADVICE_COLD = 8           // MADV_COLD: not used for a while; refused for locked memory
};

// Maps `length` bytes readable and writable. `fd` -1: private and anonymous, else shared. `no_reserve` leaves
// the memory out of the overcommit count. Stores the address; 0 or -errno.
int clinux_map(int fd, size_t length, int64_t offset, int no_reserve, void **address);
// Reserves address space with a size and alignment (a power of two); nothing can be read or written there.
int clinux_reserve(size_t length, size_t alignment, void **address, void **reserved, size_t *reserved_length);
// Maps over a reserved range, anonymous (`fd` -1) or shared.
int clinux_map_over(void *address, int fd, size_t length, int64_t offset, int no_reserve);
int clinux_unmap(void *address, size_t length);
int clinux_advise(void *address, size_t length, int advice);
// Makes the range readable (1), readable and writable (3), or neither (0).
int clinux_protect(void *address, size_t length, int access);
// One byte per page: bit 0 is set if the page is in memory.
int clinux_resident(void *address, size_t length, unsigned char *result);
// Sets a bit of `words` for each of `count` pages of 4 KiB that the process has nothing for; `pagemap` is open on
// /proc/self/pagemap.
int clinux_untouched(int pagemap, const void *address, size_t count, uint64_t *words);
// A memfd that may be sealed; `huge_page_size` 0 for ordinary pages, else 2 MiB or 1 GiB.
int clinux_memfd(const char *name, uint64_t huge_page_size);
// What a descriptor of memory is: its size, the size of its pages, and whether it is sealed against shrinking. -EINVAL if it
// is no memfd.
int clinux_memory_file(int fd, int64_t *size, int64_t *page_size, int *cannot_shrink);
// Puts the open file of `fd` under the number `number`, in place of what that was; close-on-exec.
int clinux_replace_descriptor(int fd, int number);
// Seals a memfd against growing and shrinking.
int clinux_seal_size(int fd);
// Which of up to 64 pages of 4 KiB are zero: bit 0 is the first. `start` begins a page.
uint64_t clinux_zero_pages(const void *start, int count);
int64_t clinux_page_size(void);
// Reads all code of the program itself in, as if it had run. 0 or -errno of the first part that could not be read.
int clinux_populate_code(void);

#endif
