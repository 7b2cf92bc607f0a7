#include "CLinux.h"
#include "retry.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include <linux/errqueue.h>

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif

int clinux_enable_zero_copy(int fd) { return clinux_set_option(fd, SOL_SOCKET, SO_ZEROCOPY, 1); }

ssize_t clinux_send_uncopied(int fd, const struct iovec *vectors, size_t count) {
  struct msghdr message = {.msg_iov = (struct iovec *)vectors, .msg_iovlen = count};
  RETRY(ssize_t, sendmsg(fd, &message, MSG_ZEROCOPY | MSG_DONTWAIT | MSG_NOSIGNAL));
}

int clinux_zero_copy_completion(int fd, uint32_t *first, uint32_t *last, int *was_copied) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6)) + 64];
  } control;
  struct msghdr message = {.msg_control = &control, .msg_controllen = sizeof control};
  ssize_t result;
  do result = recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
  while (result < 0 && errno == EINTR);
  if (result < 0) return errno == EAGAIN ? 0 : -errno;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    int is_error = (part->cmsg_level == SOL_IP && part->cmsg_type == IP_RECVERR) ||
                   (part->cmsg_level == SOL_IPV6 && part->cmsg_type == IPV6_RECVERR);
    if (!is_error) continue;
    struct sock_extended_err error;
    memcpy(&error, CMSG_DATA(part), sizeof error);
    if (error.ee_origin != SO_EE_ORIGIN_ZEROCOPY) return error.ee_errno ? -(int)error.ee_errno : -EIO;
    *first = error.ee_info;
    *last = error.ee_data;
    *was_copied = (error.ee_code & SO_EE_CODE_ZEROCOPY_COPIED) != 0;
    return 1;
  }
  return -EIO;
}

ssize_t clinux_lend(int pipe, const struct iovec *vectors, size_t count) {
  RETRY(ssize_t, vmsplice(pipe, vectors, count, SPLICE_F_NONBLOCK));
}

// splice has no MSG_NOSIGNAL. The signal is for the thread that writes, so it is that thread which does without.
static void block_pipe_signal(void) {
  static _Thread_local int is_blocked;
  if (is_blocked) return;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  is_blocked = pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0;
}

ssize_t clinux_hand_on(int pipe, int socket, size_t count) {
  block_pipe_signal();
  RETRY(ssize_t, splice(pipe, NULL, socket, NULL, count, SPLICE_F_NONBLOCK));
}
