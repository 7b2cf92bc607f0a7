// What Swift cannot import: macros, variadic calls, _GNU_SOURCE. Each shim returns the call's result or -errno, so
// that the number cannot be overwritten before it is read. Raw calls are used by LinuxSystem and KVM only.
#ifndef CLINUX_H
#define CLINUX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/socket.h>
#include <poll.h>

#include "clinux_devices.h"
#include "clinux_events.h"
#include "clinux_kvm.h"
#include "clinux_memory.h"
#include "clinux_messages.h"
#include "clinux_process.h"
#include "clinux_userfaultfd.h"

// Descriptors.
int clinux_open(const char *path, int flags, unsigned int mode);
int clinux_close(int fd);
ssize_t clinux_read(int fd, void *buffer, size_t count);
ssize_t clinux_write(int fd, const void *buffer, size_t count);
ssize_t clinux_pread(int fd, void *buffer, size_t count, int64_t offset);
ssize_t clinux_pwrite(int fd, const void *buffer, size_t count, int64_t offset);
ssize_t clinux_readv(int fd, const struct iovec *vectors, int count);
ssize_t clinux_writev(int fd, const struct iovec *vectors, int count);
int64_t clinux_seek(int fd, int64_t offset, int whence);
// Calls `visit` with the name of each entry of a folder but . and .. ; 0 or -errno. -ENOTDIR if it is none.
int clinux_list_folder(const char *path, void *context, void (*visit)(void *context, const char *name));
// Opens and locks a folder of this user's; the lock is there until all copies of the descriptor are closed. -EAGAIN if
// another has it, -ESTALE if the folder went away meanwhile.
int clinux_lock_folder(const char *path);
// A file without a name in `folder`.
int clinux_open_temporary(const char *folder);
// Where the next data or hole begins from `offset` on; -ENXIO past the end, or when only a hole follows.
int64_t clinux_next_data(int fd, int64_t offset);
int64_t clinux_next_hole(int fd, int64_t offset);
int clinux_truncate(int fd, int64_t length);
int clinux_duplicate(int fd);
int clinux_pipe(int descriptors[2]);
int clinux_set_pipe_size(int fd, int bytes);
// Lets at most about this many bytes wait in a socket to be sent.
int clinux_limit_unsent(int fd, int byte_count);
// Of a TCP connection: fixes the room for what was not read yet, which is never made less than it is: the peer may have
// been told of it, and what has no room is lost and sent again. Needs CAP_NET_ADMIN. Without effect on other sockets.
int clinux_limit_unread(int fd, int byte_count);
// The shortest round trip that a TCP connection has seen, in us.
int64_t clinux_least_round_trip(int fd);
int clinux_set_nonblocking(int fd, int on);
int clinux_is_terminal(int fd);
int clinux_terminal_columns(int fd);
int clinux_poll(struct pollfd *entries, unsigned long count, int timeout_milliseconds);

// What a descriptor stands for: the file type bits of st_mode, and the size of a regular file.
int clinux_status(int fd, uint32_t *mode, int64_t *size);
// When a file was last modified, in nanoseconds of the wall clock; and sets that to now.
int clinux_modification_time(int fd, int64_t *nanoseconds);
int clinux_touch(int fd);

// Sockets. Close-on-exec always; a send never raises SIGPIPE.
int clinux_socket(int domain, int type);
int clinux_connect(int fd, const struct sockaddr *address, socklen_t length);
int clinux_bind(int fd, const struct sockaddr *address, socklen_t length);
int clinux_listen(int fd, int backlog);
int clinux_accept(int fd);
int clinux_shutdown(int fd, int how);
int clinux_set_option(int fd, int level, int name, int value);
int clinux_local_port(int fd);
// Gives a socket whose peer is on this host room for so many sent bytes, as far as the kernel allows it: a UNIX socket that
// has less, and TCP just so many, which takes CAP_NET_ADMIN. The room of others grows by itself.
int clinux_fit_local_buffer(int fd, int unix_bytes, int tcp_bytes);
// The error of a connect that was not waited for: 0 or -errno.
int clinux_socket_error(int fd);
// Sending without a copy (MSG_ZEROCOPY): allows it, sends (never waits), and takes one range of completed calls: 1 if there
// was one, 0 if not. `was_copied` says that the kernel copied after all.
int clinux_enable_zero_copy(int fd);
ssize_t clinux_send_uncopied(int fd, const struct iovec *vectors, size_t count);
int clinux_zero_copy_completion(int fd, uint32_t *first, uint32_t *last, int *was_copied);
// Lending: puts pages of memory into a pipe, and what is in the pipe into a socket, neither copied. Both take what there is
// room for, never wait (of a socket that does not) and give the byte count or -errno; -EAGAIN where there is no room.
ssize_t clinux_lend(int pipe, const struct iovec *vectors, size_t count);
ssize_t clinux_hand_on(int pipe, int socket, size_t count);
// Whether the other end is a process of this host: 1 or 0.
int clinux_is_unix_socket(int fd);
// Whether a socket's peer is on this host: 1 or 0.
int clinux_is_within_host(int fd);
// Whether the socket waits for connections: 1 or 0.
int clinux_is_listening(int fd);
// Removes the socket at `path`; anything else that is there stays.
int clinux_remove_socket(const char *path);
ssize_t clinux_send(int fd, const void *buffer, size_t count, int flags);
ssize_t clinux_send_vectors(int fd, const struct iovec *vectors, size_t count, int flags);
ssize_t clinux_receive_vectors(int fd, struct iovec *vectors, size_t count, int flags);
ssize_t clinux_peek(int fd, void *buffer, size_t count);

// Fills `address` with the UNIX socket address of `path`; the length, or -ENAMETOOLONG.
int clinux_unix_address(const char *path, struct sockaddr_storage *address);

// The `index`-th address of HOST:PORT (passive: to listen on). The length, 0 past the last, or the negative
// EAI_ code of getaddrinfo minus 10000.
int clinux_resolve(const char *host, const char *port, int passive, int index, struct sockaddr_storage *address,
                   int *family);
const char *clinux_resolve_error(int code);

// Makes a tap interface and drops it again: 0 or -errno.
int clinux_try_tap(void);

// Threads and processes.
int clinux_name_thread(const char *name);
// Of one thread, 0 for the calling one: Linux has a niceness for each.
int clinux_thread_niceness(int32_t thread, int *niceness);
int clinux_set_thread_niceness(int32_t thread, int niceness);
// Lets the calling thread run on every `count`-th processor of those that the process's first thread may use, from number
// `index` of them on. 0, -ERANGE if there are fewer than `count`, or -errno.
int clinux_keep_to_processors(int index, int count);
void clinux_ignore_write_signals(void);
// Makes SIGINT, SIGTERM and SIGHUP write their number, a byte, to `fd` instead of ending the process.
int clinux_report_termination(int fd);
int64_t clinux_monotonic_nanoseconds(void);

#endif
