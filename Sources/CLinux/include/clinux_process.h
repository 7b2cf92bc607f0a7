// Child processes with chosen descriptors only, and descriptors sent over UNIX sockets.
#ifndef CLINUX_PROCESS_H
#define CLINUX_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

// Starts `path` (looked up in PATH if `search`) with `arguments` and `environment` (NULL: this process's). The child
// has `sources[i]` as its descriptor `targets[i]` and no other descriptor at all; signals are at their defaults. It
// leads a process group of its own if `new_group`. If `ends_with_thread`, the kernel kills it when the calling thread
// ends, be it that the whole process is killed (a program that gains rights by its file is left alone). The process id,
// or -errno.
int clinux_spawn(const char *path, int search, char *const arguments[], char *const environment[], const int *sources,
                 const int *targets, int count, int new_group, int ends_with_thread);
// Waits for a child: 1 with its status (0...255 exit status, 1000 + n ended by signal n), 0 if it still runs and
// `block` is 0.
int clinux_wait(int process, int block, int *status);
int clinux_signal_process(int process, int number);
// A descriptor that becomes readable when the child ends.
int clinux_pidfd(int process);

// What a process has used of processors so far, all its threads, ended ones too.
int clinux_process_time(int process, int64_t *nanoseconds);

// Sends bytes with up to CLINUX_MAXIMUM_DESCRIPTORS descriptors; at least one byte.
enum { CLINUX_MAXIMUM_DESCRIPTORS = 64 };
ssize_t clinux_send_descriptors(int fd, const void *bytes, size_t count, const int *descriptors, int descriptor_count);
// Receives bytes and the descriptors that came with them, close-on-exec. `*descriptor_count` is the capacity going in
// and how many were stored coming out; surplus ones are closed and `*truncated` is set.
ssize_t clinux_receive_descriptors(int fd, void *bytes, size_t count, int flags, int *descriptors,
                                   int *descriptor_count, int *truncated);
int clinux_unix_socket_pair(int descriptors[2]);

#endif
