internal import MigrationRecords
internal import QMP
internal import QMPClient

/// The events of both monitors and the ticks of a clock, one after the other.
final class Signals: Sendable {
    enum Signal: Sendable {
        case tick
        case event(MigrationRecord.Side, Event)
        /// The connection to this monitor has ended.
        case ended(MigrationRecord.Side)
    }

    let stream: AsyncStream<Signal>
    private let continuation: AsyncStream<Signal>.Continuation
    private let tasks: [Task<Void, Never>]

    /// A tick each `interval` in the first minute, a fifth as many after that.
    init(source: MonitorLink, destination: MonitorLink?, interval: Duration) {
        let (stream, continuation) = AsyncStream.makeStream(of: Signal.self)
        (self.stream, self.continuation) = (stream, continuation)
        let start = ContinuousClock.now
        let ticker = Task {
            while !Task.isCancelled {
                let isYoung = ContinuousClock.now - start < .seconds(60)
                try? await Task.sleep(for: isYoung ? interval : interval * 5)
                continuation.yield(.tick)
            }
        }
        let listeners = [source, destination].compactMap(\.self).map { link in
            let events = link.client.events()
            return Task {
                for await event in events { continuation.yield(.event(link.side, event)) }
                if !Task.isCancelled { continuation.yield(.ended(link.side)) }
            }
        }
        tasks = [ticker] + listeners
    }

    func end() {
        for task in tasks { task.cancel() }
        continuation.finish()
    }
}
