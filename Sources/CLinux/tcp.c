#include "CLinux.h"

#include <errno.h>
// The kernel's own header: that of the C library ends before what is needed here.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

int clinux_limit_unread(int fd, int byte_count) {
  int protocol = 0, room = 0;
  socklen_t length = sizeof protocol;
  if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) < 0) return -errno;
  if (protocol != IPPROTO_TCP) return 0;
  length = sizeof room;
  if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, &length) < 0) return -errno;
  // What is read here is twice what is set: the kernel's own records take room as well.
  int wanted = byte_count > room / 2 ? byte_count : room / 2;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof wanted) < 0) return -errno;
  // The room does not grow by itself any more, and with it not what the peer is told of it.
  return setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &wanted, sizeof wanted) < 0 ? -errno : 0;
}

int64_t clinux_least_round_trip(int fd) {
  struct tcp_info info;
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return -errno;
  if (length < offsetof(struct tcp_info, tcpi_min_rtt) + sizeof info.tcpi_min_rtt) return -ENOTSUP;
  return info.tcpi_min_rtt;
}
