import ArgumentParser
import LinuxSystem
import StreamTools

struct RelayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "relay",
        abstract: "Stand between two monitors that migrate, and decode and encode all channels.",
        discussion: """
            Every connection of the source is answered with one to the destination: the main channel, multifd and \
            preempt channels, and those of a recovery, in the order of the source. Both directions are decoded and \
            encoded again; whatever cannot be decoded cuts the connection, and the reason is printed.

              $ apus stream relay --listen tcp:127.0.0.1:4000 --connect tcp:127.0.0.1:4001 --record captured
              (destination) migrate_incoming tcp:127.0.0.1:4001
              (source)      migrate tcp:127.0.0.1:4000

            It ends when a migration has ended and all connections are closed, and then prints what passed.

            Exit status: 0, or 1 if something could not be decoded or a connection failed.
            """)

    @Option(
        help: ArgumentHelp(
            "Where the source connects to: tcp:HOST:PORT or unix:PATH. Port 0 picks a free one.", valueName: "URI"))
    var listen: String

    @Option(help: ArgumentHelp("Where the destination listens.", valueName: "URI"))
    var connect: String

    @Option(
        help: ArgumentHelp(
            "A folder that gets what is received: chN.c2s from the source, chN.s2c from the destination.",
            valueName: "FOLDER"))
    var record: String?

    @Flag(help: "Compress the pages of compressed multifd channels anew.")
    var recompress = false

    @Flag(help: "End when all connections are closed, also after a failure: wait for no recovery.")
    var once = false

    @Flag(help: "Print 'listening ADDRESS' on standard output first, for scripts that pick port 0.")
    var announce = false

    func run() throws {
        let relay: Relay
        do {
            relay = try Relay(
                listeningOn: SocketAddress(parsing: listen), connectingTo: SocketAddress(parsing: connect),
                options: .init(recordFolder: record, recompresses: recompress, endsWhenCut: once))
        } catch let error as SocketAddress.ParseError {
            throw ValidationError(error.description)
        } catch {
            throw Failure(input: listen, error)
        }
        if announce { try write("listening \(relay.address)\n") }
        let report = relay.run()
        try write(report.text + "\n")
        if report.hasFailures { throw ExitCode(1) }
    }
}
