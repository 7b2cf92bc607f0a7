import ArgumentParser
import BuiltInGuest
import LinuxSystem

struct GuestCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "guest",
        abstract: "Write the built-in guest to a file: a kernel of a few KiB that dirties memory and checks it.",
        discussion: """
            It needs no firmware and no Linux, boots in Apus and in QEMU's microvm, and reports on its serial port:
              apus guest /tmp/guest.elf
              apus run --kernel /tmp/guest.elf --cmdline 'region=16 rate=50' --memory 64M
              qemu-system-x86_64 -M microvm,acpi=off -accel kvm -m 64 -nodefaults -nographic -serial stdio \\
                -kernel /tmp/guest.elf -append 'region=16 rate=50'
            """)

    @Argument(help: "Where to.")
    var file: String

    func run() throws {
        do {
            let output = try OwnedDescriptor(opening: file, for: .replacing)
            let image = BuiltInGuestImage.bytes
            try output.write(all: image.span.bytes)
        } catch { throw Failure(input: file, error) }
    }
}
