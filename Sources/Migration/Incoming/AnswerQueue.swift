internal import GuestMemory
internal import LinuxSystem
internal import MigrationStream
internal import Synchronization

/// What a destination says on the return path: whole messages, in the order in which they were given, by any thread.
///
/// Whoever comes first sends, also what others add meanwhile; no lock is held while sending. After an error nothing is
/// sent any more on this channel, which is shut down: the source waits for what was lost, and the thread that reads
/// here has to learn that there is no link any more.
final class AnswerQueue: Sendable {
    private let state: Mutex<State>

    private struct State {
        var channel: any MigrationChannel
        var waiting: [UInt8] = []
        var isSending = false
        var hasFailed = false
        /// The block of the last request, which the next one need not name.
        var lastRegion: Int?
    }

    init(channel: any MigrationChannel) { state = Mutex(State(channel: channel)) }

    /// A new link: what was not sent on the old one is forgotten.
    func begin(on channel: any MigrationChannel) {
        state.withLock { state in
            state.channel = channel
            state.waiting = []
            state.hasFailed = false
            state.lastRegion = nil
        }
    }

    func send(_ message: ReturnPathMessage) { add { _ in Self.encode(message, bitmap: []) } }

    /// Asks for pages of a block.
    func request(region: Int, block: String, range: PageRange) {
        add { state in
            let name = state.lastRegion == region ? nil : block
            state.lastRegion = region
            let request = PageRequest(
                block: name, blockOffset: UInt64(range.blockOffset), byteCount: UInt32(range.byteCount))
            return Self.encode(.pageRequest(request), bitmap: [])
        }
    }

    /// Says which pages of a block are here: a bit for each, lowest first.
    func sendBitmap(_ bitmap: [UInt8], of block: String) {
        add { _ in Self.encode(.receivedBitmap(block: block, bitmap: 0..<bitmap.count), bitmap: bitmap) }
    }

    private func add(_ message: (inout State) -> [UInt8]) {
        let isSender = state.withLock { state in
            if state.hasFailed { return false }
            state.waiting += message(&state)
            if state.isSending { return false }
            state.isSending = true
            return true
        }
        if isSender { sendAll() }
    }

    private func sendAll() {
        while true {
            let (bytes, channel): ([UInt8], any MigrationChannel) = state.withLock { state in
                defer { state.waiting = [] }
                if state.waiting.isEmpty || state.hasFailed {
                    state.isSending = false
                    return ([], state.channel)
                }
                return (state.waiting, state.channel)
            }
            if bytes.isEmpty { return }
            do {
                try bytes.withUnsafeBytes { buffer in
                    var vectors = MemoryVectors(capacity: 1)
                    vectors.append(buffer)
                    _ = try channel.send(&vectors)
                }
            } catch {
                state.withLock { if $0.channel === channel { $0.hasFailed = true } }
                channel.shutDown()
            }
        }
    }

    private static func encode(_ message: ReturnPathMessage, bitmap: [UInt8]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: message.byteCount)
        bytes.withUnsafeMutableBytes { buffer in
            var writer = StreamWriter(buffer.mutableBytes)
            bitmap.withUnsafeBytes { message.write(source: $0.bytes, into: &writer) }
        }
        return bytes
    }
}
