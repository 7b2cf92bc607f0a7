import ArgumentParser

/// `apus stream`: what QEMU's migration streams hold, for people and programs.
struct StreamCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stream",
        abstract: "Look into QEMU's migration streams, and pass them on.",
        discussion: """
            A stream is what 'migrate' of QEMU or Apus writes. To get one as a file from a QEMU:

              (qemu) migrate "exec:cat > guest.mig"

            Files can be main channels, and what 'apus stream relay --record' keeps of the other channels of a \
            migration: multifd, preempt, recovery and return path. '-' is standard input.
            """,
        subcommands: [
            ShowCommand.self, CheckCommand.self, ExtractCommand.self, DiffCommand.self, RewriteCommand.self,
            RelayCommand.self,
        ])
}
