#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
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

// What a child does before it is the program.
struct start {
  const char *path;
  int search;
  char *const *arguments, *const *environment;
  const int *sources, *targets;
  int count, new_group;
  pid_t parent;  // 0: the child may outlive it
};

// Runs in the child, which shares this memory until it is the program: system calls only. An errno; 0 never.
static int become(const struct start *start) {
  if (start->parent != 0) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return errno;
    if (getppid() != start->parent) _exit(127);
  }
  // Ignored signals would stay ignored; that some cannot be set is no matter.
  struct sigaction standard = {.sa_handler = SIG_DFL};
  for (int number = 1; number < NSIG; number++) sigaction(number, &standard, NULL);
  if (start->new_group && setpgid(0, 0) < 0) return errno;
  int last = -1;
  for (int i = 0; i < start->count; i++) {
    if (dup2(start->sources[i], start->targets[i]) < 0) return errno;
    if (start->targets[i] > last) last = start->targets[i];
  }
  // What lies between the targets, then everything above them.
  for (int fd = 0; fd < last; fd++) {
    int wanted = 0;
    for (int i = 0; i < start->count; i++) wanted |= start->targets[i] == fd;
    if (!wanted) close(fd);
  }
  if (close_range((unsigned)(last + 1), ~0u, 0) < 0) return errno;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (start->search) execvpe(start->path, start->arguments, start->environment);
  else execve(start->path, start->arguments, start->environment);
  return errno;
}

// As posix_spawn does it, which knows no parent death signal: the child borrows this memory, however large, and this
// thread waits for it to be the program. No handler of ours may run in it, so all signals are blocked.
static int start_child(const struct start *start) {
  sigset_t all, previous;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &previous);
  volatile int code = 0;
  pid_t process = vfork();
  if (process == 0) {
    code = become(start);
    _exit(127);
  }
  if (process < 0) code = errno;
  else if (code != 0) waitpid(process, NULL, 0);
  pthread_sigmask(SIG_SETMASK, &previous, NULL);
  return code != 0 ? -code : process;
}

int clinux_spawn(const char *path, int search, char *const arguments[], char *const environment[], const int *sources,
                 const int *targets, int count, int new_group, int ends_with_thread) {
  if (count < 0 || count > CLINUX_MAXIMUM_DESCRIPTORS) return -EINVAL;
  int high[CLINUX_MAXIMUM_DESCRIPTORS], made = 0, result = 0;
  for (; made < count && result >= 0; made++) {
    result = high[made] = duplicate_above(sources[made], targets, count);
    if (result < 0) break;
  }
  if (result >= 0) {
    struct start start = {.path = path,
                          .search = search,
                          .arguments = arguments,
                          .environment = environment ? environment : environ,
                          .sources = high,
                          .targets = targets,
                          .count = count,
                          .new_group = new_group,
                          .parent = ends_with_thread ? getpid() : 0};
    result = start_child(&start);
  }
  for (int i = 0; i < made; i++) close(high[i]);
  return result;
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
