internal import MigrationStream
internal import Synchronization

/// Reads what the destination answers, on a thread of its own.
final class ReturnPathReader: Sendable {
    private let channel: any MigrationChannel
    private let control: OutgoingControl
    private let state = Mutex(State())

    private struct State {
        var shutCode: UInt32?
        var lastPong: UInt32?
        var error: (any Error)?
        var hasEnded = false
    }

    init(channel: any MigrationChannel, control: OutgoingControl) {
        self.channel = channel
        self.control = control
    }

    /// Starts reading until the destination says that it is done, or the channel ends.
    func start() throws -> any MigrationThread {
        try control.runtime.startThread("return-path") { [self] in run() }
    }

    /// The destination's last word: 0 if it has loaded the guest, nil if it has not said it yet.
    var shutCode: UInt32? { state.withLock { $0.shutCode } }
    /// The value of the last PONG.
    var lastPong: UInt32? { state.withLock { $0.lastPong } }

    /// Why no more answers will come, nil while they may.
    var end: (any Error)? {
        state.withLock { state in
            guard state.hasEnded else { return nil }
            return state.error ?? MigrationError.destinationEnded
        }
    }

    private func run() {
        var error: (any Error)?
        do {
            try read()
        } catch let caught {
            error = caught
        }
        state.withLock { state in
            state.hasEnded = true
            state.error = error
        }
        control.changed.open()
    }

    private func read() throws {
        let reader = ChannelReader(channel: channel, capacity: 4096)
        var decoder = ReturnPathDecoder()
        while true {
            let step: ReturnPathDecoder.Step
            do {
                step = try decoder.next(in: reader.unread, ended: reader.hasEnded)
            } catch {
                throw MigrationError.stream(error, address: channel.address)
            }
            switch step {
            case .needsMore(let byteCount):
                try reader.refill(atLeast: byteCount)
            case .finished:
                return
            case .message(let message, let byteCount):
                reader.skip(byteCount)
                switch message {
                case .shut(let code):
                    state.withLock { $0.shutCode = code }
                    control.changed.open()
                    return
                case .pong(let value):
                    state.withLock { $0.lastPong = value }
                    control.changed.open()
                case .switchoverAcknowledged:
                    break
                case .pageRequest, .receivedBitmap, .resumeAcknowledged:
                    throw MigrationError.unexpected("a return path message of post-copy")
                }
            }
        }
    }
}
