import Devices
import GuestMemory
import LinuxSystem
import Synchronization

/// A disk in memory.
final class MemoryDisk: DiskBackend {
    let byteCount: Int64
    let isReadOnly = false
    private let bytes: Mutex<[UInt8]>

    init(sectorCount: Int) {
        byteCount = Int64(sectorCount) * 512
        bytes = Mutex([UInt8](repeating: 0, count: sectorCount * 512))
    }

    func read(into slices: [GuestMemorySlice], at offset: Int64) throws(SystemError) {
        bytes.withLock { bytes in
            var at = Int(offset)
            for slice in slices {
                slice.bytes.copyBytes(from: bytes[at..<at + slice.byteCount])
                at += slice.byteCount
            }
        }
    }

    func write(_ slices: [GuestMemorySlice], at offset: Int64) throws(SystemError) {
        bytes.withLock { bytes in
            var at = Int(offset)
            for slice in slices {
                bytes.replaceSubrange(at..<at + slice.byteCount, with: slice.bytes)
                at += slice.byteCount
            }
        }
    }

    func flush() throws(SystemError) {}
    func discard(at offset: Int64, byteCount: Int64) throws(SystemError) {}
    func writeZeroes(at offset: Int64, byteCount: Int64, mayUnmap: Bool) throws(SystemError) {}
}
