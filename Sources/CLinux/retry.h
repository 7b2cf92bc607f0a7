// How a shim makes a system call. Not for importers: it is no part of include/.
#ifndef CLINUX_RETRY_H
#define CLINUX_RETRY_H

#include <errno.h>

// Makes the call again while a signal interrupts it, and returns its result or -errno.
#define RETRY(type, call)                       \
  type result;                                  \
  do result = (call);                           \
  while (result < 0 && errno == EINTR);         \
  return result < 0 ? -errno : result

#endif
