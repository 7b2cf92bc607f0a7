#include "CLinux.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

int clinux_name_thread(const char *name) {
  char shortened[16] = {0};
  strncpy(shortened, name, 15);
  return -pthread_setname_np(pthread_self(), shortened);
}

void clinux_ignore_sigpipe(void) { signal(SIGPIPE, SIG_IGN); }

int64_t clinux_monotonic_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
