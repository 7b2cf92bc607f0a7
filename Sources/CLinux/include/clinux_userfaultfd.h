// userfaultfd. The constants that a macro would hide from Swift, and those newer than Debian 12's headers.
#ifndef CLINUX_USERFAULTFD_H
#define CLINUX_USERFAULTFD_H

#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/types.h>

// Features, newest kernels included.
#define CLINUX_UFFD_FEATURE_WP 0x1ull
#define CLINUX_UFFD_FEATURE_EVENT_FORK 0x2ull
#define CLINUX_UFFD_FEATURE_EVENT_REMAP 0x4ull
#define CLINUX_UFFD_FEATURE_EVENT_REMOVE 0x8ull
#define CLINUX_UFFD_FEATURE_MISSING_HUGETLBFS 0x10ull
#define CLINUX_UFFD_FEATURE_MISSING_SHMEM 0x20ull
#define CLINUX_UFFD_FEATURE_EVENT_UNMAP 0x40ull
#define CLINUX_UFFD_FEATURE_SIGBUS 0x80ull
#define CLINUX_UFFD_FEATURE_THREAD_ID 0x100ull
#define CLINUX_UFFD_FEATURE_MINOR_HUGETLBFS 0x200ull
#define CLINUX_UFFD_FEATURE_MINOR_SHMEM 0x400ull
#define CLINUX_UFFD_FEATURE_EXACT_ADDRESS 0x800ull
#define CLINUX_UFFD_FEATURE_WP_HUGETLBFS_SHMEM 0x1000ull
#define CLINUX_UFFD_FEATURE_WP_UNPOPULATED 0x2000ull
#define CLINUX_UFFD_FEATURE_POISON 0x4000ull
#define CLINUX_UFFD_FEATURE_WP_ASYNC 0x8000ull
#define CLINUX_UFFD_FEATURE_MOVE 0x10000ull

struct clinux_uffdio_move {
  uint64_t dst, src, len, mode;
  int64_t move;
};

// How a userfaultfd was opened.
enum { CLINUX_UFFD_BY_SYSCALL = 1, CLINUX_UFFD_BY_SYSCALL_USER_MODE = 2, CLINUX_UFFD_BY_DEVICE = 3 };

// Opens one way only; non-blocking if asked. A descriptor or -errno.
int clinux_userfaultfd(int way, int nonblocking);
// The handshake: asks for `features`, stores those the kernel has and the ioctls.
int clinux_uffd_api(int fd, uint64_t features, uint64_t *supported, uint64_t *ioctls);
int clinux_uffd_register(int fd, uint64_t start, uint64_t length, uint64_t modes, uint64_t *ioctls);
int clinux_uffd_unregister(int fd, uint64_t start, uint64_t length);
int clinux_uffd_wake(int fd, uint64_t start, uint64_t length);
// These give the bytes done (a positive count, possibly short) or -errno when nothing was done.
int64_t clinux_uffd_copy(int fd, uint64_t destination, const void *source, uint64_t length, int wake);
int64_t clinux_uffd_zero(int fd, uint64_t start, uint64_t length, int wake);
int64_t clinux_uffd_continue(int fd, uint64_t start, uint64_t length, int wake);
int64_t clinux_uffd_move(int fd, uint64_t destination, uint64_t source, uint64_t length, int wake);
int clinux_uffd_write_protect(int fd, uint64_t start, uint64_t length, int on, int wake);

static inline uint64_t clinux_uffd_fault_address(const struct uffd_msg *message) { return message->arg.pagefault.address; }
static inline uint64_t clinux_uffd_fault_flags(const struct uffd_msg *message) { return message->arg.pagefault.flags; }
static inline uint32_t clinux_uffd_fault_thread(const struct uffd_msg *message) {
  return message->arg.pagefault.feat.ptid;
}

#endif
