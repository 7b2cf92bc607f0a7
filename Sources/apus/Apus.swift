import ArgumentParser
import QMP

@main
struct Apus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apus",
        abstract: "A KVM virtual machine monitor that moves running guests.",
        version: "apus 0.1.0",
        subcommands: [
            Run.self, Migrate.self, Compare.self, StreamCommand.self, QMPCommand.self, GuestCommand.self, Doctor.self,
        ])

    /// QEMU's version whose QMP and state are spoken, and who speaks them.
    static let qmpVersion = Greeting.Version(major: 7, minor: 2, micro: 0, package: "apus 0.1.0")
}
