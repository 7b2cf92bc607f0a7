public import LinuxSystem
internal import Synchronization

/// A channel over descriptors: a terminal, a pipe, a file, a socket.
///
/// One thread moves bytes both ways. Output waits in a buffer of bounded size; a host that does not read loses the newest
/// bytes, as with a real serial line, and `lostByteCount` says how many. Input is read only while its buffer has room.
public final class DescriptorChannel: ByteChannel {
    /// Bytes that wait for a slow reader before new ones are lost.
    public static let outputLimit = 1 << 20
    private static let inputLimit = 4096
    /// A pipe that epoll calls writable takes this much without waiting.
    private static let writeLimit = 512

    private struct State: Sendable {
        var output: [UInt8] = []
        var input: [UInt8] = []
        var lostByteCount = 0
        var isEnding = false
        var inputEnded: Bool
        var outputFailed: Bool
        var handler: (@Sendable () -> Void)?
    }

    /// A descriptor in a place of its own, which may be absent.
    private final class End: Sendable {
        let descriptor: OwnedDescriptor
        init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
    }

    private let input: End?
    private let output: End?
    private let wake: EventDescriptor
    private let poller: Poller
    private let state: Mutex<State>
    private let thread = Mutex<BlockingThread?>(nil)

    private static let wakeKey: UInt64 = 0
    private static let inputKey: UInt64 = 1
    private static let outputKey: UInt64 = 2

    /// Starts moving bytes from `input` and to `output`; nil for a direction that leads nowhere.
    ///
    /// The two must be different descriptors, duplicates if need be. `end` ends the thread.
    public init(
        name: String, input: consuming OwnedDescriptor?, output: consuming OwnedDescriptor?
    ) throws(SystemError) {
        self.input = if let input = consume input { End(input) } else { nil }
        self.output = if let output = consume output { End(output) } else { nil }
        state = Mutex(State(inputEnded: self.input == nil, outputFailed: self.output == nil))
        wake = try EventDescriptor()
        poller = try Poller()
        try poller.add(wake.number, for: .readable, key: Self.wakeKey)
        let thread = try BlockingThread(name: name) { [self] in run() }
        self.thread.withLock { $0 = thread }
    }

    public var lostByteCount: Int { state.withLock { $0.lostByteCount } }

    public func send(_ bytes: [UInt8]) {
        let wasEmpty = state.withLock { state in
            guard !state.outputFailed else { return false }
            let wasEmpty = state.output.isEmpty
            let room = Self.outputLimit - state.output.count
            state.output.append(contentsOf: bytes.prefix(room))
            state.lostByteCount += max(0, bytes.count - room)
            return wasEmpty
        }
        if wasEmpty { wake.notify() }
    }

    public func take(_ count: Int) -> [UInt8] {
        let (bytes, wasFull) = state.withLock { state in
            let bytes = Array(state.input.prefix(count))
            let wasFull = state.input.count >= Self.inputLimit
            state.input.removeFirst(bytes.count)
            return (bytes, wasFull)
        }
        if wasFull && !bytes.isEmpty { wake.notify() }
        return bytes
    }

    public func onInput(_ handler: @escaping @Sendable () -> Void) {
        let hasInput = state.withLock { state in
            state.handler = handler
            return !state.input.isEmpty
        }
        if hasInput { handler() }
    }

    /// Writes what waits, as far as the host takes it at once, then ends the thread and waits for it.
    public func end() {
        state.withLock { $0.isEnding = true }
        wake.notify()
        thread.withLock { thread in
            thread?.join()
            thread = nil
        }
    }

    // MARK: The thread

    private func run() {
        var waitsForInput = false
        var waitsForOutput = false
        while true {
            let wants = state.withLock { state in
                (
                    input: !state.inputEnded && !state.isEnding && state.input.count < Self.inputLimit,
                    output: !state.outputFailed && !state.output.isEmpty, isEnding: state.isEnding
                )
            }
            if let input {
                setWaiting(&waitsForInput, to: wants.input, input.descriptor.number, .readable, Self.inputKey)
            }
            if let output {
                setWaiting(&waitsForOutput, to: wants.output, output.descriptor.number, .writable, Self.outputKey)
            }
            // At the end one look at what the host takes without waiting, else until something happens.
            let ready = (try? poller.wait(for: wants.isEnding ? .zero : nil)) ?? []
            for entry in ready {
                switch entry.key {
                case Self.wakeKey: wake.drain()
                case Self.inputKey: readInput()
                default: writeOutput()
                }
            }
            if wants.isEnding && !(wants.output && ready.contains { $0.key == Self.outputKey }) { return }
        }
    }

    /// Starts or stops waiting for a descriptor. What epoll cannot wait for, a file, is always ready.
    private func setWaiting(
        _ isWaiting: inout Bool, to wanted: Bool, _ number: Int32, _ events: Poller.Events, _ key: UInt64
    ) {
        guard isWaiting != wanted else { return }
        do {
            if wanted { try poller.add(number, for: events, key: key) } else { try poller.remove(number) }
            isWaiting = wanted
        } catch {
            if events == .readable { readInput() } else { writeOutput() }
            wake.notify()
        }
    }

    private func readInput() {
        guard let input else { return }
        var bytes = [UInt8](repeating: 0, count: Self.inputLimit)
        let count = bytes.withUnsafeMutableBytes { try? input.descriptor.read(into: $0) } ?? 0
        let handler = state.withLock { state in
            if count == 0 { state.inputEnded = true }
            state.input.append(contentsOf: bytes.prefix(count))
            return state.handler
        }
        if count > 0 { handler?() }
    }

    private func writeOutput() {
        guard let output else { return }
        let bytes = state.withLock { Array($0.output.prefix(Self.writeLimit)) }
        let isWritten = bytes.withUnsafeBytes { (try? output.descriptor.write(all: $0)) != nil }
        state.withLock { state in
            if isWritten {
                state.output.removeFirst(bytes.count)
            } else {
                state.outputFailed = true
                state.lostByteCount += state.output.count
                state.output = []
            }
        }
    }
}
