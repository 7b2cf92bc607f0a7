import LinuxSystem
import Monitor
import QMP
import Synchronization
import Transports

/// A machine that remembers what was asked of it, and fails what it is told to.
final class TestMachine: MachineControl {
    struct State: Sendable {
        var calls: [String] = []
        var failing: Set<String> = []
        var onResume: (@Sendable () -> Void)?
        /// The call that waits until the test lets it go on.
        var held: String?
        var waiting: Gate?
    }

    let state = Mutex(State())
    var calls: [String] { state.withLock { $0.calls } }

    func fail(_ names: Set<String>) { state.withLock { $0.failing = names } }
    func hold(_ name: String) { state.withLock { $0.held = name } }

    /// Whether a call is being held.
    var isWaiting: Bool { state.withLock { $0.waiting != nil } }

    /// Lets the call that was held go on; false when it has not come yet.
    func release() -> Bool {
        let waiting = state.withLock { state in
            if state.waiting != nil { state.held = nil }
            return state.waiting.take()
        }
        waiting?.open()
        return waiting != nil
    }

    private func call(_ name: String) throws {
        let gate = state.withLock { state in
            if state.held == name { state.waiting = Gate() }
            return state.waiting
        }
        gate?.wait()
        let hasFailed = state.withLock { state in
            state.calls.append(name)
            return state.failing.contains(name)
        }
        if hasFailed { throw QMPError("the machine failed to \(name)") }
    }

    func pause() throws { try call("pause") }
    func prepareToResume() throws { try call("resume") }
    func resume() { state.withLock { $0.onResume }?() }
    func reset() throws { try call("reset") }
    func pressPowerButton() throws { try call("press") }
    func virtualCPUs() async -> [VirtualCPUInformation] { [VirtualCPUInformation(index: 0, threadID: 42)] }
    func blockDevices() async -> [BlockDeviceInformation] { [] }
    func setBalloon(byteCount: Int) async -> Bool { false }
    func balloonByteCount() async -> Int? { nil }
}

/// A migration engine that remembers what was asked of it.
final class TestMigration: MigrationControl {
    struct State: Sendable {
        var calls: [String] = []
        var info = MigrationInfo()
    }

    let state = Mutex(State())
    var calls: [String] { state.withLock { $0.calls } }
    func set(_ status: MigrationStatus) { state.withLock { $0.info.status = status } }
    private func call(_ name: String) { state.withLock { $0.calls.append(name) } }

    func information() async -> MigrationInfo { state.withLock { $0.info } }
    func migrate(to address: MigrationAddress, resumes: Bool, _ settings: MigrationSettings) async throws {
        call("migrate \(address) resumes=\(resumes)")
    }
    func waitForArrival() async {}
    func acceptIncoming(from address: MigrationAddress, exitsOnError: Bool, _: MigrationSettings) async throws {
        call("incoming \(address)")
        if address == .unix(path: "/taken") { throw QMPError("the path is taken") }
    }
    func cancel() async throws { call("cancel") }
    func proceed() async throws { call("proceed") }
    func startPostcopy() async throws { call("postcopy") }
    func pausePostcopy() async throws { call("pause") }
    func recover(from address: MigrationAddress) async throws { call("recover \(address)") }
    func parametersChanged(_ parameters: MigrationParameters) async { call("parameters") }
}

/// Remembers events.
final class TestEvents: EventSink {
    private let seen = Mutex<[String]>([])
    var names: [String] { seen.withLock { $0 } }
    func send(event name: String, data: QMPObject?) { seen.withLock { $0.append(name) } }
}
