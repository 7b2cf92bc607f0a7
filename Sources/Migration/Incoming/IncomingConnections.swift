internal import LinuxSystem
internal import MigrationStream
internal import Synchronization

/// Tells apart who connects: the main channel, multifd channels, strangers.
///
/// Each new connection is asked for its first four bytes on a thread of its own, before it is used for anything: the
/// main channel begins with "QEVM", a multifd channel with 0x11223344. Anyone else is cut off, and does no harm by
/// saying nothing either. The thread of a multifd channel goes on as its receiver.
final class IncomingConnections: Sendable {
    let multifd: MultifdReceiver
    private let listener: any MigrationListener
    private let runtime: any MigrationRuntime
    private let changed: any MigrationGate
    private let state: Mutex<State>
    /// Takes over the preempt channel, with the first four bytes of it; returns when it has ended.
    private let onUrgent: @Sendable (_ channel: any MigrationChannel, _ head: UInt32) -> Void
    /// Whether the main channel goes on with a post-copy whose link was lost.
    private let isRecovery: Bool
    let expectsUrgent: Bool
    /// Whether descriptors are expected.
    private let isLocal: Bool

    /// Connections that may be asked at once; more than the 256 that a migration can have.
    private static let maximumPendingCount = 512
    /// The first bytes of a main channel in a recovery: the command RECV_BITMAP.
    private static let recoveryStart: UInt32 = 0x08_000A
    /// A preempt channel has no header, but begins with a record whose upper bits are an offset in a block.
    private static let pageRecordLimit: UInt32 = 1 << 20
    private static let channelTimeout: Duration = .seconds(10)

    private struct State {
        var main: (any MigrationChannel)?
        var mainHead: UInt32 = 0
        var hasUrgent = false
        var failure: (any Error)?
        var isCancelled = false
        var isClosed = false
        var refusedCount = 0
        var channels: [any MigrationChannel] = []
        var threads: [any MigrationThread] = []
    }

    init(
        listener: any MigrationListener, runtime: any MigrationRuntime, machine: any MigratableMachine,
        dialect: StreamDialect, isRecovery: Bool = false,
        onUrgent: @escaping @Sendable (_ channel: any MigrationChannel, _ head: UInt32) -> Void
    ) {
        self.listener = listener
        self.runtime = runtime
        self.isRecovery = isRecovery
        expectsUrgent = dialect.hasPreemptChannel
        isLocal = dialect.isLocal
        self.onUrgent = onUrgent
        changed = runtime.makeGate()
        state = Mutex(State())
        multifd = MultifdReceiver(
            memory: ReceivedMemory(machine: machine), uuid: machine.uuid, dialect: dialect, runtime: runtime,
            changed: changed)
    }

    var refusedCount: Int { state.withLock { $0.refusedCount } }

    /// What ended the migration: a cancel or a failed channel rather than what followed from it.
    func failure(or error: any Error) -> any Error {
        state.withLock { state in
            state.isCancelled ? MigrationError.cancelled : state.failure ?? error
        }
    }

    /// Starts accepting.
    func start() throws {
        let thread = try runtime.startThread("migration-accept") { [self] in acceptAll() }
        state.withLock { $0.threads.append(thread) }
    }

    /// Waits for the main channel.
    func waitForMain() throws -> any MigrationChannel {
        try wait { state.withLock { $0.main } }
    }

    /// The four bytes by which the main channel was recognized, which have been taken from it.
    var mainHead: UInt32 { state.withLock { $0.mainHead } }

    /// Waits until all channels have come, for a time: one that was lost on its way is missed by neither side.
    func waitForChannels() throws {
        if isComplete { return }
        let deadline = runtime.now() + Self.channelTimeout
        _ = try wait(until: deadline) { isComplete ? true : nil }
        if !isComplete {
            throw MigrationError.channelMismatch("Not all of the \(multifd.channelCount) multifd channels have come.")
        }
    }

    /// Waits until `condition` gives a value, or it never will.
    func wait<Value>(for condition: () throws -> Value?) throws -> Value {
        while true {
            if let value = try wait(until: nil, for: condition) { return value }
        }
    }

    /// Waits until `condition` gives a value or the time is `deadline`.
    private func wait<Value>(until deadline: Duration?, for condition: () throws -> Value?) throws -> Value? {
        while true {
            changed.close()
            if let value = try condition() { return value }
            try state.withLock { state in
                if state.isCancelled { throw MigrationError.cancelled }
                if let failure = state.failure { throw failure }
            }
            if !changed.wait(until: deadline) { return nil }
        }
    }

    /// The migration cannot succeed any more: the first reason counts. Whoever waits or is blocked in receiving is
    /// woken; the main channel can still send the answer.
    private func fail(_ error: any Error) {
        let (main, others) = state.withLock { state in
            if state.failure == nil && !state.isClosed { state.failure = error }
            let main = state.main
            return (main, state.channels.filter { $0 !== main })
        }
        main?.stopReceiving()
        for channel in others { channel.shutDown() }
        changed.open()
    }

    func cancel() {
        state.withLock { $0.isCancelled = true }
        close()
    }

    /// Ends everything that is open. Threads return; `join` waits for them.
    func close() {
        let channels = state.withLock { state in
            state.isClosed = true
            return state.channels
        }
        listener.cancel()
        for channel in channels { channel.shutDown() }
        multifd.close()
        changed.open()
    }

    func join() {
        while let thread = state.withLock({ $0.threads.popLast() }) { thread.join() }
    }

    private func acceptAll() {
        while true {
            let channel: any MigrationChannel
            do {
                channel = try listener.accept()
            } catch {
                // With all channels here, a listener that ends is what was asked for.
                if !isComplete { fail(MigrationError.channel(error)) }
                return
            }
            if isLocal { channel.keepDescriptors() }
            let isWelcome = state.withLock { state in
                guard !state.isClosed, state.channels.count < Self.maximumPendingCount else { return false }
                state.channels.append(channel)
                return true
            }
            guard isWelcome, let thread = try? runtime.startThread("migration-greet", { [self] in greet(channel) })
            else {
                refuse(channel)
                continue
            }
            state.withLock { $0.threads.append(thread) }
            if !listener.acceptsMore { return }
        }
    }

    private func refuse(_ channel: any MigrationChannel) {
        channel.shutDown()
        state.withLock { state in
            state.refusedCount += 1
            state.channels.removeAll { $0 === channel }
        }
    }

    private func greet(_ channel: any MigrationChannel) {
        var magic: UInt32 = 0
        do {
            try withUnsafeMutableBytes(of: &magic) { bytes throws(ChannelError) in
                // Whoever passes the connection on may have put descriptors and earlier bytes together.
                if isLocal { try receiveInto(bytes, from: channel) } else { try receiveAll(bytes, from: channel) }
            }
        } catch {
            failIfOnlyOne(MigrationError.channel(error))
            return refuse(channel)
        }
        let head = UInt32(bigEndian: magic)
        switch head {
        case migrationStreamMagic where !isRecovery, _ where isRecovery && head >> 8 == Self.recoveryStart:
            let isMain = state.withLock { state in
                if state.main != nil { return false }
                state.main = channel
                state.mainHead = head
                return true
            }
            guard isMain else { return refuse(channel) }
            changed.open()
            stopAcceptingIfComplete()
        case 0..<Self.pageRecordLimit:
            let isUrgent = state.withLock { state in
                if state.main == nil || state.hasUrgent { return false }
                state.hasUrgent = true
                return true
            }
            guard isUrgent else { return refuse(channel) }
            stopAcceptingIfComplete()
            onUrgent(channel, head)
        case MultifdHello.magic:
            guard let index = multifd.admit(channel) else { return refuse(channel) }
            changed.open()
            stopAcceptingIfComplete()
            if let error = multifd.receive(from: channel, index: index) { fail(error) }
        default:
            failIfOnlyOne(
                MigrationError.stream(
                    .unexpectedValue(
                        field: "stream's magic", offset: 0, expected: UInt64(migrationStreamMagic),
                        found: UInt64(UInt32(bigEndian: magic))), address: channel.address))
            refuse(channel)
        }
    }

    /// A single connection that is wrong is the end; of a listener, others may come.
    private func failIfOnlyOne(_ error: MigrationError) {
        if !listener.acceptsMore { fail(error) }
    }

    private var isComplete: Bool { state.withLock { $0.main != nil } && multifd.isComplete }

    private func stopAcceptingIfComplete() {
        if isComplete && (!expectsUrgent || state.withLock { $0.hasUrgent }) { listener.cancel() }
    }
}

/// Fills `buffer` from `channel`, which keeps descriptors that come meanwhile.
private func receiveInto(
    _ buffer: UnsafeMutableRawBufferPointer, from channel: any MigrationChannel
) throws(ChannelError) {
    var count = 0
    while count < buffer.count {
        let received = try channel.receive(into: UnsafeMutableRawBufferPointer(rebasing: buffer[count...]))
        if received == 0 {
            throw ChannelError(operation: "receive", address: channel.address, reason: "The other side has ended")
        }
        count += received
    }
}

/// Fills `buffer` from `channel`.
func receiveAll(_ buffer: UnsafeMutableRawBufferPointer, from channel: any MigrationChannel) throws(ChannelError) {
    guard let start = buffer.baseAddress else { return }
    var vectors = MemoryVectors(capacity: 1)
    vectors.append(start, count: buffer.count)
    try channel.receive(all: &vectors)
}
