internal import MigrationStream
internal import Synchronization

/// Reads what the destination answers, on a thread of its own.
final class ReturnPathReader: Sendable {
    private let channel: any MigrationChannel
    private let control: OutgoingControl
    /// Where requests for pages go; nil if there may be none.
    private let requests: PageRequests?
    private let state = Mutex(State())

    private struct State {
        var shutCode: UInt32?
        var refusal: String?
        var arrival: Arrival?
        var hasAcknowledgedSwitchover = false
        /// When each came.
        var pongs: [UInt32: Duration] = [:]
        var error: (any Error)?
        var hasEnded = false
        var bitmaps: [String: [UInt8]] = [:]
        var hasAcknowledgedResume = false

        var end: (any Error)? { hasEnded ? error ?? MigrationError.destinationEnded : nil }
    }

    init(channel: any MigrationChannel, control: OutgoingControl, requests: PageRequests? = nil) {
        self.channel = channel
        self.control = control
        self.requests = requests
    }

    /// Starts reading until the destination says that it is done, or the channel ends.
    func start() throws -> any MigrationThread {
        try control.runtime.startThread("return-path") { [self] in run() }
    }

    /// The destination's last word: 0 if it has loaded the guest, nil if it has not said it yet.
    var shutCode: UInt32? { state.withLock { $0.shutCode } }
    /// Why the destination did not load the guest, once it has said so.
    var refusal: MigrationError? {
        state.withLock { state in
            guard let code = state.shutCode, code != 0 else { return nil }
            return .refusedByDestination(code: code, reason: state.refusal)
        }
    }

    /// How long the destination took to let the guest run and to announce it, if it tells.
    struct Arrival: Equatable {
        var resume: Duration
        var announce: Duration
    }
    var arrival: Arrival? { state.withLock { $0.arrival } }
    /// Whether the destination is ready for the switchover.
    var hasAcknowledgedSwitchover: Bool { state.withLock { $0.hasAcknowledgedSwitchover } }
    /// Whether the destination is Apus, and understands what is said to Apus only.
    var isApus: Bool { hasPong(PeerGreeting.pong) }

    /// Whether a PONG with this value has come.
    func hasPong(_ value: UInt32) -> Bool { pongTime(value) != nil }
    /// When a PONG with this value came, nil if it has not.
    func pongTime(_ value: UInt32) -> Duration? { state.withLock { $0.pongs[value] } }
    /// Which pages of a block the destination has, if it has told: a bit for each, lowest first.
    func receivedBitmap(of block: String) -> [UInt8]? { state.withLock { $0.bitmaps[block] } }
    /// Whether the destination is ready to go on after a recovery.
    var hasAcknowledgedResume: Bool { state.withLock { $0.hasAcknowledgedResume } }

    /// Why no more answers will come, nil while they may.
    var end: (any Error)? { state.withLock { $0.end } }

    /// Why the destination's last word will not come; nil if it has, or still may.
    ///
    /// Both are looked at as one: it says its last word and ends the connection at once.
    var silence: (any Error)? { state.withLock { $0.shutCode == nil ? $0.end : nil } }

    private func run() {
        var error: (any Error)?
        // What it reads is short, and somebody waits for it.
        control.runtime.setUrgency(.urgent)
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
        requests?.gate.open()
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
                requests?.serveNewest()
                do { try channel.waitForBytes() } catch { throw MigrationError.channel(error) }
                try reader.refill(atLeast: byteCount)
            case .finished:
                return
            case .message(.receivedBitmap(let block, let bitmap), let byteCount):
                guard requests != nil else { throw MigrationError.unexpected("a return path message of post-copy") }
                let bytes = [UInt8](reader.unreadBytes[bitmap])
                reader.skip(byteCount)
                state.withLock { $0.bitmaps[block] = bytes }
                control.changed.open()
            case .message(let message, let byteCount):
                reader.skip(byteCount)
                switch message {
                case .shut(let code):
                    state.withLock { $0.shutCode = code }
                    control.changed.open()
                    if code != 0 || !isApus { return }
                case .refusal(let text):
                    state.withLock { $0.refusal = text }
                case .arrival(let resume, let announce):
                    let arrival = Arrival(
                        resume: .nanoseconds(Int64(clamping: resume)), announce: .nanoseconds(Int64(clamping: announce))
                    )
                    state.withLock { $0.arrival = arrival }
                    control.changed.open()
                    return
                case .pong(let value):
                    let now = control.runtime.now()
                    state.withLock { $0.pongs[value] = now }
                    control.changed.open()
                    requests?.gate.open()
                case .switchoverAcknowledged:
                    state.withLock { $0.hasAcknowledgedSwitchover = true }
                    control.changed.open()
                case .pageRequest(let request):
                    guard let requests else { throw MigrationError.unexpected("a request for pages") }
                    try requests.add(request)
                case .resumeAcknowledged(let value):
                    guard requests != nil, value == 1 else {
                        throw MigrationError.unexpected("an acknowledgement \(value) of a recovery")
                    }
                    state.withLock { $0.hasAcknowledgedResume = true }
                    control.changed.open()
                case .receivedBitmap: break
                }
            }
        }
    }
}
