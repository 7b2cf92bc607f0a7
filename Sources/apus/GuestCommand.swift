import ArgumentParser
import BuiltInGuest
import LinuxSystem

struct GuestCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "guest",
        abstract: "Write the built-in guest to a file that boots as a kernel.",
        discussion: """
            A guest of 12 KiB that needs no Linux and no firmware: it dirties memory at a rate, checks it all the time, \
            watches its clock and its vector registers, and says a line a second on the serial port. It boots wherever a PVH \
            kernel does:

              qemu-system-x86_64 -M microvm,acpi=off -accel kvm -m 128 -smp 2 -nodefaults -display none -no-reboot \
            -serial stdio -kernel FILE -append "region=64 rate=50 cpus=2 seconds=10"

            Words of its command line: region=MiB rate=MiB/s|max check=MiB/s|max pattern=seq|random|hot hot=MiB \
            cpus=N seconds=S period=MS end=halt|reset|poweroff idle=spin|halt tsc=KHZ vectors=sse|avx touch=PAGES.
            """)

    @Argument(help: "The file to write.")
    var file: String

    func run() throws {
        let output = try OwnedDescriptor(opening: file, for: .replacing)
        try BuiltInGuestImage.bytes.withUnsafeBytes { try output.write(all: $0) }
    }
}
