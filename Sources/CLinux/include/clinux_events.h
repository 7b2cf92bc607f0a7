// Waiting: eventfd, epoll, timers, gates, kicks.
#ifndef CLINUX_EVENTS_H
#define CLINUX_EVENTS_H

#include <stdint.h>
#include <sys/epoll.h>

int clinux_eventfd(uint64_t initial);
int clinux_epoll_create(void);
// `operation`: EPOLL_CTL_ADD, _MOD, _DEL.
int clinux_epoll_control(int fd, int operation, int target, uint32_t events, uint64_t key);
// Keys and events of up to `count` ready descriptors; `timeout` in milliseconds, -1 for ever. 0 when interrupted
// by a signal, as when the time is up.
int clinux_epoll_wait(int fd, struct epoll_event *entries, int count, int timeout);
static inline uint64_t clinux_epoll_key(const struct epoll_event *entry) { return entry->data.u64; }
static inline uint32_t clinux_epoll_events(const struct epoll_event *entry) { return entry->events; }

// A timer that can be polled. `first` and `interval` in nanoseconds; first 0 stops it, interval 0 makes it fire once.
int clinux_timerfd(void);
int clinux_timerfd_set(int fd, int64_t first, int64_t interval);

// A gate: closed until opened; see LinuxSystem's Gate. Memory of the C library, because a mutex may not move.
struct clinux_gate;
struct clinux_gate *clinux_gate_create(int open);
void clinux_gate_destroy(struct clinux_gate *gate);
void clinux_gate_set(struct clinux_gate *gate, int open);
int clinux_gate_is_open(struct clinux_gate *gate);
// 1 when open, 0 when `nanoseconds` (negative: for ever) went by first.
int clinux_gate_wait(struct clinux_gate *gate, int64_t nanoseconds);

// Real-time signals that only interrupt a system call: SIGRTMIN + `index`, with a handler that does nothing.
int clinux_real_time_signal(int index);
int clinux_install_interrupting_signal(int number);
// Lets real-time signals reach the calling thread.
int clinux_unblock_real_time_signals(void);
int clinux_thread_id(void);
int clinux_signal_thread(int thread, int number);

#endif
