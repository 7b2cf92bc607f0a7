import ArgumentParser

@main
struct Apus: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apus",
        abstract: "A KVM virtual machine monitor that moves running guests.",
        version: "apus 0.1.0",
        subcommands: [StreamCommand.self, Doctor.self])
}
