public import QMP

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
public actor StateDriver {
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

    public private(set) var state: RunState
    /// Whether a guest that arrives runs at once, if it ran at the source.
    public private(set) var startsOnArrival: Bool
    private let machine: any MachineControl
    private let events: any EventSink
    private var isChanging = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    /// - Parameters:
    ///   - initial: `prelaunch`, or `incomingMigration` to wait for a guest.
    ///   - startsOnArrival: False when started with `--paused`.
    public init(
        machine: any MachineControl, events: any EventSink, initial: RunState = .prelaunch,
        startsOnArrival: Bool = true
    ) {
        self.machine = machine
        self.events = events
        self.startsOnArrival = startsOnArrival
        state = initial
    }

    /// The command `stop`. Nothing happens when the guest stands still.
    public func stop() async throws {
        try await change {
            switch self.state {
            case .incomingMigration: self.startsOnArrival = false
            case .running: try await self.pause(as: .paused)
            default: break
            }
        }
    }

    /// The command `cont`. Nothing happens when the guest runs.
    public func cont() async throws {
        try await change {
            switch self.state {
            case .running, .suspended: break
            case .incomingMigration: self.startsOnArrival = true
            case .finishMigration: throw QMPError("Migration is not finalized yet")
            case let state where state.needsReset: throw QMPError("Resetting the Virtual Machine is required")
            default: try await self.resume()
            }
        }
    }

    /// The command `system_reset`, or the guest's wish. A guest that stood still is then as before its first start.
    public func reset(_ cause: Cause = .hostReset) async throws {
        try await change {
            let wasRunning = self.state == .running
            if self.state == .incomingMigration || self.state == .finishMigration {
                throw QMPError("The guest cannot be reset while it is \(self.state.rawValue)")
            }
            if wasRunning { try await self.machine.pause() }
            do { try await self.machine.reset() } catch {
                // Nothing to start from: the guest goes on as it was.
                if wasRunning { try await self.goOn() }
                throw error
            }
            self.events.send(event: "RESET", data: Self.data(cause))
            if wasRunning {
                try await self.goOn()
            } else if self.state != .prelaunch {
                try self.become(.prelaunch)
            }
        }
    }

    /// The command `system_powerdown`. A guest that stands still sees it when it runs again.
    public func pressPowerButton() async throws {
        try await change {
            try await self.machine.pressPowerButton()
            self.events.send(event: "POWERDOWN")
        }
    }

    /// Stops the guest for good, because of `cause`: the monitor ends behind this.
    public func shutDown(_ cause: Cause) async throws {
        try await change {
            if self.state == .running { try await self.machine.pause() }
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
        try await change { if self.state == .running { try await self.pause(as: reason) } }
    }

    private static func data(_ cause: Cause) -> QMPObject {
        ["guest": .bool(cause.isGuest), "reason": .string(cause.rawValue)]
    }
}

/// What the migration engine asks for.
extension StateDriver {
    /// Source: stops the guest for the switchover; returns the state to go back to when the migration fails.
    public func beginSwitchover() async throws -> RunState {
        try await change {
            let before = self.state
            if before == .running {
                try await self.pause(as: .finishMigration)
            } else {
                try self.become(.finishMigration)
            }
            return before
        }
    }

    /// Source: the migration failed or was given up behind `beginSwitchover`, which returned `before`.
    public func undoSwitchover(to before: RunState) async throws {
        try await change {
            guard self.state == .finishMigration else { return }
            if before == .running {
                try await self.resume()
            } else if self.state.mayBecome(before) {
                try self.become(before)
            } else {
                try self.become(.paused)
            }
        }
    }

    /// Source: the guest belongs to the destination.
    public func completeMigration() async throws {
        try await change { try self.become(.postMigration) }
    }

    /// Destination: starts to wait for a guest.
    public func beginIncoming() async throws {
        try await change { if self.state != .incomingMigration { try self.become(.incomingMigration) } }
    }

    /// Destination: the guest is here. It runs if it ran at the source and was not told to wait, else it has the
    /// state of the source, or is paused.
    public func arrive(from source: RunState) async throws {
        try await change {
            if source == .running && self.startsOnArrival {
                try await self.resume()
            } else {
                try self.become(source == .running || !self.state.mayBecome(source) ? .paused : source)
            }
        }
    }

    private func pause(as reason: RunState) async throws {
        guard state.mayBecome(reason) else { throw TransitionError(from: state, to: reason) }
        try await machine.pause()
        try become(reason)
        events.send(event: "STOP")
    }

    private func resume() async throws {
        guard state.mayBecome(.running) else { throw TransitionError(from: state, to: .running) }
        try await machine.prepareToResume()
        try become(.running)
        // As in QEMU before the guest's first instruction, so that nothing which the guest does is told before it.
        events.send(event: "RESUME")
        await machine.resume()
    }

    /// Lets a machine go on that was paused only for a change: nobody is told.
    private func goOn() async throws {
        try await machine.prepareToResume()
        await machine.resume()
    }

    private func become(_ next: RunState) throws(TransitionError) {
        guard state.mayBecome(next) else { throw TransitionError(from: state, to: next) }
        state = next
    }

    /// Makes a change when those asked for before are done. An actor alone would let the next one in at each await.
    private func change<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        if isChanging { await withCheckedContinuation { waiting.append($0) } }
        isChanging = true
        defer {
            // The turn goes to the next without being free in between.
            if waiting.isEmpty { isChanging = false } else { waiting.removeFirst().resume() }
        }
        return try await body()
    }
}
