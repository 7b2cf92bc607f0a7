// What the devices need of the host: disks, taps, random bytes, the wall clock.
#ifndef CLINUX_DEVICES_H
#define CLINUX_DEVICES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

// Vectored reads and writes at an offset; at most IOV_MAX vectors are used.
ssize_t clinux_preadv(int fd, const struct iovec *vectors, int count, int64_t offset);
ssize_t clinux_pwritev(int fd, const struct iovec *vectors, int count, int64_t offset);
int clinux_fdatasync(int fd);
// The size of a block device in bytes; -ENOTBLK for anything else.
int64_t clinux_block_device_size(int fd);
// Locks of the open file description (F_OFD_*): shared on `length` bytes from `offset` on, or off again. -EAGAIN if
// another holds it exclusively.
int clinux_lock_shared(int fd, int64_t offset, int64_t length);
int clinux_lock_exclusive(int fd, int64_t offset, int64_t length);
int clinux_unlock(int fd, int64_t offset, int64_t length);
// 1 if somebody else holds a lock, shared or not, on any of the bytes; 0 if nobody does.
int clinux_is_locked(int fd, int64_t offset, int64_t length);
// Drops what the host caches of a file.
int clinux_drop_cache(int fd);
// The space that a file takes on its disk, in bytes.
int64_t clinux_allocated_bytes(int fd);
// Gives a range of a file or block device up; its bytes read as anything (files: as zeros) afterwards.
int clinux_discard(int fd, int64_t offset, int64_t length);
// Makes a range of a file or block device read as zeros; `may_unmap` allows giving its space up.
int clinux_write_zeroes(int fd, int64_t offset, int64_t length, int may_unmap);

// Attaches to the tap `name`, with a virtio header before each frame. The descriptor is non-blocking.
int clinux_tap_open(const char *name);
// The length of the header before each frame.
int clinux_tap_set_header_length(int fd, int length);
// Which offloads the guest can take; bits of TUNSETOFFLOAD.
int clinux_tap_set_offload(int fd, unsigned int offload);
enum { CLINUX_TAP_CSUM = 1, CLINUX_TAP_TSO4 = 2, CLINUX_TAP_TSO6 = 4, CLINUX_TAP_ECN = 8, CLINUX_TAP_UFO = 16 };

// Makes a terminal in raw mode: its master is returned, its other end is `*other`, whose path is written to `path`.
int clinux_pseudo_terminal(char *path, size_t size, int *other);

// Fills `count` bytes from the kernel's generator.
int clinux_random(void *buffer, size_t count);
int64_t clinux_wall_nanoseconds(void);

#endif
