#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/input.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "CWorkload.h"

int workload_place_thread(int cpu, int priority) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu >= 0) CPU_SET(cpu, &set);
  if (cpu >= 0 && sched_setaffinity(0, sizeof set, &set) < 0) return -errno;
  struct sched_param parameters = {.sched_priority = priority};
  if (priority > 0 && sched_setscheduler(0, SCHED_FIFO, &parameters) < 0) return -errno;
  return 0;
}

static struct timespec seconds_of(int64_t nanoseconds) {
  return (struct timespec){nanoseconds / 1000000000, nanoseconds % 1000000000};
}

int workload_make_timer(int64_t first, int64_t period) {
  struct itimerspec time = {.it_interval = seconds_of(period), .it_value = seconds_of(first)};
  int descriptor = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  if (descriptor < 0 || timerfd_settime(descriptor, TFD_TIMER_ABSTIME, &time, NULL) < 0) return -errno;
  return descriptor;
}

int64_t workload_wait_for_timer(int descriptor) {
  uint64_t count;
  return read(descriptor, &count, sizeof count) < 0 ? -errno : (int64_t)count;
}

int workload_open_power_button(void) {
  for (int number = 0; number < 16; number++) {
    char path[32], name[64] = "";
    snprintf(path, sizeof path, "/dev/input/event%d", number);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) continue;
    if (ioctl(descriptor, EVIOCGNAME(sizeof name - 1), name) >= 0 && !strcmp(name, "Power Button")) return descriptor;
    close(descriptor);
  }
  return -ENODEV;
}

int workload_wait_for_power_button(int descriptor) {
  struct input_event event;
  while (read(descriptor, &event, sizeof event) == sizeof event)
    if (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1) return 0;
  return -errno;
}

int workload_open_disk(const char *path) {
  int descriptor = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
}

int64_t workload_disk_size(int descriptor) {
  uint64_t size;
  return ioctl(descriptor, BLKGETSIZE64, &size) < 0 ? -errno : (int64_t)size;
}

int workload_end_machine(int restarts) {
  sync();
  return reboot(restarts ? RB_AUTOBOOT : RB_POWER_OFF) < 0 ? -errno : 0;
}

static int bound_socket(int type, uint16_t port) {
  int descriptor = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;
  if (descriptor < 0) return -errno;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0 ||
      (type == SOCK_STREAM && listen(descriptor, 16) < 0)) {
    int error = errno;
    close(descriptor);
    return -error;
  }
  return descriptor;
}

int workload_listen(uint16_t port) { return bound_socket(SOCK_STREAM, port); }

int workload_bind_datagrams(uint16_t port) { return bound_socket(SOCK_DGRAM, port); }

int workload_accept(int descriptor) {
  int connection = accept4(descriptor, NULL, NULL, SOCK_CLOEXEC), on = 1;
  if (connection < 0) return -errno;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return connection;
}

long workload_echo_datagram(int descriptor) {
  char bytes[9000];
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  ssize_t count = recvfrom(descriptor, bytes, sizeof bytes, 0, (struct sockaddr *)&address, &length);
  if (count >= 0) count = sendto(descriptor, bytes, (size_t)count, MSG_NOSIGNAL, (struct sockaddr *)&address, length);
  return count < 0 ? -errno : count;
}
