import GuestMemory
import Migration
import MigrationStream
import MigrationTestSupport
import Synchronization
import Testing

@Suite("A destination that was not advised") struct UnadvisedTests {
    private func encoded(_ byteCount: Int, _ body: (inout StreamWriter) -> Void) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: byteCount)
        bytes.withUnsafeMutableBytes { buffer in
            var writer = StreamWriter(buffer.mutableBytes)
            body(&writer)
        }
        return bytes
    }

    private func encoded(_ command: StreamCommand) -> [UInt8] {
        encoded(command.byteCount) { command.write(into: &$0) }
    }

    private static let package: [StreamCommand] = [
        .package(byteCount: StreamCommand.postcopyListen.byteCount), .postcopyListen,
    ]
    private static let discard: [StreamCommand] = [
        .postcopyDiscard(RAMDiscard(block: "block0", ranges: [.init(blockOffset: 0, byteCount: 4096)]))
    ]

    @Test(arguments: [
        (package, "a package without an advice of post-copy"), (discard, "a discard without an advice of post-copy"),
    ])
    func `refuses to go over to post-copy, and never runs the guest`(commands: [StreamCommand], reason: String) throws {
        let simulation = Simulation(seed: 1)
        let machine = try SimulatedMachine(name: "destination", simulation: simulation, pageCounts: [4])
        let network = SimulatedNetwork(simulation: simulation)
        let incoming = IncomingMigration(machine: machine, listener: network.makeListener(), runtime: simulation)
        let outcome = Mutex("")
        let thread = simulation.startThread("destination") {
            switch incoming.run(PausedGuest()) {
            case .completed: outcome.withLock { $0 = "the guest arrived" }
            case .failed(let error, _): outcome.withLock { $0 = "\(error)" }
            }
        }
        var bytes = encoded(13 + machine.machineName.utf8.count) { writer in
            StreamEncoder.writeHeader(into: &writer)
            StreamEncoder.writeConfiguration(machine: machine.machineName, subsections: [], into: &writer)
        }
        for command in [.openReturnPath] + commands { bytes += encoded(command) }
        let channel = try network.makeConnector().open()
        try channel.send(bytes, passing: [])
        try channel.endSending()
        thread.join()
        simulation.finish()
        #expect(outcome.withLock { $0 }.contains(reason), "\(outcome.withLock { $0 })")
        #expect(incoming.statistics.phase == .failed && !machine.isRunning)
    }
}
