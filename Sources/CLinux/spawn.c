#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// A descriptor number that no target uses and that dup2 in the child can therefore not overwrite.
static int duplicate_above(int fd, const int *targets, int count) {
  int lowest = 3;
  for (int i = 0; i < count; i++)
    if (targets[i] >= lowest) lowest = targets[i] + 1;
  int result = fcntl(fd, F_DUPFD_CLOEXEC, lowest);
  return result < 0 ? -errno : result;
}

int clinux_spawn(const char *path, int search, char *const arguments[], char *const environment[], const int *sources,
                 const int *targets, int count, int new_group) {
  if (count < 0 || count > CLINUX_MAXIMUM_DESCRIPTORS) return -EINVAL;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  int high[CLINUX_MAXIMUM_DESCRIPTORS], made = 0, code = 0, last = -1;
  pid_t process = -1;
  for (; made < count && code == 0; made++) {
    high[made] = duplicate_above(sources[made], targets, count);
    if (high[made] < 0) {
      code = -high[made];
      break;
    }
    code = posix_spawn_file_actions_adddup2(&actions, high[made], targets[made]);
    if (targets[made] > last) last = targets[made];
  }
  // What lies between the targets, then everything above them.
  for (int fd = 0; fd < last && code == 0; fd++) {
    int wanted = 0;
    for (int i = 0; i < count; i++) wanted |= targets[i] == fd;
    if (!wanted && fcntl(fd, F_GETFD) >= 0) code = posix_spawn_file_actions_addclose(&actions, fd);
  }
  if (code == 0) code = posix_spawn_file_actions_addclosefrom_np(&actions, last + 1);
  if (code == 0) {
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, (short)(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                                  (new_group ? POSIX_SPAWN_SETPGROUP : 0)));
    char *const *variables = environment ? environment : environ;
    code = search ? posix_spawnp(&process, path, &actions, &attributes, arguments, variables)
                  : posix_spawn(&process, path, &actions, &attributes, arguments, variables);
  }
  for (int i = 0; i < made; i++) close(high[i]);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return code != 0 ? -code : process;
}

int clinux_wait(int process, int block, int *status) {
  int raw;
  pid_t result;
  do result = waitpid(process, &raw, block ? 0 : WNOHANG);
  while (result < 0 && errno == EINTR);
  if (result < 0) return -errno;
  if (result == 0) return 0;
  *status = WIFSIGNALED(raw) ? 1000 + WTERMSIG(raw) : WEXITSTATUS(raw);
  return 1;
}

int clinux_signal_process(int process, int number) { return kill(process, number) < 0 ? -errno : 0; }

int clinux_pidfd(int process) {
  int fd = (int)syscall(434 /* pidfd_open */, process, 0);
  return fd < 0 ? -errno : fd;
}

ssize_t clinux_send_descriptors(int fd, const void *bytes, size_t count, const int *descriptors, int descriptor_count) {
  if (descriptor_count < 0 || descriptor_count > CLINUX_MAXIMUM_DESCRIPTORS || count == 0) return -EINVAL;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * CLINUX_MAXIMUM_DESCRIPTORS)];
  } control;
  memset(&control, 0, sizeof control);
  struct iovec vector = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (descriptor_count > 0) {
    size_t size = sizeof(int) * (size_t)descriptor_count;
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(size);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(&control.header), descriptors, size);
  }
  ssize_t result;
  do result = sendmsg(fd, &message, MSG_NOSIGNAL);
  while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

ssize_t clinux_receive_descriptors(int fd, void *bytes, size_t count, int flags, int *descriptors,
                                   int *descriptor_count, int *truncated) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * 253)];  // SCM_MAX_FD
  } control;
  struct iovec vector = {.iov_base = bytes, .iov_len = count};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t result;
  do result = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
  while (result < 0 && errno == EINTR);
  int capacity = *descriptor_count;
  *descriptor_count = 0;
  *truncated = 0;
  if (result < 0) return -errno;
  *truncated = (message.msg_flags & MSG_CTRUNC) != 0;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t received = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < received; i++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(part) + i * sizeof(int), sizeof descriptor);
      if (*descriptor_count < capacity) {
        descriptors[(*descriptor_count)++] = descriptor;
      } else {
        close(descriptor);
        *truncated = 1;
      }
    }
  }
  return result;
}

int clinux_unix_socket_pair(int descriptors[2]) {
  return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, descriptors) < 0 ? -errno : 0;
}
