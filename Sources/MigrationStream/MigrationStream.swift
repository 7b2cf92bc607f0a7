// QEMU's migration stream as values: bytes in, values out, and the same bytes again.
//
// Read `StreamDecoder` and `StreamElement` first, then `StreamEncoder`; the other channels are `ReturnPathDecoder` and
// `MultifdDecoder`. Nothing here does I/O, keeps the bytes it is given, or allocates for each page: elements carry
// ranges of the caller's buffer. The module imports nothing, and must not begin to.
//
// See QEMU's docs/devel/migration and migration/{savevm,ram,multifd}.c for where the format comes from.

/// The first four bytes of a stream, "QEVM".
public let migrationStreamMagic: UInt32 = 0x5145_564d

/// The version of the stream format that QEMU has written since 2.4 and Apus writes.
public let migrationStreamVersion: UInt32 = 3
