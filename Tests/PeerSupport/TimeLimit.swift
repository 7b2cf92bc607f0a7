import Foundation

/// The moment until which a wait may last.
struct TimeLimit: Sendable {
    let date: Date

    static func seconds(_ count: Double) -> TimeLimit { TimeLimit(date: Date(timeIntervalSinceNow: count)) }

    var remainingSeconds: Double { max(0, date.timeIntervalSinceNow) }
}

/// A wait that was in vain, or a peer that failed: what was waited for, and what is known instead.
struct PeerError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// A value that threads change and wait for.
final class Watched<Value: Sendable>: @unchecked Sendable {
    // Safe: `value` is touched only while the condition is locked.
    private let condition = NSCondition()
    private var value: Value

    init(_ value: Value) { self.value = value }

    var current: Value {
        condition.lock()
        defer { condition.unlock() }
        return value
    }

    func change(_ body: (inout Value) -> Void) {
        condition.lock()
        body(&value)
        condition.broadcast()
        condition.unlock()
    }

    /// Waits until `found` gives a value; nil when the time is over.
    func wait<Found>(until limit: TimeLimit, _ found: (inout Value) throws -> Found?) rethrows -> Found? {
        condition.lock()
        defer { condition.unlock() }
        while true {
            if let result = try found(&value) { return result }
            if !condition.wait(until: limit.date) { return try found(&value) }
        }
    }
}
