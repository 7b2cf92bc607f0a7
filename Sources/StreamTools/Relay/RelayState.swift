import MigrationStream
import Synchronization

/// What the connections of one relay know together.
final class RelayState: Sendable {
    private struct Contents {
        /// The newest state of a main channel: its blocks and sections, which other channels refer to.
        var decoder = StreamDecoder()
        var openCount = 0
        var isComplete = false
        var hasEnded = false
        var hasBegun = false
    }

    private let contents = Mutex(Contents())
    private let endsWhenCut: Bool

    init(endsWhenCut: Bool) { self.endsWhenCut = endsWhenCut }

    /// Whether a main channel came to its end mark.
    var isComplete: Bool { contents.withLock { $0.isComplete } }

    /// Whether nothing more is to be relayed.
    var isOver: Bool { contents.withLock { $0.hasEnded || ended($0) } }

    private func ended(_ contents: Contents) -> Bool {
        contents.openCount == 0 && contents.hasBegun && (contents.isComplete || endsWhenCut)
    }

    func publish(_ decoder: StreamDecoder) { contents.withLock { $0.decoder = decoder } }

    func complete() { contents.withLock { $0.isComplete = true } }

    func end() { contents.withLock { $0.hasEnded = true } }

    func connectionBegan() {
        contents.withLock {
            $0.openCount += 1
            $0.hasBegun = true
        }
    }

    /// Returns whether that was the last of a migration that has ended.
    func connectionEnded() -> Bool {
        contents.withLock {
            $0.openCount -= 1
            return ended($0)
        }
    }

    /// A decoder for a channel of `kind` that begins now.
    func decoder(for kind: ChannelKind) -> StreamDecoder {
        contents.withLock { contents in
            switch kind {
            case .recovery: contents.decoder.recoveryDecoder()
            case .preempt: contents.decoder.preemptDecoder()
            default: StreamDecoder()
            }
        }
    }
}

/// Two directions, of which the last to end is told so.
final class DirectionCount: Sendable {
    private let left = Atomic<Int>(2)

    /// Whether the other direction had ended before. Called once by each.
    func endsLast() -> Bool { left.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 }
}
