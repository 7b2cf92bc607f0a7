import Glibc
import GuestMemory
import LinuxSystem
import Machine
import Migration
import MigrationTestSupport
import Synchronization
import Testing
import Transports

/// What makes post-copy impossible is said before anything is sent.
@Suite("Post-copy is refused") struct RefusalTests {
    private func block() throws -> RAMBlock {
        RAMBlock(name: "pc.ram", mapping: try MemoryMapping(.anonymous, byteCount: 4 << 20))
    }

    @Test(.enabled(if: hasUserFault, "userfaultfd is not permitted"))
    func `where memory is locked, and works where it is not`() throws {
        let block = try block()
        _ = try UserFaultMemory(blocks: [block])
        try #require(mlock(block.hostAddress, 4096) == 0)
        let error = #expect(throws: MigrationError.self) { _ = try UserFaultMemory(blocks: [block]) }
        #expect("\(try #require(error))".hasPrefix("RAM block pc.ram is locked in memory (mlock)"))
        munlock(block.hostAddress, 4096)
        _ = try UserFaultMemory(blocks: [block])
    }

    @Test(.enabled(if: hasUserFault, "userfaultfd is not permitted"))
    func `where the kernel does not serve the kind of memory, with what to do about it`() throws {
        let shared = RAMBlock(name: "pc.ram", mapping: try MemoryMapping(.shared, byteCount: 4 << 20))
        let error = #expect(throws: MigrationError.self) {
            _ = try UserFaultMemory(blocks: [try block(), shared], withoutServing: [.shared])
        }
        #expect(
            "\(try #require(error))"
                == "RAM block pc.ram is shared memory, which this kernel's userfaultfd does not serve in post-copy "
                + "(UFFD_FEATURE_MISSING_SHMEM, Linux 4.11): use a newer kernel, or start this monitor without shared=on."
        )
        // What the guest does not have need not be served.
        _ = try UserFaultMemory(blocks: [shared], withoutServing: [.huge])
        _ = try UserFaultMemory(blocks: [try block()], withoutServing: [.shared, .huge])
    }

    @Test(.enabled(if: Privileges.canBeDropped, "this is not root, or userfaultfd is open to all"))
    func `where userfaultfd may not be used, with what to do about it`() throws {
        let block = try block()
        let words = Mutex("")
        // A thread's privileges are its own: those of the test remain.
        let thread = try BlockingThread(name: "unprivileged") {
            guard Privileges.drop() else { return words.withLock { $0 = "privileges could not be dropped" } }
            do {
                _ = try UserFaultMemory(blocks: [block])
                words.withLock { $0 = "it was not refused" }
            } catch { words.withLock { $0 = "\(error)" } }
        }
        thread.join()
        let text = words.withLock { $0 }
        #expect(text.hasPrefix("Post-copy needs userfaultfd, which this process may not use ("), "\(text)")
        #expect(text.contains("vm.unprivileged_userfaultfd=1") && text.contains("/dev/userfaultfd"), "\(text)")
    }

    private func options(answerLimit: Duration) -> MigrationOptions {
        var options = MigrationOptions()
        options.allowsPostcopy = true
        options.firstAnswerLimit = answerLimit
        return options
    }

    @Test func `into a file, which carries no requests`() throws {
        let pair = try ThreadedPair()
        let path = "/tmp/apus-refusal-\(getpid())"
        defer { unlink(path) }
        let connector = try Transports.connector(for: try MigrationAddress(parsing: "file:\(path)"))
        let attempt = try pair.send(connector, options(answerLimit: .seconds(30)))
        #expect(attempt.source == .failed && pair.source.isRunning)
        #expect(
            attempt.sourceError
                == "file:\(path) has no other direction, and in post-copy the destination asks for pages.")
        // The same guest moves without post-copy.
        let again = try Transports.connector(for: try MigrationAddress(parsing: "file:\(path)"))
        #expect(try pair.send(again, MigrationOptions(), hasReturnPath: false).source == .completed)
    }

    @Test func `through a command that only takes`() throws {
        let pair = try ThreadedPair()
        let connector = try Transports.connector(for: try MigrationAddress(parsing: "exec:cat >/dev/null"))
        let attempt = try pair.send(connector, options(answerLimit: .milliseconds(400)))
        #expect(attempt.source == .failed && pair.source.isRunning)
        #expect(
            attempt.sourceError?.hasPrefix("exec:cat >/dev/null has taken what was sent and nothing came back") == true)
        #expect(attempt.statistics.normalPageCount == 0, "pages were sent before")
    }

    @Test func `not, but said what it costs: memory in pages of a gibibyte`() throws {
        let gibibyte = RAMBlock(
            name: "pc.ram", mapping: try MemoryMapping(.anonymousSmallPages, byteCount: 1 << 30))
        let small = MemoryRegion(block: gibibyte, beginsAsZero: true, unitPageCount: 512)
        #expect(OutgoingPostcopyStatistics.warning(for: [small]) == nil)
        let large = MemoryRegion(block: gibibyte, beginsAsZero: true, unitPageCount: 1 << 18)
        #expect(
            OutgoingPostcopyStatistics.warning(for: [small, large])
                == "RAM block pc.ram is in pages of 1 GiB, which come whole: in post-copy whoever touches a missing one "
                + "stands still for about 9 s over a link of 1 Gbit/s, or 1 s over one of 10.")
    }
}

/// What a thread of root's may do.
private enum Privileges {
    static var canBeDropped: Bool {
        let isOpen = FileSystem.text(of: "/proc/sys/vm/unprivileged_userfaultfd")?.hasPrefix("1") ?? true
        return geteuid() == 0 && !isOpen
    }

    /// A function of the C library's that no header here declares.
    private static func function(_ name: String) -> UnsafeMutableRawPointer? {
        dlopen(nil, RTLD_NOW).flatMap { dlsym($0, name) }
    }

    /// Leaves the calling thread none at all, and no files but those open to everyone.
    static func drop() -> Bool {
        guard let setUser = function("setfsuid"), let setCapabilities = function("capset") else { return false }
        typealias SetUser = @convention(c) (UInt32) -> Int32
        typealias SetCapabilities = @convention(c) (UnsafeMutableRawPointer, UnsafeMutableRawPointer) -> Int32
        // Safe: these are their C types, <sys/fsuid.h> and capset(2).
        _ = unsafeBitCast(setUser, to: SetUser.self)(65534)
        // _LINUX_CAPABILITY_VERSION_3, this thread; two words each of effective, permitted, inheritable.
        var header: [UInt32] = [0x2008_0522, 0]
        var none = [UInt32](repeating: 0, count: 6)
        return unsafeBitCast(setCapabilities, to: SetCapabilities.self)(&header, &none) == 0
    }
}
