#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLINUX_UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct clinux_uffdio_move)

int clinux_userfaultfd(int way, int nonblocking) {
  int flags = O_CLOEXEC | (nonblocking ? O_NONBLOCK : 0), fd;
  switch (way) {
    case CLINUX_UFFD_BY_SYSCALL:
      fd = (int)syscall(SYS_userfaultfd, flags);
      return fd < 0 ? -errno : fd;
    case CLINUX_UFFD_BY_SYSCALL_USER_MODE:
      fd = (int)syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);
      return fd < 0 ? -errno : fd;
    case CLINUX_UFFD_BY_DEVICE: {
      int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
      if (device < 0) return -errno;
      fd = ioctl(device, USERFAULTFD_IOC_NEW, flags);
      int number = errno;
      close(device);
      return fd < 0 ? -number : fd;
    }
    default:
      return -EINVAL;
  }
}

int clinux_uffd_api(int fd, uint64_t features, uint64_t *supported, uint64_t *ioctls) {
  struct uffdio_api api = {.api = UFFD_API, .features = features};
  if (ioctl(fd, UFFDIO_API, &api) < 0) return -errno;
  *supported = api.features;
  *ioctls = api.ioctls;
  return 0;
}

int clinux_uffd_register(int fd, uint64_t start, uint64_t length, uint64_t modes, uint64_t *ioctls) {
  struct uffdio_register request = {.range = {start, length}, .mode = modes};
  if (ioctl(fd, UFFDIO_REGISTER, &request) < 0) return -errno;
  *ioctls = request.ioctls;
  return 0;
}

int clinux_uffd_unregister(int fd, uint64_t start, uint64_t length) {
  struct uffdio_range range = {start, length};
  return ioctl(fd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
}

int clinux_uffd_wake(int fd, uint64_t start, uint64_t length) {
  struct uffdio_range range = {start, length};
  return ioctl(fd, UFFDIO_WAKE, &range) < 0 ? -errno : 0;
}

// The kernel reports a short count in the structure and EAGAIN as the error; with nothing done the field holds -errno.
static int64_t outcome(int result, int64_t done) {
  if (result == 0) return done;
  int number = errno;
  return done > 0 ? done : -number;
}

int64_t clinux_uffd_copy(int fd, uint64_t destination, const void *source, uint64_t length, int wake) {
  struct uffdio_copy copy = {.dst = destination,
                             .src = (uint64_t)(uintptr_t)source,
                             .len = length,
                             .mode = wake ? 0 : UFFDIO_COPY_MODE_DONTWAKE};
  int result = ioctl(fd, UFFDIO_COPY, &copy);
  return outcome(result, copy.copy);
}

int64_t clinux_uffd_zero(int fd, uint64_t start, uint64_t length, int wake) {
  struct uffdio_zeropage zero = {.range = {start, length}, .mode = wake ? 0 : UFFDIO_ZEROPAGE_MODE_DONTWAKE};
  int result = ioctl(fd, UFFDIO_ZEROPAGE, &zero);
  return outcome(result, zero.zeropage);
}

int64_t clinux_uffd_continue(int fd, uint64_t start, uint64_t length, int wake) {
  struct uffdio_continue request = {.range = {start, length}, .mode = wake ? 0 : UFFDIO_CONTINUE_MODE_DONTWAKE};
  int result = ioctl(fd, UFFDIO_CONTINUE, &request);
  return outcome(result, request.mapped);
}

int64_t clinux_uffd_move(int fd, uint64_t destination, uint64_t source, uint64_t length, int wake) {
  struct clinux_uffdio_move move = {.dst = destination, .src = source, .len = length, .mode = wake ? 0 : 1};
  int result = ioctl(fd, CLINUX_UFFDIO_MOVE, &move);
  return outcome(result, move.move);
}

int clinux_uffd_write_protect(int fd, uint64_t start, uint64_t length, int on, int wake) {
  struct uffdio_writeprotect request = {
      .range = {start, length},
      .mode = (on ? UFFDIO_WRITEPROTECT_MODE_WP : 0) | (wake || on ? 0 : UFFDIO_WRITEPROTECT_MODE_DONTWAKE)};
  return ioctl(fd, UFFDIO_WRITEPROTECT, &request) < 0 ? -errno : 0;
}
