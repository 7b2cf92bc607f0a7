#include "CLinux.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

int clinux_name_thread(const char *name) {
  char shortened[16] = {0};
  strncpy(shortened, name, 15);
  return -pthread_setname_np(pthread_self(), shortened);
}

int clinux_thread_niceness(int32_t thread, int *niceness) {
  errno = 0;
  *niceness = getpriority(PRIO_PROCESS, (id_t)thread);
  return -errno;
}

int clinux_set_thread_niceness(int32_t thread, int niceness) {
  return setpriority(PRIO_PROCESS, (id_t)thread, niceness) < 0 ? -errno : 0;
}

// More than any kernel is built for.
#define PROCESSORS 8192

int clinux_keep_to_processors(int index, int count) {
  union {
    cpu_set_t first;
    unsigned char bytes[PROCESSORS / 8];
  } allowed = {0}, part = {0};
  if (sched_getaffinity(getpid(), sizeof allowed, &allowed.first) < 0) return -errno;
  int found = 0;
  for (int processor = 0; processor < PROCESSORS; processor++) {
    if (!CPU_ISSET_S(processor, sizeof allowed, &allowed.first)) continue;
    if (found++ % count == index) CPU_SET_S(processor, sizeof part, &part.first);
  }
  if (found < count) return -ERANGE;
  return sched_setaffinity(0, sizeof part, &part.first) < 0 ? -errno : 0;
}

void clinux_ignore_write_signals(void) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

static int termination_fd = -1;

static void report_termination(int number) {
  int saved = errno;
  unsigned char byte = (unsigned char)number;
  if (write(termination_fd, &byte, 1) < 0) { /* the pipe is full: it says so already */ }
  errno = saved;
}

int clinux_report_termination(int fd) {
  termination_fd = fd;
  struct sigaction action = {.sa_handler = report_termination, .sa_flags = SA_RESTART};
  const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
  for (int index = 0; index < 3; index++)
    if (sigaction(numbers[index], &action, NULL) < 0) return -errno;
  return 0;
}

int64_t clinux_monotonic_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int clinux_process_time(int process, int64_t *nanoseconds) {
  clockid_t clock;
  int error = clock_getcpuclockid(process, &clock);
  if (error != 0) return -error;
  struct timespec used;
  if (clock_gettime(clock, &used) < 0) return -errno;
  *nanoseconds = (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
  return 0;
}
