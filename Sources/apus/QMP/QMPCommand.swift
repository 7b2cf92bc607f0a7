import ArgumentParser
import LinuxSystem
import QMP
import QMPClient

struct QMPCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "qmp",
        abstract: "Send one command to a monitor, of Apus or QEMU, and print the answer.",
        discussion: """
            The answer is printed as one line of JSON. Without a command, the monitor says who it is.

              $ apus qmp /run/guest.qmp query-status
              {"status": "running", "singlestep": false, "running": true}
              $ apus qmp /run/guest.qmp migrate-set-parameters '{"downtime-limit": 50}'
              $ apus qmp /run/guest.qmp migrate '{"uri": "tcp:other-host:4444"}' --events

            Exit status: 0, or 1 if the monitor refuses the command or cannot be reached.
            """)

    @Argument(
        help: "The UNIX socket on which the monitor listens: its path, or unix:PATH as for --qmp.",
        completion: .file(), transform: { $0.hasPrefix("unix:") ? String($0.dropFirst("unix:".count)) : $0 })
    var socket: String

    @Argument(help: "The command to execute.")
    var command: String?

    @Argument(help: "The command's arguments: a JSON object.")
    var arguments: String?

    @Flag(name: .shortAndLong, help: "Print events as they come, until interrupted.")
    var events = false

    @Option(name: .long, help: ArgumentHelp("Seconds to wait for the monitor's greeting.", valueName: "S"))
    var timeout = 10

    @Option(
        name: .customLong("pass"),
        help: ArgumentHelp(
            "Hand over this open descriptor of the calling shell with the command (getfd).", valueName: "N"))
    var descriptor: Int32?

    func validate() throws {
        if timeout < 1 { throw ValidationError("A timeout of \(timeout) seconds is too short.") }
        if descriptor != nil && command == nil { throw ValidationError("A descriptor is passed with a command.") }
        if let descriptor, descriptor < 3 {
            throw ValidationError("Descriptor \(descriptor) belongs to this program; pass one from 3 on.")
        }
    }

    func run() async throws {
        do {
            try await talk()
        } catch let error as QMPError {
            throw Failure(
                "\(command ?? socket): \(error.description)"
                    + (error.errorClass == .genericError ? "" : " (\(error.errorClass.rawValue))"))
        } catch let error as QMPClient.ConnectionEnded {
            throw Failure("\(socket): \(error.description)")
        }
    }

    private func talk() async throws {
        var object = QMPObject()
        if let arguments {
            guard case .object(let members) = try QMPValue(parsing: arguments) else {
                throw QMPError("the arguments are no JSON object: \(arguments)")
            }
            object = members
        }
        var passed: [PassedDescriptor] = []
        if let descriptor {
            guard let inherited = PassedDescriptor(inherited: descriptor) else {
                throw Failure("Descriptor \(descriptor) is not open in the calling shell.")
            }
            passed.append(inherited)
        }
        let client = try await QMPClient.connect(to: socket, within: .seconds(timeout))
        let events = client.events()
        if let command {
            try show(try await client.execute(command, object, passing: passed))
        } else if let greeting = client.greeting {
            try show(greeting.value)
        }
        if self.events {
            for await event in events { try show(event.value) }
        }
        client.close()
    }

    /// Writes a line at once, also into a pipe: events are to be seen when they come.
    private func show(_ value: QMPValue) throws {
        let line = value.utf8Text + [0x0A]
        try StandardOutput.shared.descriptor.write(all: line.span.bytes)
    }
}
