// The built-in guest: a complete ELF64 image with a PVH entry, in this program's read-only data.
#ifndef CBUILTINGUEST_H
#define CBUILTINGUEST_H

#include <stddef.h>

const void *cbuiltinguest_image(void);
size_t cbuiltinguest_size(void);

#endif
