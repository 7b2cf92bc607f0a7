public import QMP
internal import Synchronization

/// Lets those who tell events exist before the server that sends them.
public final class EventRelay: EventSink {
    private let sink = Mutex<(any EventSink)?>(nil)

    public init() {}

    /// Sets where events go from now on; those that come before have no client that could hear them.
    public func connect(to sink: any EventSink) { self.sink.withLock { $0 = sink } }

    public func send(event name: String, data: QMPObject?) { sink.withLock { $0 }?.send(event: name, data: data) }
}
