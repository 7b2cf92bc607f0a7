#include "CLinux.h"

#include <errno.h>
// The kernel's own header: that of the C library ends before what is needed here.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

int clinux_limit_unread(int fd, int byte_count) {
  return setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &byte_count, sizeof byte_count) < 0 ? -errno : 0;
}

int64_t clinux_least_round_trip(int fd) {
  struct tcp_info info;
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return -errno;
  if (length < offsetof(struct tcp_info, tcpi_min_rtt) + sizeof info.tcpi_min_rtt) return -ENOTSUP;
  return info.tcpi_min_rtt;
}
