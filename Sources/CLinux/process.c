#include "CLinux.h"

#include <errno.h>
#include <pthread.h>
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
