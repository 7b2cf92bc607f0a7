// Memory from one process to another over plain sockets, and nothing else: what any migration is held against.
//
//   BareCopy touch MIB                    takes memory, writes it and gives it back
//   BareCopy destination MIB ADDRESS N    listens, fills MIB of fresh memory from N connections, answers, ends
//   BareCopy source MIB                   reads "ADDRESS N" lines; copies its memory each time, prints the seconds
//
// ADDRESS is unix:PATH or tcp:PORT on 127.0.0.1, tcp:0 being any. Connection i takes each Nth MiB, straight from and to
// memory; there are no pages, headers or zero tests. A destination prints its address, then "cpu SECONDS" at its end.
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define MAXIMUM_CONNECTIONS 64

struct lane {
  pthread_t thread;
  int fd, index, count, sends;
  char *memory;
  size_t mebibytes;
};

static void fail(const char *what) {
  fprintf(stderr, "BareCopy: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double seconds(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static char *take_memory(size_t mebibytes) {
  char *start = mmap(NULL, (mebibytes + 2) * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) fail("mmap");
  char *aligned = (char *)(((uintptr_t)start + 2 * MIB - 1) & ~(uintptr_t)(2 * MIB - 1));
  madvise(aligned, mebibytes * MIB, MADV_HUGEPAGE);
  return aligned;
}

static void move_piece(const struct lane *lane, char *start, size_t length) {
  while (length > 0) {
    ssize_t done = lane->sends ? send(lane->fd, start, length, MSG_NOSIGNAL) : recv(lane->fd, start, length, MSG_WAITALL);
    if (done == 0 || (done < 0 && errno != EINTR)) fail(lane->sends ? "send" : "recv");
    if (done < 0) continue;
    start += done;
    length -= (size_t)done;
  }
}

static void *move(void *argument) {
  struct lane *lane = argument;
  for (size_t piece = (size_t)lane->index; piece < lane->mebibytes; piece += (size_t)lane->count)
    move_piece(lane, lane->memory + piece * MIB, MIB);
  // The destination says when it has everything.
  char byte = 0;
  ssize_t done = lane->sends ? recv(lane->fd, &byte, 1, 0) : send(lane->fd, &byte, 1, MSG_NOSIGNAL);
  if (done != 1) fail("answer");
  return NULL;
}

static void move_all(char *memory, size_t mebibytes, const int *descriptors, int count, int sends) {
  static struct lane lanes[MAXIMUM_CONNECTIONS];
  for (int index = 0; index < count; index++) {
    lanes[index] = (struct lane){0, descriptors[index], index, count, sends, memory, mebibytes};
    if (pthread_create(&lanes[index].thread, NULL, move, &lanes[index]) != 0) fail("pthread_create");
  }
  for (int index = 0; index < count; index++) pthread_join(lanes[index].thread, NULL);
}

static socklen_t parse(const char *text, struct sockaddr_storage *storage) {
  memset(storage, 0, sizeof *storage);
  if (strncmp(text, "unix:", 5) == 0) {
    struct sockaddr_un *address = (struct sockaddr_un *)storage;
    address->sun_family = AF_UNIX;
    if (snprintf(address->sun_path, sizeof address->sun_path, "%s", text + 5) >= (int)sizeof address->sun_path) exit(2);
    return sizeof *address;
  }
  struct sockaddr_in *address = (struct sockaddr_in *)storage;
  address->sin_family = AF_INET;
  address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address->sin_port = htons((uint16_t)atoi(text + 4));
  return sizeof *address;
}

static int connect_to(const char *text) {
  struct sockaddr_storage address;
  socklen_t length = parse(text, &address);
  int one = 1, fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, length) < 0) fail(text);
  if (address.ss_family == AF_INET) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static void run_destination(size_t mebibytes, const char *text, int count) {
  struct sockaddr_storage address;
  socklen_t length = parse(text, &address);
  int descriptors[MAXIMUM_CONNECTIONS];
  int listener = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, count) < 0) fail(text);
  getsockname(listener, (struct sockaddr *)&address, &length);
  if (address.ss_family == AF_INET) printf("tcp:%d\n", ntohs(((struct sockaddr_in *)&address)->sin_port));
  else printf("%s\n", text);
  fflush(stdout);
  char *memory = take_memory(mebibytes);
  for (int index = 0; index < count; index++) {
    descriptors[index] = accept(listener, NULL, NULL);
    if (descriptors[index] < 0) fail("accept");
  }
  move_all(memory, mebibytes, descriptors, count, 0);
  printf("cpu %.6f\n", seconds(CLOCK_PROCESS_CPUTIME_ID));
}

static void run_source(size_t mebibytes) {
  char *memory = take_memory(mebibytes);
  uint64_t *words = (uint64_t *)memory, value = 88172645463325252;
  for (size_t word = 0; word < mebibytes * MIB / 8; word++) {
    value ^= value << 13, value ^= value >> 7, value ^= value << 17;
    words[word] = value;
  }
  printf("ready\n");
  fflush(stdout);
  char text[256];
  int count, descriptors[MAXIMUM_CONNECTIONS];
  while (scanf("%255s %d", text, &count) == 2) {
    double start = seconds(CLOCK_MONOTONIC), used = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int index = 0; index < count; index++) descriptors[index] = connect_to(text);
    move_all(memory, mebibytes, descriptors, count, 1);
    for (int index = 0; index < count; index++) close(descriptors[index]);
    printf("%.6f cpu %.6f\n", seconds(CLOCK_MONOTONIC) - start, seconds(CLOCK_PROCESS_CPUTIME_ID) - used);
    fflush(stdout);
  }
}

int main(int count, char **arguments) {
  size_t mebibytes = count > 2 ? (size_t)strtoul(arguments[2], NULL, 10) : 0;
  int connections = count > 4 ? atoi(arguments[4]) : 1;
  if (mebibytes == 0 || connections < 1 || connections > MAXIMUM_CONNECTIONS) return 2;
  if (strcmp(arguments[1], "touch") == 0) memset(take_memory(mebibytes), 1, mebibytes * MIB);
  else if (strcmp(arguments[1], "source") == 0) run_source(mebibytes);
  else if (strcmp(arguments[1], "destination") == 0 && count > 4) run_destination(mebibytes, arguments[3], connections);
  else return 2;
  return 0;
}
