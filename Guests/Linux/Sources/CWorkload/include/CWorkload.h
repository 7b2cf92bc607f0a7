#ifndef CWORKLOAD_H
#define CWORKLOAD_H

#include <stdint.h>

enum { WORKLOAD_REGISTER_WORDS = 64 };

/* Whether the processor has AVX and the kernel saves it. */
int workload_has_avx(void);

/* Loads the 16 AVX (or SSE) registers with words (4 each, of which SSE takes 2), an unusual rounding mode into MXCSR
 * and 8 integers into the x87 stack, spins, sleeps for the given time without another instruction touching them, spins
 * again, reads them back. Returns a bit per vector register that changed, bit 16 for MXCSR, bit 17 for the x87 stack. */
uint32_t workload_hold_registers(const uint64_t *words, int with_avx, uint64_t spins, int64_t sleep_nanoseconds);

/* Pins the calling thread unless cpu is -1; with a priority above 0, makes it real-time. Returns 0 or -errno. */
int workload_place_thread(int cpu, int priority);

/* A timer of CLOCK_MONOTONIC, first due at this time and then every period. Returns its descriptor or -errno. */
int workload_make_timer(int64_t first, int64_t period);

/* Waits until at least one period more is over; returns how many, or -errno. */
int64_t workload_wait_for_timer(int descriptor);

/* The input device of the power button. Returns its descriptor, or -errno when there is none. */
int workload_open_power_button(void);

/* Returns 0 when the button is pressed, or -errno. */
int workload_wait_for_power_button(int descriptor);

/* Opens a disk for direct I/O, reading and writing. Returns the descriptor or -errno. */
int workload_open_disk(const char *path);

/* The size of a disk in bytes, or -errno. */
int64_t workload_disk_size(int descriptor);

/* Powers the machine off, or restarts it. Returns only on failure, with -errno. */
int workload_end_machine(int restarts);

/* Sockets bound to a port on all addresses: a listening TCP one, a UDP one. Return the descriptor or -errno. */
int workload_listen(uint16_t port);
int workload_bind_datagrams(uint16_t port);

/* Accepts a connection with TCP_NODELAY set. Returns the descriptor or -errno. */
int workload_accept(int descriptor);

/* Receives one datagram and sends it back. Returns its length or -errno. */
long workload_echo_datagram(int descriptor);

#endif
