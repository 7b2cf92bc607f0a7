// QMP, QEMU's monitor protocol, as pure functions of bytes: JSON text, messages, both ends of a session, and the
// vocabulary of migration (capabilities, parameters, status).
//
// Read first: `QMPValue`, `ServerSession`, `ClientSession`. Imports nothing, makes no system call, never blocks; the
// transports are in Monitor (server) and QMPClient.
//
// The JSON is read and written here and not by Foundation's coders, because a QMP peer sees the reader: QEMU's dialect
// (single quotes, resynchronization after an error, several texts without a separator), its error texts, and 64-bit
// integers kept exact in both signednesses are part of the protocol, and the coders give none of them.
