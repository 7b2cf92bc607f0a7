import BuiltInGuest
import Glibc
import GuestMemory
import GuestSupport
import LinuxSystem
import Machine
import Migration
import Synchronization
import Testing
import Transports

/// A way for both sides to meet.
enum Meeting: String, CaseIterable, Sendable {
    case tcp, unix, descriptors, command

    func sides() throws -> (any MigrationConnector, any MigrationListener) {
        switch self {
        case .tcp: return try Self.socket("tcp:127.0.0.1:0")
        case .unix: return try Self.socket("unix:/tmp/apus-postcopy-\(UInt32.random(in: 0 ... .max))")
        case .descriptors:
            let pair = try Socket.pair()
            let near = try pair.first.descriptor.duplicate().release()
            let far = try pair.second.descriptor.duplicate().release()
            let address = try MigrationAddress(parsing: "fd:mig")
            return (
                try Transports.connector(for: address) { $0 == "mig" ? near : try Transports.noDescriptor($0) },
                try Transports.listener(for: address) { $0 == "mig" ? far : try Transports.noDescriptor($0) }
            )
        case .command:
            let listener = try Transports.listener(for: try MigrationAddress(parsing: "tcp:127.0.0.1:0"))
            guard let port = listener.address.split(separator: ":").last else { throw NoPort() }
            let relay = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/\(port); cat <&3 & exec cat >&3'"
            return (try Transports.connector(for: try MigrationAddress(parsing: "exec:\(relay)")), listener)
        }
    }

    struct NoPort: Error {}

    private static func socket(_ text: String) throws -> (any MigrationConnector, any MigrationListener) {
        let listener = try Transports.listener(for: try MigrationAddress(parsing: text))
        return (try Transports.connector(for: try MigrationAddress(parsing: listener.address)), listener)
    }

    /// Whether a second connection can be made.
    var canHavePreemptChannel: Bool { self == .tcp || self == .unix }
}

@Suite(
    "Live post-copy", .enabled(if: hasKVM, "/dev/kvm cannot be opened"),
    .enabled(if: hasUserFault, "userfaultfd is not permitted"), .serialized, .timeLimit(.minutes(4)))
struct LivePostcopyTests {
    private func options(for meeting: Meeting, preempt: Bool = true) -> MigrationOptions {
        var options = MigrationOptions()
        options.allowsPostcopy = true
        options.dialect.hasPreemptChannel = preempt && meeting.canHavePreemptChannel
        options.maximumBandwidth = 20 << 20
        return options
    }

    @Test(arguments: Meeting.allCases, [1, 2, 4])
    func `a guest that writes all it can runs at the destination at once`(meeting: Meeting, cpuCount: Int) throws {
        let pair = try LivePair(cpuCount: cpuCount)
        let (connector, listener) = try meeting.sides()
        let moved = try pair.move(connector, listener, options(for: meeting), postcopyPolicy())
        #expect(moved.hasArrived && moved.isHandedOver, "\(moved)")
        let report = pair.reportAfterWholeCheck()
        #expect(report?.isClean == true && pair.isClean, "\(pair.arrivedLines.lines.all.suffix(5))")
        let postcopy = try #require(moved.received.postcopy)
        #expect(postcopy.missingPageCount == 0 && postcopy.timeToLastPage != nil)
        // Each page once, and next to nothing beside the pages.
        let memory = pair.source.regions.reduce(0) { $0 + $1.block.pageCount }
        let sent = moved.sent.postcopy
        #expect(sent.firstPageCount + sent.pushedPageCount + sent.requestedPageCount == memory)
        // How many of those were sent before they were asked for depends on who was faster.
        let needed = try pair.source.pagesNeededFirst()
        #expect(needed.count >= cpuCount && needed.allSatisfy { $0.range.end.value <= memory })
        // For most waits it is known whose they are, though threads of the kernel may have waited.
        let waits = postcopy.virtualCPULatencies.map(\.count)
        #expect(waits.count == cpuCount && waits.reduce(0, +) <= postcopy.faultCount)
        #expect(waits.reduce(0, +) * 2 > postcopy.latencies.count, "\(waits) of \(postcopy.latencies.count)")
        #expect(zip(waits, postcopy.virtualCPULatencies).allSatisfy { ($0 > 0) == ($1.total > .zero) })
        #expect(moved.sent.transferredByteCount <= memory * 4096 * 105 / 100)
    }

    @Test(arguments: [1, 4]) func `passes come first as long as they pay`(cpuCount: Int) throws {
        let pair = try LivePair(cpuCount: cpuCount)
        let (connector, listener) = try Meeting.tcp.sides()
        var rule = HybridRule()
        rule.downtimeLimit = .zero
        let moved = try pair.move(
            connector, listener, options(for: .tcp), MigrationPolicy(ending: .hybrid(rule)))
        #expect(moved.hasArrived && moved.isHandedOver, "\(moved)")
        #expect(!moved.sent.passes.isEmpty && moved.sent.postcopyReason != nil)
        #expect(pair.reportAfterWholeCheck()?.isClean == true && pair.isClean)
    }

    @Test func `post-copy begins in the middle of a pass when it is asked for`() throws {
        let pair = try LivePair(cpuCount: 2)
        let (connector, listener) = try Meeting.unix.sides()
        var options = options(for: .unix, preempt: false)
        options.maximumBandwidth = 4 << 20
        let moved = try pair.move(connector, listener, options, postcopyPolicy(afterPasses: 1000)) { outgoing, _ in
            _ = wait { outgoing.statistics.transferredByteCount > 1 << 20 }
            outgoing.startPostcopy()
        }
        #expect(moved.hasArrived && moved.isHandedOver, "\(moved)")
        #expect(moved.sent.postcopyReason == .request)
        #expect(pair.reportAfterWholeCheck()?.isClean == true && pair.isClean)
    }

    @Test(arguments: [MemoryMapping.Kind.anonymous, .anonymousSmallPages, .shared])
    func `pages are put into place as the kind of memory allows`(kind: MemoryMapping.Kind) throws {
        let pair = try LivePair(memory: kind)
        let (connector, listener) = try Meeting.tcp.sides()
        let moved = try pair.move(connector, listener, options(for: .tcp), postcopyPolicy(afterPasses: 1))
        #expect(moved.hasArrived && moved.isHandedOver, "\(moved)")
        let features = try UserFault().supportedFeatures
        let method: InstallMethod =
            kind == .shared ? .makePresent : features.contains(.move) ? .move : .copy
        #expect(moved.received.postcopy?.method == method)
        #expect(pair.reportAfterWholeCheck()?.isClean == true && pair.isClean)
    }

    @Test(.enabled(if: HugePagePool.canGrow, "no huge pages of 2 MiB can be set aside here"))
    func `huge pages of 2 MiB come whole and once`() throws {
        let pool = try HugePagePool(free: 42)
        defer { withExtendedLifetime(pool) {} }
        let pair = try LivePair(cpuCount: 2, memory: .hugePages(size: 2 << 20))
        let (connector, listener) = try Meeting.tcp.sides()
        let moved = try pair.move(connector, listener, options(for: .tcp), postcopyPolicy())
        #expect(moved.hasArrived && moved.isHandedOver, "\(moved)")
        #expect(moved.received.postcopy?.method == .copy && pair.source.regions.first?.unitPageCount == 512)
        let pageCount = pair.source.regions.reduce(0) { $0 + $1.block.pageCount }
        #expect(moved.sent.postcopy.pushedPageCount + moved.sent.postcopy.requestedPageCount == pageCount)
        #expect(pair.reportAfterWholeCheck()?.isClean == true && pair.isClean)
    }

    @Test func `the monitor's own access to a missing page waits for it and holds nothing up`() throws {
        let pair = try LivePair()
        let (connector, listener) = try Meeting.tcp.sides()
        var options = options(for: .tcp)
        // So slow that what is touched is not there yet.
        options.maximumPostcopyBandwidth = 4 << 20
        let last = pair.destination.ram.pageCount - 1
        let expected = [UInt8](repeating: 0xA5, count: 4096)
        expected.withUnsafeBytes { pair.source.ram.write($0, at: last * 4096) }
        let seen = Mutex<[UInt8]>([])
        let moved = try pair.move(connector, listener, options, postcopyPolicy()) { _, incoming in
            #expect(wait { incoming.statistics.phase == .postcopyActive })
            // As a device does: a copy by this process, and one by the kernel on its behalf.
            let device = try BlockingThread(name: "device") {
                var bytes = [UInt8](repeating: 0, count: 4096)
                bytes.withUnsafeMutableBytes { pair.destination.ram.read(at: last * 4096, into: $0) }
                seen.withLock { $0 = bytes }
            }
            let pipe = try OwnedDescriptor.pipe()
            let writing = StreamDescriptorBox(try StreamDescriptor(adopting: pipe.writing.duplicate()))
            let kernel = try BlockingThread(name: "kernel") {
                var vectors = MemoryVectors(capacity: 1)
                vectors.append(UnsafeRawBufferPointer(pair.destination.ram.bytes(at: (last - 700) * 4096, count: 4096)))
                _ = try? writing.stream.send(&vectors)
            }
            device.join()
            kernel.join()
            #expect(incoming.statistics.phase == .postcopyActive, "everything was there before it was touched")
        }
        #expect(moved.hasArrived && moved.isHandedOver, "\(moved)")
        #expect(seen.withLock { $0 } == expected)
        #expect(moved.received.postcopy?.faultCount ?? 0 > 0)
        #expect(pair.reportAfterWholeCheck()?.isClean == true && pair.isClean)
    }
}

private final class StreamDescriptorBox: Sendable {
    let stream: StreamDescriptor
    init(_ stream: StreamDescriptor) { self.stream = stream }
}
