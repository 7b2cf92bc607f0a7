// Messages with descriptors over sockets that do not wait, and what else a control socket needs.
#ifndef CLINUX_MESSAGES_H
#define CLINUX_MESSAGES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Looks at up to `count` bytes without taking them and without waiting. `has_descriptors` is 1 when descriptors came
// with one of these bytes, or will come with a byte behind them.
ssize_t clinux_peek_messages(int fd, void *bytes, size_t count, int *has_descriptors);

// Whether the number is a descriptor of this process.
int clinux_is_open(int fd);

void clinux_wall_clock(int64_t *seconds, int64_t *nanoseconds);

#endif
