import Devices
import GuestMemory
import LinuxSystem
import MigrationStream
import Synchronization
import Testing

/// Remembers which pages were told of.
private final class FreePages: FreePageReceiver {
    private let state = Mutex<(pages: [PageRange], endCount: Int)>(([], 0))
    var pages: [PageRange] { state.withLock { $0.pages } }
    var endCount: Int { state.withLock { $0.endCount } }
    func pagesAreFree(_ pages: PageRange, in block: RAMBlock) { state.withLock { $0.pages.append(pages) } }
    func hintsEnded() { state.withLock { $0.endCount += 1 } }
}

@Suite("Balloon") struct BalloonDeviceTests {
    private static let hints: UInt64 = 1 << 3
    private static let poison: UInt64 = 1 << 4
    private static let reporting: UInt64 = 1 << 5
    private let guest: TestGuest

    init() throws { guest = try TestGuest() }

    private func make(hasHints: Bool = false, hasReporting: Bool = false) throws -> (BalloonDevice, TestDriver) {
        let device = BalloonDevice(ramByteCount: 4 << 20, hasHints: hasHints, hasReporting: hasReporting)
        return (device, try TestDriver(guest: guest, device: device))
    }

    private func write(_ words: [UInt32], at address: UInt64) throws {
        let bytes = words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
        try guest.memory.write(bytes, at: GuestAddress(address))
    }

    /// Fills pages with a byte.
    private func fill(_ pages: Range<UInt64>) throws {
        try guest.memory.write(
            [UInt8](repeating: 0xA5, count: pages.count * 4096), at: GuestAddress(pages.lowerBound * 4096))
    }

    private func firstByte(of page: UInt64) throws -> UInt8 {
        try guest.memory.bytes(at: GuestAddress(page * 4096), count: 1)[0]
    }

    @Test func `pages that the guest gives are empty, and count as written`() throws {
        var (_, driver) = try make()
        try driver.start()
        try fill(0x200..<0x210)
        guest.ram.dirtyBitmap.clearAll()
        // Downwards and with a gap, as Linux lists them.
        try write([0x205, 0x204, 0x203, 0x208], at: 0x1000)
        _ = try driver.exchange(0, [.init(address: 0x1000, byteCount: 16)])
        let empty: Set<UInt64> = [0x203, 0x204, 0x205, 0x208]
        for page in UInt64(0x200)..<0x210 {
            #expect(try firstByte(of: page) == (empty.contains(page) ? 0 : 0xA5), "page \(page)")
            if empty.contains(page) { #expect(guest.ram.dirtyBitmap.contains(PageIndex(Int(page)))) }
        }
        _ = try driver.exchange(1, [.init(address: 0x1000, byteCount: 16)])
        #expect(driver.status & 64 == 0)
    }

    @Test func `pages that are no memory are left alone`() throws {
        var (_, driver) = try make()
        try driver.start()
        try fill(0x3FF..<0x400)
        try write([0x3FF, 0x400, 0x401, 0xFFFF_FFFF, 0xFEB00], at: 0x1000)
        _ = try driver.exchange(0, [.init(address: 0x1000, byteCount: 20)])
        #expect(try firstByte(of: 0x3FF) == 0)
        #expect(driver.status & 64 == 0)
    }

    @Test func `the target is told in pages, and what the guest gave comes back`() throws {
        var (device, driver) = try make()
        try driver.start()
        device.setTarget(byteCount: 3 << 20)
        #expect(driver.line.waitUntilHigh() && driver.read(0x60) == 2)
        #expect(driver.read(0x100) == 256)
        driver.write(100, to: 0x104)
        #expect(device.inflatedByteCount == 100 * 4096)
        device.setTarget(byteCount: 8 << 20)
        #expect(driver.read(0x100) == 0, "more than there is takes nothing")
    }

    @Test func `pages that are reported free are empty, unless the guest poisons them`() throws {
        var (_, driver) = try make(hasReporting: true)
        try driver.start(features: 1 << 32 | Self.reporting | Self.poison)
        try fill(0x200..<0x204)
        let pages = DriverQueue.Buffer(address: 0x20_1000, byteCount: 0x2000, isWritable: true)
        _ = try driver.exchange(3, [pages])
        #expect(try (0x200..<0x204).map { try firstByte(of: $0) } == [0xA5, 0, 0, 0xA5])
        driver.write(0xAA, to: 0x10C)
        try fill(0x200..<0x204)
        _ = try driver.exchange(3, [pages])
        #expect(try (0x200..<0x204).map { try firstByte(of: $0) } == [0xA5, 0xA5, 0xA5, 0xA5])
    }

    @Test func `hints are told between the answer to a request and the end`() throws {
        var (device, driver) = try make(hasHints: true)
        let receiver = FreePages()
        #expect(!device.startHints(receiver), "no driver has accepted hints")
        try driver.start(features: 1 << 32 | Self.hints)
        #expect(device.startHints(receiver))
        let id = driver.read(0x108)
        #expect(id >= 0x8000_0000)
        // Half pages at both ends do not count.
        let pages = DriverQueue.Buffer(address: 0x20_0800, byteCount: 0x3000, isWritable: true)
        _ = try driver.exchange(3, [pages])
        #expect(receiver.pages == [], "before the answer")
        try write([id &+ 7], at: 0x1000)
        _ = try driver.exchange(3, [.init(address: 0x1000, byteCount: 4)])
        _ = try driver.exchange(3, [pages])
        #expect(receiver.pages == [], "the answer to another request")
        try write([id], at: 0x1000)
        _ = try driver.exchange(3, [.init(address: 0x1000, byteCount: 4)])
        _ = try driver.exchange(3, [pages])
        #expect(receiver.pages == [PageRange(first: PageIndex(0x201), pageCount: 2)])
        try write([0], at: 0x1000)
        _ = try driver.exchange(3, [.init(address: 0x1000, byteCount: 4)])
        #expect(receiver.endCount == 1)
        _ = try driver.exchange(3, [pages])
        #expect(receiver.pages.count == 1, "after the end")
        device.finishHints()
        #expect(driver.read(0x108) == 1)
        #expect(device.startHints(receiver) && driver.read(0x108) == id + 1)
    }

    @Test func `state moves, and a request for hints ends with its migration`() throws {
        var (device, driver) = try make(hasHints: true)
        try driver.start(features: 1 << 32 | Self.hints | Self.poison)
        device.setTarget(byteCount: 2 << 20)
        driver.write(300, to: 0x104)
        driver.write(0xAA, to: 0x10C)
        let receiver = FreePages()
        #expect(device.startHints(receiver))
        driver.transport.pause()
        let saved = driver.transport.saveSection()
        let (other, moved) = try make(hasHints: true)
        moved.transport.pause()
        try moved.transport.loadSection(saved.bytes, version: saved.version)
        #expect(other.inflatedByteCount == 300 * 4096)
        #expect([0x100, 0x104, 0x108, 0x10C].map { moved.read($0) } == [512, 300, 0, 0xAA])
    }

    @Test func `a reset forgets the guest's side and keeps the target`() throws {
        var (device, driver) = try make()
        try driver.start()
        device.setTarget(byteCount: 1 << 20)
        driver.write(10, to: 0x104)
        driver.write(0, to: 0x70)
        #expect(driver.read(0x100) == 768 && device.inflatedByteCount == 0)
    }
}
