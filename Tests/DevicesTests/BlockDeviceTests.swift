import Devices
import GuestMemory
import LinuxSystem
import Synchronization
import Testing

/// A disk in memory that can be told to fail.
final class MemoryDisk: DiskBackend {
    struct State: Sendable {
        var bytes: [UInt8]
        var log: [String] = []
        var failing: Set<String> = []
    }

    let byteCount: Int64
    let isReadOnly: Bool
    let state: Mutex<State>

    init(sectorCount: Int, isReadOnly: Bool = false) {
        byteCount = Int64(sectorCount) * 512
        self.isReadOnly = isReadOnly
        state = Mutex(State(bytes: (0..<sectorCount * 512).map { UInt8(truncatingIfNeeded: $0 / 512 + 1) }))
    }

    var log: [String] { state.withLock { $0.log } }
    func fail(_ operations: Set<String>) { state.withLock { $0.failing = operations } }
    func sector(_ index: Int) -> [UInt8] { state.withLock { Array($0.bytes[index * 512..<(index + 1) * 512]) } }

    private func note(_ operation: String, _ body: (inout State) -> Void) throws(SystemError) {
        let fails = state.withLock { state in
            state.log.append(operation)
            if state.failing.contains(operation) { return true }
            body(&state)
            return false
        }
        if fails { throw SystemError(call: operation, subject: "disk", number: SystemError.inputOutput) }
    }

    func read(into slices: [GuestMemorySlice], at offset: Int64) throws(SystemError) {
        try note("read") { state in
            var at = Int(offset)
            for slice in slices {
                slice.bytes.copyBytes(from: state.bytes[at..<at + slice.byteCount])
                at += slice.byteCount
            }
        }
    }

    func write(_ slices: [GuestMemorySlice], at offset: Int64) throws(SystemError) {
        try note("write") { state in
            var at = Int(offset)
            for slice in slices {
                state.bytes.replaceSubrange(at..<at + slice.byteCount, with: slice.bytes)
                at += slice.byteCount
            }
        }
    }

    func flush() throws(SystemError) { try note("flush") { _ in } }
    func discard(at offset: Int64, byteCount: Int64) throws(SystemError) { try note("discard") { _ in } }

    func writeZeroes(at offset: Int64, byteCount: Int64, mayUnmap: Bool) throws(SystemError) {
        try note(mayUnmap ? "unmap" : "zero") { state in
            for index in Int(offset)..<Int(offset + byteCount) { state.bytes[index] = 0 }
        }
    }
}

/// A driver of a disk: header at 0x20_0000, status at 0x20_1000, data at 0x20_2000.
struct DiskDriver {
    var driver: TestDriver
    let disk: MemoryDisk

    init(
        _ disk: MemoryDisk = MemoryDisk(sectorCount: 100), features: UInt64 = 1 << 32 | 1 << 9,
        onFailure: @escaping @Sendable (SystemError) -> Void = { _ in }
    ) throws {
        self.disk = disk
        driver = try TestDriver(
            guest: TestGuest(),
            device: BlockDevice(backend: disk, serialNumber: "apus-1", onFailure: onFailure))
        try driver.start(features: features)
    }

    var memory: GuestAddressSpace { driver.guest.memory }

    /// Does a request; its status, and the bytes said to be written.
    mutating func request(
        type: UInt32, sector: UInt64, data: [UInt8] = [], readByteCount: UInt32 = 0
    ) throws -> (status: UInt8, used: UInt32) {
        try memory.write(UInt64(type), at: GuestAddress(0x20_0000))
        try memory.write(sector, at: GuestAddress(0x20_0008))
        try memory.write([0xEE], at: GuestAddress(0x20_1000))
        try memory.write(data, at: GuestAddress(0x20_2000))
        var buffers: [DriverQueue.Buffer] = [.init(address: 0x20_0000, byteCount: 16)]
        if !data.isEmpty { buffers.append(.init(address: 0x20_2000, byteCount: UInt32(data.count))) }
        if readByteCount > 0 {
            buffers.append(.init(address: 0x20_2000, byteCount: readByteCount, isWritable: true))
        }
        buffers.append(.init(address: 0x20_1000, byteCount: 1, isWritable: true))
        let used = try driver.exchange(0, buffers)
        return (try memory.bytes(at: GuestAddress(0x20_1000), count: 1)[0], try #require(used.first).byteCount)
    }

    func data(_ count: Int) throws -> [UInt8] { try memory.bytes(at: GuestAddress(0x20_2000), count: count) }
}

@Suite("virtio-blk") struct BlockDeviceTests {
    @Test func `reads sectors into guest memory and marks it dirty`() throws {
        var disk = try DiskDriver()
        defer { disk.driver.transport.end() }
        disk.driver.guest.ram.dirtyBitmap.clearAll()
        let result = try disk.request(type: 0, sector: 3, readByteCount: 1024)
        #expect(result == (0, 1025))
        #expect(try disk.data(1024) == [UInt8](repeating: 4, count: 512) + [UInt8](repeating: 5, count: 512))
        #expect(disk.driver.guest.ram.dirtyBitmap.contains(PageIndex(0x202)))
    }

    @Test func `writes sectors and flushes only when asked`() throws {
        var disk = try DiskDriver()
        defer { disk.driver.transport.end() }
        #expect(try disk.request(type: 1, sector: 99, data: [UInt8](repeating: 0xAB, count: 512)) == (0, 1))
        #expect(disk.disk.sector(99) == [UInt8](repeating: 0xAB, count: 512))
        #expect(disk.disk.log == ["write"])
        #expect(try disk.request(type: 4, sector: 0) == (0, 1))
        #expect(disk.disk.log == ["write", "flush"])
    }

    @Test func `a driver that cannot flush has each write flushed`() throws {
        var disk = try DiskDriver(features: 1 << 32)
        defer { disk.driver.transport.end() }
        _ = try disk.request(type: 1, sector: 0, data: [UInt8](repeating: 1, count: 512))
        #expect(disk.disk.log == ["write", "flush"])
    }

    @Test func `a driver may turn the write-back cache off`() throws {
        var disk = try DiskDriver(features: 1 << 32 | 1 << 9 | 1 << 11)
        defer { disk.driver.transport.end() }
        #expect(disk.driver.transport.read(at: 0x120, width: 1) == 1)
        disk.driver.transport.write(0, at: 0x120, width: 1)
        #expect(disk.driver.transport.read(at: 0x120, width: 1) == 0)
        _ = try disk.request(type: 1, sector: 0, data: [UInt8](repeating: 1, count: 512))
        #expect(disk.disk.log == ["write", "flush"])
    }

    @Test(arguments: [(100, 512), (99, 1024), (0, 100), (.max, 512), (1 << 55, 512)] as [(UInt64, UInt32)])
    func `sectors that are not on the disk are an I/O error`(sector: UInt64, byteCount: UInt32) throws {
        var disk = try DiskDriver()
        defer { disk.driver.transport.end() }
        #expect(try disk.request(type: 0, sector: sector, readByteCount: byteCount).status == 1)
        #expect(
            try disk.request(type: 1, sector: sector, data: [UInt8](repeating: 1, count: Int(byteCount))).status == 1)
        #expect(disk.disk.log.isEmpty)
    }

    @Test(arguments: [("read", 0), ("write", 1), ("flush", 4)] as [(String, UInt32)])
    func `an error of the host's disk becomes an I/O error and the next request works`(
        operation: String, type: UInt32
    ) throws {
        let failures = Mutex<[SystemError]>([])
        var disk = try DiskDriver { error in failures.withLock { $0.append(error) } }
        defer { disk.driver.transport.end() }
        let data = type == 1 ? [UInt8](repeating: 1, count: 512) : []
        disk.disk.fail([operation])
        #expect(try disk.request(type: type, sector: 0, data: data, readByteCount: type == 0 ? 512 : 0).status == 1)
        disk.disk.fail([])
        #expect(try disk.request(type: type, sector: 0, data: data, readByteCount: type == 0 ? 512 : 0).status == 0)
        #expect(failures.withLock { $0.count } == 1, "the monitor is told once")
    }

    @Test func `a read-only disk refuses writes, discards and zeroing`() throws {
        var disk = try DiskDriver(MemoryDisk(sectorCount: 10, isReadOnly: true))
        defer { disk.driver.transport.end() }
        #expect(disk.driver.offered & 1 << 5 != 0)
        #expect(try disk.request(type: 1, sector: 0, data: [UInt8](repeating: 1, count: 512)).status == 1)
        #expect(try disk.request(type: 11, sector: 0, data: [UInt8](repeating: 0, count: 16)).status == 1)
        #expect(try disk.request(type: 13, sector: 0, data: [UInt8](repeating: 0, count: 16)).status == 1)
        #expect(try disk.request(type: 0, sector: 0, readByteCount: 512).status == 0)
    }

    @Test func `write zeroes makes sectors zero and may unmap them`() throws {
        var disk = try DiskDriver()
        defer { disk.driver.transport.end() }
        // Sector 5, two of them, no flags; then with the flag to unmap.
        #expect(
            try disk.request(type: 13, sector: 0, data: [5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]).status == 0)
        #expect(disk.disk.sector(4).allSatisfy { $0 == 5 })
        #expect(disk.disk.sector(5).allSatisfy { $0 == 0 } && disk.disk.sector(6).allSatisfy { $0 == 0 })
        #expect(disk.disk.sector(7).allSatisfy { $0 == 8 })
        #expect(
            try disk.request(type: 13, sector: 0, data: [5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0]).status == 0)
        #expect(disk.disk.log == ["zero", "unmap"])
    }

    @Test(
        arguments: [
            ([99, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], 1),
            ([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0], 2),
            ([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], 2), ([UInt8](repeating: 0, count: 32), 2), ([1], 2),
        ] as [([UInt8], UInt8)])
    func `a discard that is out of range or malformed has its status`(segment: [UInt8], status: UInt8) throws {
        var disk = try DiskDriver()
        defer { disk.driver.transport.end() }
        #expect(try disk.request(type: 11, sector: 0, data: segment).status == status)
        #expect(disk.disk.log.isEmpty)
    }

    @Test func `the serial number is 20 bytes`() throws {
        var disk = try DiskDriver()
        defer { disk.driver.transport.end() }
        #expect(try disk.request(type: 8, sector: 0, readByteCount: 20) == (0, 21))
        #expect(try disk.data(20) == Array("apus-1".utf8) + [UInt8](repeating: 0, count: 14))
    }

    @Test func `an unknown request is unsupported`() throws {
        var disk = try DiskDriver()
        defer { disk.driver.transport.end() }
        #expect(try disk.request(type: 77, sector: 0).status == 2)
    }

    @Test func `a request without a status byte makes the device need a reset`() throws {
        var disk = try DiskDriver()
        defer { disk.driver.transport.end() }
        #expect(try disk.driver.exchange(0, [.init(address: 0x20_0000, byteCount: 16)]).isEmpty)
        #expect(disk.driver.status & 64 != 0)
    }

    @Test func `the configuration space is QEMU's`() throws {
        let disk = try DiskDriver(MemoryDisk(sectorCount: 4032))
        defer { disk.driver.transport.end() }
        let transport = disk.driver.transport
        #expect(transport.read(at: 0x100, width: 8) == 4032)
        #expect(transport.read(at: 0x10C, width: 4) == 254)
        #expect(transport.read(at: 0x110, width: 2) == 4)
        #expect(transport.read(at: 0x112, width: 1) == 16)
        #expect(transport.read(at: 0x113, width: 1) == 63)
        #expect(transport.read(at: 0x114, width: 4) == 512)
        #expect(transport.read(at: 0x138, width: 1) == 1)
        #expect(transport.read(at: 0x139, width: 1) == 0xFF)
    }

    @Test func `a file is read, written and zeroed where the requests say`() throws {
        let path = "/tmp/apus-rawdisk-test-\(monotonicNanoseconds)"
        do {
            let file = try OwnedDescriptor(opening: path, for: .replacing)
            try file.truncate(to: 100 * 512 + 17)
        }
        defer { removeFile(path) }
        let disk = try RawDisk(path: path)
        #expect(disk.byteCount == 100 * 512)
        let guest = try TestGuest()
        try guest.memory.write([UInt8](repeating: 7, count: 1024), at: GuestAddress(0x1000))
        let source = try guest.memory.slice(at: GuestAddress(0x1000), byteCount: 512)
        let other = try guest.memory.slice(at: GuestAddress(0x1200), byteCount: 512)
        try disk.write([source, other], at: 50 * 512)
        try disk.writeZeroes(at: 51 * 512, byteCount: 512, mayUnmap: true)
        try disk.flush()
        let target = try guest.memory.slice(at: GuestAddress(0x8000), byteCount: 3 * 512)
        try disk.read(into: [target.part(from: 0, count: 100), target.part(from: 100)], at: 49 * 512)
        let expected =
            [UInt8](repeating: 0, count: 512) + [UInt8](repeating: 7, count: 512)
            + [UInt8](repeating: 0, count: 512)
        #expect(Array(target.bytes) == expected)
    }

    @Test func `a file that has become shorter than its disk gives an I/O error`() throws {
        let path = "/tmp/apus-rawdisk-test-\(monotonicNanoseconds)"
        let file = try OwnedDescriptor(opening: path, for: .replacing)
        defer { removeFile(path) }
        try file.truncate(to: 100 * 512)
        let disk = try RawDisk(path: path)
        try file.truncate(to: 50 * 512)
        let guest = try TestGuest()
        let slice = try guest.memory.slice(at: GuestAddress(0x1000), byteCount: 1024)
        try disk.read(into: [slice], at: 48 * 512)
        let error = SystemError(call: "read disk", subject: path, number: SystemError.inputOutput)
        #expect(throws: error) { try disk.read(into: [slice], at: 49 * 512) }
        #expect(throws: error) { try disk.read(into: [slice], at: 60 * 512) }
    }

    @Test func `a disk image that is a directory is refused by name`() {
        #expect(throws: SystemError.self) { try RawDisk(path: "/tmp", isReadOnly: true) }
        #expect(throws: SystemError.self) { try RawDisk(path: "/nonexistent/disk") }
    }
}
