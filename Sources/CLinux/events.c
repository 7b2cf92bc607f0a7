#include "CLinux.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int clinux_eventfd(uint64_t initial) {
  if (initial > UINT32_MAX) return -EINVAL;
  int fd = eventfd((unsigned int)initial, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

int clinux_epoll_create(void) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int clinux_epoll_control(int fd, int operation, int target, uint32_t events, uint64_t key) {
  struct epoll_event event = {.events = events, .data.u64 = key};
  return epoll_ctl(fd, operation, target, &event) < 0 ? -errno : 0;
}

int clinux_epoll_wait(int fd, struct epoll_event *entries, int count, int timeout) {
  int result = epoll_wait(fd, entries, count, timeout);
  if (result < 0 && errno == EINTR) return 0;
  return result < 0 ? -errno : result;
}

int clinux_timerfd(void) {
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

static struct timespec from_nanoseconds(int64_t nanoseconds) {
  return (struct timespec){.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
}

int clinux_timerfd_set(int fd, int64_t first, int64_t interval) {
  struct itimerspec times = {.it_value = from_nanoseconds(first), .it_interval = from_nanoseconds(interval)};
  return timerfd_settime(fd, 0, &times, NULL) < 0 ? -errno : 0;
}

struct clinux_gate {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int open;
};

struct clinux_gate *clinux_gate_create(int open) {
  struct clinux_gate *gate = malloc(sizeof *gate);
  if (!gate) abort();
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_mutex_init(&gate->mutex, NULL);
  pthread_cond_init(&gate->changed, &attributes);
  pthread_condattr_destroy(&attributes);
  gate->open = open;
  return gate;
}

void clinux_gate_destroy(struct clinux_gate *gate) {
  pthread_cond_destroy(&gate->changed);
  pthread_mutex_destroy(&gate->mutex);
  free(gate);
}

void clinux_gate_set(struct clinux_gate *gate, int open) {
  pthread_mutex_lock(&gate->mutex);
  gate->open = open;
  if (open) pthread_cond_broadcast(&gate->changed);
  pthread_mutex_unlock(&gate->mutex);
}

int clinux_gate_is_open(struct clinux_gate *gate) {
  pthread_mutex_lock(&gate->mutex);
  int open = gate->open;
  pthread_mutex_unlock(&gate->mutex);
  return open;
}

int clinux_gate_wait(struct clinux_gate *gate, int64_t nanoseconds) {
  struct timespec end = {0};
  if (nanoseconds >= 0) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    end.tv_sec = now.tv_sec + nanoseconds / 1000000000;
    end.tv_nsec = now.tv_nsec + nanoseconds % 1000000000;
    if (end.tv_nsec >= 1000000000) {
      end.tv_sec++;
      end.tv_nsec -= 1000000000;
    }
  }
  pthread_mutex_lock(&gate->mutex);
  int code = 0;
  while (!gate->open && code == 0)
    code = nanoseconds < 0 ? pthread_cond_wait(&gate->changed, &gate->mutex)
                           : pthread_cond_timedwait(&gate->changed, &gate->mutex, &end);
  int open = gate->open;
  pthread_mutex_unlock(&gate->mutex);
  return open;
}

int clinux_real_time_signal(int index) { return SIGRTMIN + index; }

static void do_nothing(int number) { (void)number; }

int clinux_install_interrupting_signal(int number) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = do_nothing;
  sigemptyset(&action.sa_mask);
  return sigaction(number, &action, NULL) < 0 ? -errno : 0;
}

int clinux_unblock_real_time_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  for (int number = SIGRTMIN; number <= SIGRTMAX; number++) sigaddset(&set, number);
  return -pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int clinux_thread_id(void) { return (int)syscall(SYS_gettid); }

int clinux_signal_thread(int thread, int number) {
  return syscall(SYS_tgkill, getpid(), thread, number) < 0 ? -errno : 0;
}
