import ArgumentParser
import Devices
import LinuxSystem
import Machine
import Monitor
import QMP

struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a guest: a Linux kernel on KVM, in a machine like QEMU's microvm.",
        discussion: """
            EXAMPLES
              A Linux guest with its console on this terminal:
                apus run --kernel vmlinuz --initrd initrd.img --cmdline 'console=ttyS0' --memory 512M
              The same, steered by QMP, and a second one that waits for it to arrive:
                apus run --kernel vmlinuz --memory 512M --qmp unix:/tmp/source.qmp --serial /tmp/source.log
                apus run --memory 512M --qmp unix:/tmp/destination.qmp --incoming tcp:0.0.0.0:4444

            Memory, virtual CPUs and devices must be the same at both ends of a migration. `apus doctor` says whether \
            this host runs Linux guests.
            """)

    @Option(help: ArgumentHelp("The kernel: a bzImage, or an ELF image with a PVH entry.", valueName: "FILE"))
    var kernel: String?
    @Option(help: ArgumentHelp("The kernel's first root file system.", valueName: "FILE"))
    var initrd: String?
    @Option(help: ArgumentHelp("The kernel's command line.", valueName: "TEXT"))
    var cmdline = "console=ttyS0 reboot=t panic=-1"
    @Option(
        help: ArgumentHelp(
            "Guest memory, a multiple of 2M. shared=on: a memfd; hugepages=2M or 1G: from the host's pool.",
            valueName: "SIZE[,shared=on][,hugepages=SIZE]"))
    var memory = MemoryOption(argument: "512M")!
    @Option(help: ArgumentHelp("Virtual CPUs, 1 to 64.", valueName: "N"))
    var cpus = 1
    @Option(
        help: ArgumentHelp(
            """
            Track dirty pages in a ring of so many entries for each virtual CPU, a power of two from 1024 on, instead of \
            in KVM's log. A migration can then limit each virtual CPU by itself.
            """, valueName: "ENTRIES"))
    var dirtyRing: Int?
    @Option(help: ArgumentHelp("A raw disk image or block device; may be given again.", valueName: "FILE[,readonly]"))
    var disk: [String] = []
    @Option(help: ArgumentHelp("A network card on an existing tap.", valueName: "tap=NAME[,mac=ADDRESS]"))
    var net: [String] = []
    @Option(
        help: ArgumentHelp(
            "Where the serial port leads: stdio, none, unix:PATH (listens), or a file.", valueName: "PLACE"))
    var serial = "stdio"
    @Option(help: ArgumentHelp("Serve QMP here; may be given again.", valueName: "unix:PATH"))
    var qmp: [String] = []
    @Option(help: ArgumentHelp("The guest's name, for query-name.", valueName: "NAME"))
    var name: String?
    @Flag(help: "Do not start the guest; QMP's cont does.")
    var paused = false
    @Option(help: ArgumentHelp("Wait for a guest: an address, or defer for QMP's migrate-incoming.", valueName: "URI"))
    var incoming: String?
    @Flag(help: "End when the guest resets itself.")
    var noReboot = false

    func validate() throws {
        guard MachineConfiguration.cpuCounts.contains(cpus) else {
            throw ValidationError("--cpus \(cpus): 1 to 64 virtual CPUs are possible.")
        }
        guard memory.byteCount > 0, memory.byteCount % (2 << 20) == 0 else {
            throw ValidationError("--memory: \(memory.byteCount) bytes are no multiple of 2M.")
        }
        if kernel == nil && incoming == nil {
            throw ValidationError("Nothing to run: give --kernel FILE, or --incoming to wait for a guest.")
        }
        if initrd != nil && kernel == nil { throw ValidationError("--initrd without --kernel.") }
        for path in qmp where !path.hasPrefix("unix:") || path.count <= 5 {
            throw ValidationError("--qmp \(path): only unix:PATH is possible.")
        }
        for path in [kernel, initrd].compactMap({ $0 }) {
            do { _ = try OwnedDescriptor(opening: path, for: .reading) } catch { throw ValidationError("\(error)") }
        }
    }

    func run() async throws {
        var options = VirtualMachine.Options()
        options.name = name
        options.qmpPaths = qmp.map { String($0.dropFirst(5)) }
        options.startsPaused = paused
        options.incoming = incoming
        options.endsOnReset = noReboot
        do {
            let hardware = try Hardware(self)
            defer { hardware.end() }
            options.disks = hardware.disks
            let machine = try Machine(hardware.configuration)
            let guest = try VirtualMachine(machine, options, version: Apus.qmpVersion)
            guest.onFailure { text in say("apus: \(text)") }
            let signals = try TerminationSignals { _ in guest.quit() }
            defer { withExtendedLifetime(signals) {} }
            if case .failed(let reason) = await guest.run() { throw Failure(reason) }
        } catch {
            say("apus: \(error)")
            throw ExitCode(1)
        }
    }
}
