#include "CLinux.h"
#include "retry.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

ssize_t clinux_preadv(int fd, const struct iovec *vectors, int count, int64_t offset) {
  RETRY(ssize_t, preadv(fd, vectors, count > IOV_MAX ? IOV_MAX : count, offset));
}

ssize_t clinux_pwritev(int fd, const struct iovec *vectors, int count, int64_t offset) {
  RETRY(ssize_t, pwritev(fd, vectors, count > IOV_MAX ? IOV_MAX : count, offset));
}

int clinux_fdatasync(int fd) { RETRY(int, fdatasync(fd)); }

static int is_block_device(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISBLK(status.st_mode);
}

int64_t clinux_block_device_size(int fd) {
  uint64_t size;
  if (!is_block_device(fd)) return -ENOTBLK;
  return ioctl(fd, BLKGETSIZE64, &size) < 0 ? -errno : (int64_t)size;
}

static int lock_range(int fd, short type, int64_t offset, int64_t length) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = offset, .l_len = length};
  RETRY(int, fcntl(fd, F_OFD_SETLK, &lock));
}

int clinux_lock_shared(int fd, int64_t offset, int64_t length) { return lock_range(fd, F_RDLCK, offset, length); }

int clinux_lock_exclusive(int fd, int64_t offset, int64_t length) { return lock_range(fd, F_WRLCK, offset, length); }

int clinux_unlock(int fd, int64_t offset, int64_t length) { return lock_range(fd, F_UNLCK, offset, length); }

int clinux_is_locked(int fd, int64_t offset, int64_t length) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = offset, .l_len = length};
  if (fcntl(fd, F_OFD_GETLK, &lock) < 0) return -errno;
  return lock.l_type != F_UNLCK;
}

int clinux_drop_cache(int fd) { return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); }

int64_t clinux_allocated_bytes(int fd) {
  struct stat status;
  return fstat(fd, &status) < 0 ? -errno : (int64_t)status.st_blocks * 512;
}

int clinux_discard(int fd, int64_t offset, int64_t length) {
  if (is_block_device(fd)) {
    uint64_t range[2] = {offset, length};
    RETRY(int, ioctl(fd, BLKDISCARD, range));
  }
  RETRY(int, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
}

int clinux_write_zeroes(int fd, int64_t offset, int64_t length, int may_unmap) {
  if (is_block_device(fd)) {
    uint64_t range[2] = {offset, length};
    RETRY(int, ioctl(fd, BLKZEROOUT, range));
  }
  int mode = may_unmap ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  RETRY(int, fallocate(fd, mode, offset, length));
}

int clinux_tap_open(const char *name) {
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  if (strlen(name) >= sizeof request.ifr_name) return -ENAMETOOLONG;
  strcpy(request.ifr_name, name);
  // TUNSETIFF would make a tap that does not exist; a wrong name is an error instead.
  if (if_nametoindex(name) == 0) return -errno;
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

int clinux_tap_set_header_length(int fd, int length) { return ioctl(fd, TUNSETVNETHDRSZ, &length) < 0 ? -errno : 0; }

int clinux_tap_set_offload(int fd, unsigned int offload) {
  unsigned int bits = 0;
  if (offload & CLINUX_TAP_CSUM) bits |= TUN_F_CSUM;
  if (offload & CLINUX_TAP_TSO4) bits |= TUN_F_TSO4;
  if (offload & CLINUX_TAP_TSO6) bits |= TUN_F_TSO6;
  if (offload & CLINUX_TAP_ECN) bits |= TUN_F_TSO_ECN;
  if (offload & CLINUX_TAP_UFO) bits |= TUN_F_UFO;
  return ioctl(fd, TUNSETOFFLOAD, bits) < 0 ? -errno : 0;
}

int clinux_random(void *buffer, size_t count) {
  uint8_t *next = buffer;
  while (count > 0) {
    ssize_t got = getrandom(next, count, 0);
    if (got < 0 && errno != EINTR) return -errno;
    if (got > 0) next += got, count -= got;
  }
  return 0;
}

int64_t clinux_wall_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int clinux_pseudo_terminal(char *path, size_t size, int *other) {
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0) return -errno;
  struct termios settings;
  int end = -1;
  if (grantpt(master) != 0 || unlockpt(master) != 0 || ptsname_r(master, path, size) != 0 ||
      (end = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0 || tcgetattr(end, &settings) != 0)
    goto fail;
  cfmakeraw(&settings);
  if (tcsetattr(end, TCSANOW, &settings) != 0) goto fail;
  *other = end;
  return master;
fail:;
  int number = errno;
  if (end >= 0) close(end);
  close(master);
  return -number;
}
