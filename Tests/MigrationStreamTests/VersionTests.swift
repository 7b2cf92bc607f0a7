import MigrationStream
import Testing

@Test func `the stream version is the one QEMU writes`() { #expect(migrationStreamVersion == 3) }
