#include "CLinux.h"
#include "retry.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int clinux_socket(int domain, int type) { RETRY(int, socket(domain, type | SOCK_CLOEXEC, 0)); }
int clinux_connect(int fd, const struct sockaddr *address, socklen_t length) { RETRY(int, connect(fd, address, length)); }
int clinux_bind(int fd, const struct sockaddr *address, socklen_t length) { RETRY(int, bind(fd, address, length)); }
int clinux_listen(int fd, int backlog) { RETRY(int, listen(fd, backlog)); }
int clinux_accept(int fd) { RETRY(int, accept4(fd, NULL, NULL, SOCK_CLOEXEC)); }
int clinux_shutdown(int fd, int how) { RETRY(int, shutdown(fd, how)); }
ssize_t clinux_send(int fd, const void *buffer, size_t count, int flags) { RETRY(ssize_t, send(fd, buffer, count, flags | MSG_NOSIGNAL)); }
ssize_t clinux_peek(int fd, void *buffer, size_t count) { RETRY(ssize_t, recv(fd, buffer, count, MSG_PEEK | MSG_WAITALL)); }

ssize_t clinux_send_vectors(int fd, const struct iovec *vectors, size_t count, int flags) {
  struct msghdr message = {.msg_iov = (struct iovec *)vectors, .msg_iovlen = count};
  RETRY(ssize_t, sendmsg(fd, &message, flags | MSG_NOSIGNAL));
}

ssize_t clinux_receive_vectors(int fd, struct iovec *vectors, size_t count, int flags) {
  struct msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
  RETRY(ssize_t, recvmsg(fd, &message, flags));
}

int clinux_set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

static int integer_option(int fd, int name, int *value) {
  socklen_t length = sizeof *value;
  return getsockopt(fd, SOL_SOCKET, name, value, &length) < 0 ? -errno : 0;
}

int clinux_socket_error(int fd) {
  int error = 0, result = integer_option(fd, SO_ERROR, &error);
  return result < 0 ? result : -error;
}

int clinux_is_unix_socket(int fd) {
  int domain = 0;
  return integer_option(fd, SO_DOMAIN, &domain) == 0 && domain == AF_UNIX;
}

int clinux_is_within_host(int fd) {
  if (clinux_is_unix_socket(fd)) return 1;
  struct sockaddr_storage own, peer;
  socklen_t own_length = sizeof own, peer_length = sizeof peer;
  if (getsockname(fd, (struct sockaddr *)&own, &own_length) < 0) return 0;
  if (getpeername(fd, (struct sockaddr *)&peer, &peer_length) < 0 || own.ss_family != peer.ss_family) return 0;
  // Who is reached from his own address is here, whatever that address is.
  if (own.ss_family == AF_INET)
    return ((struct sockaddr_in *)&own)->sin_addr.s_addr == ((struct sockaddr_in *)&peer)->sin_addr.s_addr;
  if (own.ss_family == AF_INET6)
    return memcmp(&((struct sockaddr_in6 *)&own)->sin6_addr, &((struct sockaddr_in6 *)&peer)->sin6_addr,
                  sizeof(struct in6_addr)) == 0;
  return 0;
}

int clinux_fit_local_buffer(int fd, int unix_bytes, int tcp_bytes) {
  int now = 0, protocol = 0;
  if (clinux_is_unix_socket(fd)) {
    if (integer_option(fd, SO_SNDBUF, &now) == 0 && now >= unix_bytes) return 0;
    return clinux_set_option(fd, SOL_SOCKET, SO_SNDBUF, unix_bytes);
  }
  if (integer_option(fd, SO_PROTOCOL, &protocol) < 0 || protocol != IPPROTO_TCP || !clinux_is_within_host(fd)) return 0;
  // The kernel doubles what is set: its own records take room as well.
  return clinux_set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, tcp_bytes / 2);
}

int clinux_is_listening(int fd) {
  int listening = 0;
  return integer_option(fd, SO_ACCEPTCONN, &listening) == 0 && listening;
}

int clinux_remove_socket(const char *path) {
  struct stat status;
  if (lstat(path, &status) < 0) return errno == ENOENT ? 0 : -errno;
  if (!S_ISSOCK(status.st_mode)) return -EEXIST;
  return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int clinux_local_port(int fd) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) return -errno;
  if (address.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&address)->sin_port);
  if (address.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
  return -EAFNOSUPPORT;
}

int clinux_unix_address(const char *path, struct sockaddr_storage *storage) {
  struct sockaddr_un *address = (struct sockaddr_un *)storage;
  size_t length = strlen(path);
  if (length >= sizeof address->sun_path) return -ENAMETOOLONG;
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, length + 1);
  return (int)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}

int clinux_resolve(const char *host, const char *port, int passive, int index, struct sockaddr_storage *address,
                   int *family) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0}, *list;
  int code = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
  if (code == EAI_SYSTEM) return -errno;
  if (code != 0) return code - 10000;
  int length = 0;
  for (struct addrinfo *entry = list; entry; entry = entry->ai_next, index--) {
    if (index > 0) continue;
    memcpy(address, entry->ai_addr, entry->ai_addrlen);
    *family = entry->ai_family;
    length = (int)entry->ai_addrlen;
    break;
  }
  freeaddrinfo(list);
  return length;
}

const char *clinux_resolve_error(int code) { return gai_strerror(code + 10000); }

int clinux_limit_unsent(int fd, int byte_count) {
  // A TCP buffer also holds what is on its way and not acknowledged, so there the size of the buffer is not the limit.
  if (setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &byte_count, sizeof byte_count) == 0) return 0;
  return setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &byte_count, sizeof byte_count) < 0 ? -errno : 0;
}
