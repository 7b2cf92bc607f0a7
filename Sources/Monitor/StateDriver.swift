internal import LinuxSystem
public import QMP
internal import Synchronization

/// Tells QMP clients what happened.
public protocol EventSink: Sendable {
    /// Puts an event before everything that is answered later. Does not wait.
    func send(event name: String, data: QMPObject?)
}

extension EventSink {
    public func send(event name: String) { send(event: name, data: nil) }
}

extension QMPServer: EventSink {}

/// The only one that changes whether the guest runs.
///
/// Changes are made one after the other, in the order in which they were asked for: a change that waits for the machine
/// holds back the next. The state changes when the machine has done all of what was asked that can fail, and not when
/// it failed; the event comes with the change.
///
///                    ┌──────────────────── cont ─────────────────────┐
///     prelaunch ─cont▶ running ─stop▶ paused ────────────────────────┤
///                      │  ▲  └─beginSwitchover▶ finish-migrate ─completeMigration▶ postmigrate
///                      │  └────────undoSwitchover──┘
///                      └─ stopped(by:) ▶ shutdown, io-error, internal-error, guest-panicked
///     inmigrate ─arrive▶ running, or the state the guest had at the source
public final class StateDriver: Sendable {
    /// Why the guest or the monitor is told to end or to start again, in QEMU's words.
    public enum Cause: String, Sendable {
        case hostQuit = "host-qmp-quit"
        case hostReset = "host-qmp-system-reset"
        case hostSignal = "host-signal"
        case hostError = "host-error"
        case guestShutdown = "guest-shutdown"
        case guestReset = "guest-reset"
        case guestPanic = "guest-panic"

        var isGuest: Bool { rawValue.hasPrefix("guest") }
    }

    /// A change that QEMU does not have either: a mistake of this program.
    public struct TransitionError: Error, Equatable, CustomStringConvertible {
        public let from: RunState
        public let to: RunState
        public var description: String { "The guest cannot become \(to.rawValue) while it is \(from.rawValue)." }
    }

    private struct Turns {
        var isTaken = false
        /// Those whose change comes later, in order.
        var waiting: [Gate] = []
    }

    private struct Guest {
        var state: RunState
        /// Whether a guest that arrives runs at once, if it ran at the source.
        var startsOnArrival: Bool
    }

    private let machine: any MachineControl
    private let events: any EventSink
    private let guest: Mutex<Guest>
    private let turns = Mutex(Turns())

    /// What the guest is now; a change that is being made shows when it is done.
    public private(set) var state: RunState {
        get { guest.withLock { $0.state } }
        set { guest.withLock { $0.state = newValue } }
    }

    /// - Parameters:
    ///   - initial: `prelaunch`, or `incomingMigration` to wait for a guest.
    ///   - startsOnArrival: False when started with `--paused`.
    public init(
        machine: any MachineControl, events: any EventSink, initial: RunState = .prelaunch,
        startsOnArrival: Bool = true
    ) {
        self.machine = machine
        self.events = events
        guest = Mutex(Guest(state: initial, startsOnArrival: startsOnArrival))
    }

    /// The command `stop`. Nothing happens when the guest stands still.
    public func stop() async throws {
        try await changeOnThread {
            switch self.state {
            case .incomingMigration: self.guest.withLock { $0.startsOnArrival = false }
            case .running: try self.pause(as: .paused)
            default: break
            }
        }
    }

    /// The command `cont`. Nothing happens when the guest runs.
    public func cont() async throws {
        try await changeOnThread {
            switch self.state {
            case .running, .suspended: break
            case .incomingMigration: self.guest.withLock { $0.startsOnArrival = true }
            case .finishMigration: throw QMPError("Migration is not finalized yet")
            case let state where state.needsReset: throw QMPError("Resetting the Virtual Machine is required")
            default: try self.resume()
            }
        }
    }

    /// The command `system_reset`, or the guest's wish. A guest that stood still is then as before its first start.
    public func reset(_ cause: Cause = .hostReset) async throws {
        try await changeOnThread {
            let wasRunning = self.state == .running
            if self.state == .incomingMigration || self.state == .finishMigration {
                throw QMPError("The guest cannot be reset while it is \(self.state.rawValue)")
            }
            if wasRunning { try self.machine.pause() }
            do { try self.machine.reset() } catch {
                // Nothing to start from: the guest goes on as it was.
                if wasRunning { try self.goOn() }
                throw error
            }
            self.events.send(event: "RESET", data: Self.data(cause))
            if wasRunning {
                try self.goOn()
            } else if self.state != .prelaunch {
                try self.become(.prelaunch)
            }
        }
    }

    /// The command `system_powerdown`. A guest that stands still sees it when it runs again.
    public func pressPowerButton() async throws {
        try await changeOnThread {
            try self.machine.pressPowerButton()
            self.events.send(event: "POWERDOWN")
        }
    }

    /// Stops the guest for good, because of `cause`: the monitor ends behind this.
    public func shutDown(_ cause: Cause) async throws {
        try await changeOnThread {
            if self.state == .running { try self.machine.pause() }
            self.events.send(event: "SHUTDOWN", data: Self.data(cause))
            if self.state.mayBecome(.shutdown) {
                let wasRunning = self.state == .running
                try self.become(.shutdown)
                if wasRunning { self.events.send(event: "STOP") }
            }
        }
    }

    /// Something has gone wrong in a running guest: it is stopped in a state that says what.
    ///
    /// - Parameter reason: `ioError`, `internalError` or `guestPanicked`.
    public func stopped(by reason: RunState) async throws {
        try await changeOnThread { if self.state == .running { try self.pause(as: reason) } }
    }

    private static func data(_ cause: Cause) -> QMPObject {
        ["guest": .bool(cause.isGuest), "reason": .string(cause.rawValue)]
    }
}

/// What the migration engine asks for, on threads that may block.
extension StateDriver {
    /// Source: stops the guest for the switchover; returns the state to go back to when the migration fails.
    public func beginSwitchover() throws -> RunState {
        try change {
            let before = self.state
            if before == .running {
                try self.pause(as: .finishMigration)
            } else {
                try self.become(.finishMigration)
            }
            return before
        }
    }

    /// Source: the migration failed or was given up behind `beginSwitchover`, which returned `before`.
    public func undoSwitchover(to before: RunState) throws {
        try change {
            guard self.state == .finishMigration else { return }
            if before == .running {
                try self.resume()
            } else if self.state.mayBecome(before) {
                try self.become(before)
            } else {
                try self.become(.paused)
            }
        }
    }

    /// Source: the guest belongs to the destination.
    public func completeMigration() throws {
        try change { try self.become(.postMigration) }
    }

    /// Destination: the guest is here. It runs if it ran at the source and was not told to wait, else it has the
    /// state of the source, or is paused.
    public func arrive(from source: RunState) throws {
        try change {
            if source == .running && self.guest.withLock({ $0.startsOnArrival }) {
                try self.resume()
            } else {
                try self.become(source == .running || !self.state.mayBecome(source) ? .paused : source)
            }
        }
    }

    private func pause(as reason: RunState) throws {
        guard state.mayBecome(reason) else { throw TransitionError(from: state, to: reason) }
        try machine.pause()
        try become(reason)
        events.send(event: "STOP")
    }

    private func resume() throws {
        guard state.mayBecome(.running) else { throw TransitionError(from: state, to: .running) }
        try machine.prepareToResume()
        try become(.running)
        // As in QEMU before the guest's first instruction, so that nothing which the guest does is told before it.
        events.send(event: "RESUME")
        machine.resume()
    }

    /// Lets a machine go on that was paused only for a change: nobody is told.
    private func goOn() throws {
        try machine.prepareToResume()
        machine.resume()
    }

    private func become(_ next: RunState) throws(TransitionError) {
        guard state.mayBecome(next) else { throw TransitionError(from: state, to: next) }
        state = next
    }

    /// Makes a change when those asked for before are done. Blocks until then, and as long as the machine takes.
    private func change<Value>(_ body: () throws -> Value) throws -> Value {
        let turn = turns.withLock { turns -> Gate? in
            if !turns.isTaken {
                turns.isTaken = true
                return nil
            }
            let gate = Gate()
            turns.waiting.append(gate)
            return gate
        }
        turn?.wait()
        defer {
            // The turn goes to the next without being free in between.
            let next = turns.withLock { turns -> Gate? in
                turns.isTaken = !turns.waiting.isEmpty
                return turns.isTaken ? turns.waiting.removeFirst() : nil
            }
            next?.open()
        }
        return try body()
    }

    /// The same for a task, none of whose threads must block.
    private func changeOnThread(_ body: @escaping @Sendable () throws -> Void) async throws {
        try await onThread(named: "state") { [self] in try change(body) }
    }
}
