import ArgumentParser
import Devices
import LinuxSystem
import Machine
import MigrationStream
import Monitor
import QMP
import Transports

struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a guest: a Linux kernel on KVM, in a machine like QEMU's microvm.",
        discussion: """
            EXAMPLES
              A Linux guest with its console on this terminal:
                apus run --kernel vmlinuz --initrd initrd.img --cmdline 'console=ttyS0' --memory 512M
              A disk, a network card and a second CPU:
                apus run --kernel vmlinuz --cpus 2 --memory 1G --disk root.img --net tap=tap0
              The first again, steered by QMP, and a second one that waits for it to arrive:
                apus run --kernel vmlinuz --memory 512M --qmp unix:/tmp/source.qmp --serial /tmp/source.log
                apus run --memory 512M --qmp unix:/tmp/destination.qmp --incoming tcp:0.0.0.0:4444

            Devices take the machine's eight transports in this order: disks, network cards, random numbers, console, \
            balloon. Memory, virtual CPUs and devices must be the same at both ends of a migration. `apus doctor` says whether \
            this host runs Linux guests.
            """)

    @Option(
        help: ArgumentHelp(
            "The kernel: a bzImage, or an ELF image with a PVH entry. With --incoming: what a reboot starts.",
            valueName: "FILE"), completion: .file())
    var kernel: String?
    @Option(help: ArgumentHelp("The kernel's first root file system.", valueName: "FILE"), completion: .file())
    var initrd: String?
    @Option(help: ArgumentHelp("The kernel's command line.", valueName: "TEXT"))
    var cmdline = "console=ttyS0 reboot=t panic=-1"
    @Option(
        help: ArgumentHelp(
            """
            Guest memory, a multiple of 2M (default: 512M). shared=on: a memfd, which a migration within the host can hand \
            over as it is; hugepages=2M or 1G: from the host's pool of huge pages. \
            Post-copy fetches them whole: with 1G each wait for a page takes as long as a gibibyte takes.
            """, valueName: "SIZE[,shared=on][,hugepages=SIZE]"), transform: MemoryOption.init(_:))
    var memory = MemoryOption.standard
    @Option(help: ArgumentHelp("Virtual CPUs, 1 to 64.", valueName: "N"))
    var cpus = 1
    @Option(
        help: ArgumentHelp(
            """
            Track dirty pages in a ring of so many entries for each virtual CPU, a power of two from 1024 on, instead of \
            in KVM's log. A migration can then limit each virtual CPU by itself.
            """, valueName: "ENTRIES"))
    var dirtyRing: Int?
    @Option(
        help: ArgumentHelp(
            "XCR0 at the guest's start, 7 for AVX: only for a KVM that does not see guests set it (software SVM).",
            valueName: "N"))
    var xcr0: UInt64 = 1
    @Option(
        help: ArgumentHelp("A raw disk image or block device; may be given again.", valueName: "FILE[,readonly]"),
        transform: DiskOption.init)
    var disk: [DiskOption] = []
    @Option(
        help: ArgumentHelp(
            "A network card on an existing tap; may be given again.", valueName: "tap=NAME[,mac=ADDRESS]"),
        transform: NetworkOption.init)
    var net: [NetworkOption] = []
    @Option(
        help: ArgumentHelp(
            "Where the serial port leads: stdio (default), none, pty, unix:PATH (waits for a connection), or a file.",
            valueName: "PLACE"), transform: LinePlace.init)
    var serial = LinePlace.stdio
    @Option(
        help: ArgumentHelp(
            "A virtio console beside it, which leads to such a place. ports: what the device has room for.",
            valueName: "PLACE[,ports=N]"), transform: ConsoleOption.init)
    var console: ConsoleOption?
    @Flag(inversion: .prefixedNo, help: "A source of random numbers for the guest.")
    var rng = true
    @Flag(help: "A balloon, by which the guest gives memory back.")
    var balloon = false
    @Flag(help: "The balloon tells a migration which pages the guest does not use.")
    var freePageHints = false
    @Flag(help: "The balloon gives pages back to the host as the guest frees them.")
    var freePageReporting = false
    @Flag(help: "A real-time clock, which QEMU's microvm has without KVM only.")
    var rtc = false
    @Option(help: ArgumentHelp("Serve QMP here; may be given again.", valueName: "unix:PATH"), transform: qmpPath)
    var qmp: [String] = []
    @Option(help: ArgumentHelp("The guest's name, for query-name.", valueName: "NAME"))
    var name: String?
    @Option(
        help: ArgumentHelp(
            "The guest's UUID, for query-uuid; with validate-uuid a migration compares it.", valueName: "UUID"))
    var uuid: String?
    @Flag(help: "Do not start the guest; QMP's cont does.")
    var paused = false
    @Option(
        help: ArgumentHelp(
            """
            Wait for a guest at tcp:HOST:PORT, unix:PATH or fd:NUMBER, or take it from file:PATH or exec:COMMAND; defer \
            waits for QMP's migrate-incoming.
            """, valueName: "URI"))
    var incoming: String?
    @Flag(help: "End when the guest resets itself.")
    var noReboot = false

    // For tests: hidden, because nobody else has use for a machine that fails.
    @Option(help: .hidden)
    var failDevice: String?

    func validate() throws {
        guard MachineConfiguration.cpuCounts.contains(cpus) else {
            throw ValidationError("--cpus \(cpus): 1 to 64 virtual CPUs are possible.")
        }
        let deviceCount = disk.count + net.count + (rng ? 1 : 0) + (console == nil ? 0 : 1) + (balloon ? 1 : 0)
        guard deviceCount <= MachineLayout.transportCount else {
            throw ValidationError(
                "\(deviceCount) virtio devices do not fit: the machine has \(MachineLayout.transportCount) transports.")
        }
        if let dirtyRing, dirtyRing < MachineConfiguration.smallestDirtyRing || dirtyRing.nonzeroBitCount != 1 {
            throw ValidationError("--dirty-ring \(dirtyRing): powers of two from 1024 on are possible.")
        }
        if let uuid, MachineUUID(uuid) == nil {
            throw ValidationError("--uuid \(uuid) is no UUID, such as 550e8400-e29b-41d4-a716-446655440000.")
        }
        if let failDevice, FailureInjection(failDevice) == nil {
            throw ValidationError("--fail-device \(failDevice) is neither save:N nor load:N.")
        }
        if kernel == nil && incoming == nil {
            throw ValidationError("Nothing to run: give --kernel FILE, or --incoming to wait for a guest.")
        }
        if initrd != nil && kernel == nil { throw ValidationError("--initrd without --kernel.") }
        if (freePageHints || freePageReporting) && !balloon {
            throw ValidationError("--free-page-\(freePageHints ? "hints" : "reporting") without --balloon.")
        }
        if serial == .stdio && console?.place == .stdio {
            throw ValidationError("--serial and --console cannot both lead to stdio; --serial none frees it.")
        }
        for (index, one) in net.enumerated() where net[..<index].contains(where: { $0.tap == one.tap }) {
            throw ValidationError("--net: the tap \(one.tap) is given twice.")
        }
        if let incoming, incoming != "defer" {
            do { _ = try MigrationAddress(parsing: incoming) } catch { throw ValidationError("--incoming: \(error)") }
        }
        for path in [kernel, initrd].compactMap({ $0 }) {
            do { _ = try OwnedDescriptor(opening: path, for: .reading) } catch { throw ValidationError("\(error)") }
        }
    }

    func run() async throws {
        var options = VirtualMachine.Options()
        options.name = name
        options.uuid = uuid.flatMap { MachineUUID($0) }.map { "\($0)" }
        options.qmpPaths = qmp
        options.startsPaused = paused
        options.incoming = incoming
        options.endsOnReset = noReboot
        do {
            try Machine.checkHost(dirtyRingCapacity: dirtyRing)
            let hardware = try Hardware(self)
            defer { hardware.end() }
            options.disks = { [disks = hardware.disks] in disks.information }
            let machine = try Machine(hardware.configuration)
            let guest = try VirtualMachine(machine, options, version: Apus.qmpVersion)
            guest.onFailure { text in say("apus: \(text)") }
            hardware.disks.onFailure { guest.diskFailed($0, isWrite: $1, $2) }
            let signals = try TerminationSignals { _ in guest.quit() }
            defer { withExtendedLifetime(signals) {} }
            if case .failed(let reason) = await guest.run() { throw Failure(reason) }
        } catch {
            say("apus: \(error)")
            throw ExitCode(1)
        }
    }
}

/// The path in `unix:PATH`.
private func qmpPath(_ text: String) throws -> String {
    guard text.hasPrefix("unix:") else { throw ValidationError("Only unix:PATH is possible.") }
    let path = String(text.dropFirst(5))
    try checkSocketPath(path)
    return path
}
