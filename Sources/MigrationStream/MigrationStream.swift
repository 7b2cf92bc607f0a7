/// The version of the stream format that QEMU has written since 2.4 and Apus writes.
public let migrationStreamVersion: UInt32 = 3
