#include "CLinux.h"
#include "retry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

int clinux_open(const char *path, int flags, unsigned int mode) { RETRY(int, open(path, flags | O_CLOEXEC, mode)); }
int clinux_close(int fd) { return close(fd) < 0 ? -errno : 0; }
ssize_t clinux_read(int fd, void *buffer, size_t count) { RETRY(ssize_t, read(fd, buffer, count)); }
ssize_t clinux_write(int fd, const void *buffer, size_t count) { RETRY(ssize_t, write(fd, buffer, count)); }
ssize_t clinux_pread(int fd, void *buffer, size_t count, int64_t offset) { RETRY(ssize_t, pread(fd, buffer, count, offset)); }
ssize_t clinux_pwrite(int fd, const void *buffer, size_t count, int64_t offset) { RETRY(ssize_t, pwrite(fd, buffer, count, offset)); }
ssize_t clinux_readv(int fd, const struct iovec *vectors, int count) { RETRY(ssize_t, readv(fd, vectors, count)); }
ssize_t clinux_writev(int fd, const struct iovec *vectors, int count) { RETRY(ssize_t, writev(fd, vectors, count)); }
int64_t clinux_seek(int fd, int64_t offset, int whence) { RETRY(int64_t, lseek(fd, offset, whence)); }
int clinux_open_temporary(const char *folder) { RETRY(int, open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600)); }
int64_t clinux_next_data(int fd, int64_t offset) { RETRY(int64_t, lseek(fd, offset, SEEK_DATA)); }
int64_t clinux_next_hole(int fd, int64_t offset) { RETRY(int64_t, lseek(fd, offset, SEEK_HOLE)); }
int clinux_truncate(int fd, int64_t length) { RETRY(int, ftruncate(fd, length)); }
int clinux_duplicate(int fd) { RETRY(int, fcntl(fd, F_DUPFD_CLOEXEC, 3)); }
int clinux_pipe(int descriptors[2]) { return pipe2(descriptors, O_CLOEXEC) < 0 ? -errno : 0; }
int clinux_set_pipe_size(int fd, int bytes) { RETRY(int, fcntl(fd, F_SETPIPE_SZ, bytes)); }
int clinux_poll(struct pollfd *entries, unsigned long count, int timeout) { RETRY(int, poll(entries, count, timeout)); }
int clinux_is_terminal(int fd) { return isatty(fd); }

int clinux_set_nonblocking(int fd, int on) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int clinux_terminal_columns(int fd) {
  struct winsize size;
  return ioctl(fd, TIOCGWINSZ, &size) < 0 ? -errno : size.ws_col;
}

int clinux_status(int fd, uint32_t *mode, int64_t *size) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -errno;
  *mode = status.st_mode;
  *size = status.st_size;
  return 0;
}

int clinux_modification_time(int fd, int64_t *nanoseconds) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -errno;
  *nanoseconds = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
  return 0;
}

int clinux_touch(int fd) {
  const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
  return futimens(fd, times) < 0 ? -errno : 0;
}

int clinux_list_folder(const char *path, void *context, void (*visit)(void *context, const char *name)) {
  DIR *folder = opendir(path);
  if (!folder) return -errno;
  struct dirent *entry;
  while (errno = 0, (entry = readdir(folder))) {
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) visit(context, entry->d_name);
  }
  int result = -errno;
  closedir(folder);
  return result;
}

int clinux_lock_folder(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct stat mine, there;
  int code = 0;
  if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &mine) < 0) code = errno;
  // Between being opened and locked it may have been removed by who thought it was left behind.
  else if (lstat(path, &there) < 0 || there.st_ino != mine.st_ino || there.st_dev != mine.st_dev) code = ESTALE;
  else if (mine.st_uid != geteuid()) code = EPERM;
  if (code == 0) return fd;
  close(fd);
  return -code;
}

int clinux_try_tap(void) {
  int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  int result = ioctl(fd, TUNSETIFF, &request) < 0 ? -errno : 0;
  close(fd);
  return result;
}
