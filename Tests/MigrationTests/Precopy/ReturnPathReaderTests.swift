import MigrationStream
import MigrationTestSupport
import Testing

@testable import Migration

@Suite("What the destination answers") struct ReturnPathReaderTests {
    /// A reader that has read these messages and then the end of the connection.
    private func read(_ messages: [ReturnPathMessage]) throws -> ReturnPathReader {
        let simulation = Simulation(seed: 1)
        let network = SimulatedNetwork(simulation: simulation)
        let listener = network.makeListener()
        let source = try network.makeConnector().open()
        let destination = try listener.accept()
        let reader = ReturnPathReader(
            channel: source, control: OutgoingControl(runtime: simulation, maximumBandwidth: 0))
        let thread = try reader.start()
        let answers = AnswerQueue(channel: destination)
        for message in messages { answers.send(message) }
        try destination.endSending()
        thread.join()
        simulation.finish()
        return reader
    }

    @Test(arguments: [0, 1] as [UInt32])
    func `a destination that ends the connection after its last word was not silent`(code: UInt32) throws {
        let reader = try read([.pong(PeerGreeting.pong), .shut(code)])
        #expect(reader.shutCode == code && reader.silence == nil)
    }

    @Test func `one that ends it without a word was`() throws {
        let reader = try read([.pong(3)])
        #expect(reader.shutCode == nil && reader.hasPong(3))
        guard let silence = reader.silence, case MigrationError.destinationEnded = silence else {
            Issue.record("\(String(describing: reader.silence))")
            return
        }
    }
}
