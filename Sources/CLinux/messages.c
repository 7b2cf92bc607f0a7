#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

ssize_t clinux_peek_messages(int fd, void *bytes, size_t count, int *has_descriptors) {
  struct iovec vector = {.iov_base = bytes, .iov_len = count};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  ssize_t result;
  do result = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (result < 0 && errno == EINTR);
  if (result < 0) return -errno;
  *has_descriptors = (message.msg_flags & MSG_CTRUNC) != 0;
  return result;
}

int clinux_is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

void clinux_wall_clock(int64_t *seconds, int64_t *nanoseconds) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  *seconds = now.tv_sec;
  *nanoseconds = now.tv_nsec;
}
