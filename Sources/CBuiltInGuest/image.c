#include "CBuiltInGuest.h"

extern const unsigned char apus_guest_image[], apus_guest_end[];

const void *cbuiltinguest_image(void) { return apus_guest_image; }
size_t cbuiltinguest_size(void) { return (size_t)(apus_guest_end - apus_guest_image); }
