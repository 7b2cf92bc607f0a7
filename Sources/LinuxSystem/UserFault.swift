internal import CLinux
internal import Glibc

/// The kernel's way to let a thread of ours fill pages at the moment someone touches them: a userfaultfd.
///
/// Register ranges, wait for faults on `descriptor` (one thread, usually with a `Poller`), and resolve each by giving the
/// page a content: `copy`, `zero`, `makePresent` (shared memory, written through a second view) or `move`. Resolving may
/// happen on any thread, in any order, also for pages that nobody has touched yet.
public struct UserFault: ~Copyable, Sendable {
    /// How it was opened: each way has its own permission.
    public enum Access: Int32, CaseIterable, Sendable {
        /// userfaultfd(2): needs CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd = 1.
        case systemCall = 1
        /// userfaultfd(2) for faults of user space only; faults of KVM inside the kernel are not served.
        case systemCallUserModeOnly = 2
        /// /dev/userfaultfd: needs access to that file.
        case device = 3
    }

    /// What the kernel can do; the bits of `uffdio_api.features`.
    public struct Features: OptionSet, Hashable, Sendable {
        public let rawValue: UInt64
        public init(rawValue: UInt64) { self.rawValue = rawValue }
        public static let writeProtection = Features(rawValue: CLINUX_UFFD_FEATURE_WP)
        public static let removeEvents = Features(rawValue: CLINUX_UFFD_FEATURE_EVENT_REMOVE)
        public static let missingHugePages = Features(rawValue: CLINUX_UFFD_FEATURE_MISSING_HUGETLBFS)
        public static let missingSharedMemory = Features(rawValue: CLINUX_UFFD_FEATURE_MISSING_SHMEM)
        public static let threadIDs = Features(rawValue: CLINUX_UFFD_FEATURE_THREAD_ID)
        public static let minorHugePages = Features(rawValue: CLINUX_UFFD_FEATURE_MINOR_HUGETLBFS)
        public static let minorSharedMemory = Features(rawValue: CLINUX_UFFD_FEATURE_MINOR_SHMEM)
        public static let exactAddresses = Features(rawValue: CLINUX_UFFD_FEATURE_EXACT_ADDRESS)
        public static let writeProtectionUnpopulated = Features(rawValue: CLINUX_UFFD_FEATURE_WP_UNPOPULATED)
        public static let poison = Features(rawValue: CLINUX_UFFD_FEATURE_POISON)
        public static let asynchronousWriteProtection = Features(rawValue: CLINUX_UFFD_FEATURE_WP_ASYNC)
        public static let move = Features(rawValue: CLINUX_UFFD_FEATURE_MOVE)
    }

    /// What a range is watched for.
    public struct Modes: OptionSet, Sendable {
        public let rawValue: UInt64
        public init(rawValue: UInt64) { self.rawValue = rawValue }
        /// A page that is not there. Resolved by `copy`, `zero`, `move`.
        public static let missing = Modes(rawValue: 1)
        /// A write to a protected page. Resolved by `writeProtect(false, …)`.
        public static let writeProtected = Modes(rawValue: 2)
        /// A page that is there but not mapped here (shared memory, huge pages). Resolved by `makePresent`.
        public static let minor = Modes(rawValue: 4)
    }

    /// Somebody touched a page and waits.
    public struct Fault: Equatable, Sendable {
        /// The host address, exact or of the page, as the features say.
        public let address: UInt
        public let isWrite: Bool
        public let isWriteProtected: Bool
        public let isMinor: Bool
        /// The thread that waits, 0 without the `threadIDs` feature.
        public let thread: Int32
    }

    /// What came of filling pages.
    public enum Outcome: Equatable, Sendable {
        /// So many bytes were done; fewer than asked for means: go on from there.
        case done(byteCount: Int)
        /// The first page is already there.
        case alreadyThere
        /// The address space is changing under it; try again.
        case tryAgain
        /// The range is not mapped or not registered any more.
        case gone
    }

    public let descriptor: OwnedDescriptor
    public let access: Access
    /// All that this kernel can do, not only what was asked for.
    public let supportedFeatures: Features

    /// Opens one in the first way that works, in the order system call, device, and makes the handshake.
    ///
    /// `features` not in `supportedFeatures` are an error of the kernel (EINVAL); look at `probe()` first.
    public init(features: Features = [], isBlocking: Bool = false) throws(SystemError) {
        var failure = SystemError(call: "userfaultfd", number: EPERM)
        for access in [Access.systemCall, .device] {
            do throws(SystemError) {
                self = try UserFault(by: access, features: features, isBlocking: isBlocking)
                return
            } catch { failure = failure.number == EPERM ? error : failure }
        }
        throw failure
    }

    /// Opens one in this way only.
    public init(by access: Access, features: Features = [], isBlocking: Bool = false) throws(SystemError) {
        let call = access == .device ? "/dev/userfaultfd" : "userfaultfd"
        let opened = OwnedDescriptor(
            adopting: try check(clinux_userfaultfd(access.rawValue, isBlocking ? 0 : 1), call))
        var supported: UInt64 = 0
        var ioctls: UInt64 = 0
        _ = try check(clinux_uffd_api(opened.number, features.rawValue, &supported, &ioctls), "UFFDIO_API")
        descriptor = opened
        self.access = access
        supportedFeatures = Features(rawValue: supported)
    }

    /// What a descriptor of this kind would offer, without keeping one.
    public static func probe(_ access: Access) throws(SystemError) -> Features {
        try UserFault(by: access).supportedFeatures
    }

    /// Watches a range of host addresses, in whole pages of the mapping.
    public func register(_ address: UnsafeRawPointer, byteCount: Int, for modes: Modes) throws(SystemError) {
        var ioctls: UInt64 = 0
        _ = try check(
            clinux_uffd_register(
                descriptor.number, UInt64(UInt(bitPattern: address)), UInt64(byteCount), modes.rawValue, &ioctls),
            "UFFDIO_REGISTER")
    }

    /// Stops watching; whoever waits in the range goes on.
    public func unregister(_ address: UnsafeRawPointer, byteCount: Int) throws(SystemError) {
        let result = clinux_uffd_unregister(
            descriptor.number, UInt64(UInt(bitPattern: address)), UInt64(byteCount))
        _ = try check(result, "UFFDIO_UNREGISTER")
    }

    /// The faults that wait, at most `maximumCount`; empty when there is none. Other events are passed over.
    public func readFaults(maximumCount: Int = 64) throws(SystemError) -> [Fault] {
        try withUnsafeTemporaryAllocation(of: uffd_msg.self, capacity: maximumCount) { messages throws(SystemError) in
            let size = MemoryLayout<uffd_msg>.stride
            let length = clinux_read(descriptor.number, messages.baseAddress, messages.count * size)
            if length == -Int(EAGAIN) { return [] }
            let count = try check(length, "read userfaultfd") / size
            var faults: [Fault] = []
            for index in 0..<count {
                let message = messages.baseAddress.unsafelyUnwrapped + index
                guard Int32(message.pointee.event) == UFFD_EVENT_PAGEFAULT else { continue }
                let flags = clinux_uffd_fault_flags(message)
                faults.append(
                    Fault(
                        address: UInt(clinux_uffd_fault_address(message)), isWrite: flags & 1 != 0,
                        isWriteProtected: flags & 2 != 0, isMinor: flags & 4 != 0,
                        thread: Int32(bitPattern: clinux_uffd_fault_thread(message))))
            }
            return faults
        }
    }

    /// Fills missing pages at `destination` with a copy of `bytes` (whole pages) and, unless told not to, wakes.
    public func copy(_ bytes: UnsafeRawBufferPointer, to destination: UnsafeRawPointer, wakes: Bool = true)
        throws(SystemError) -> Outcome
    {
        try outcome(
            clinux_uffd_copy(
                descriptor.number, UInt64(UInt(bitPattern: destination)), bytes.baseAddress, UInt64(bytes.count),
                wakes ? 1 : 0), "UFFDIO_COPY")
    }

    /// Fills missing pages with zeros.
    public func zero(_ address: UnsafeRawPointer, byteCount: Int, wakes: Bool = true) throws(SystemError) -> Outcome {
        try outcome(
            clinux_uffd_zero(
                descriptor.number, UInt64(UInt(bitPattern: address)), UInt64(byteCount), wakes ? 1 : 0),
            "UFFDIO_ZEROPAGE")
    }

    /// Maps pages that a second view has filled: UFFDIO_CONTINUE.
    public func makePresent(_ address: UnsafeRawPointer, byteCount: Int, wakes: Bool = true) throws(SystemError)
        -> Outcome
    {
        try outcome(
            clinux_uffd_continue(
                descriptor.number, UInt64(UInt(bitPattern: address)), UInt64(byteCount), wakes ? 1 : 0),
            "UFFDIO_CONTINUE")
    }

    /// Moves whole pages from `source` (private, anonymous, not shared with a fork) to missing pages at `destination`.
    public func move(
        from source: UnsafeRawPointer, to destination: UnsafeRawPointer, byteCount: Int, wakes: Bool = true
    ) throws(SystemError) -> Outcome {
        try outcome(
            clinux_uffd_move(
                descriptor.number, UInt64(UInt(bitPattern: destination)), UInt64(UInt(bitPattern: source)),
                UInt64(byteCount), wakes ? 1 : 0), "UFFDIO_MOVE")
    }

    /// Protects pages against writing, or allows writing again and wakes.
    public func writeProtect(_ isOn: Bool, _ address: UnsafeRawPointer, byteCount: Int) throws(SystemError) {
        _ = try check(
            clinux_uffd_write_protect(
                descriptor.number, UInt64(UInt(bitPattern: address)), UInt64(byteCount), isOn ? 1 : 0, 1),
            "UFFDIO_WRITEPROTECT")
    }

    /// Wakes whoever waits in a range; they touch again and fault again if the page is still missing.
    public func wake(_ address: UnsafeRawPointer, byteCount: Int) throws(SystemError) {
        _ = try check(
            clinux_uffd_wake(descriptor.number, UInt64(UInt(bitPattern: address)), UInt64(byteCount)), "UFFDIO_WAKE")
    }

    private func outcome(_ result: Int64, _ call: String) throws(SystemError) -> Outcome {
        switch result {
        case -Int64(EEXIST): .alreadyThere
        case -Int64(EAGAIN): .tryAgain
        case -Int64(ENOENT), -Int64(ESRCH): .gone
        default: .done(byteCount: Int(try check(result, call)))
        }
    }
}
