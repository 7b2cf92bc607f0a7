import Foundation
import Testing

/// What `apus run` says to options that make no machine, before anything starts.
@Suite("Options of apus run") struct RunOptionTests {
    /// Options, and a piece of the one line that must come. "KERNEL" is a kernel that is there.
    static let wrong: [(options: String, answer: String)] = [
        ("", "Nothing to run: give --kernel FILE, or --incoming to wait for a guest."),
        ("--kernel /nowhere/kernel", "open /nowhere/kernel: No such file or directory"),
        ("--kernel KERNEL --initrd /nowhere/initrd", "open /nowhere/initrd: No such file or directory"),
        ("--incoming defer --initrd KERNEL", "--initrd without --kernel."),
        ("--kernel KERNEL --memory 0", "0 bytes are no multiple of 2 MiB."),
        ("--kernel KERNEL --memory 3M", "3145728 bytes are no multiple of 2 MiB."),
        ("--kernel KERNEL --memory much", "'much' is no size, such as 512M or 2G."),
        ("--kernel KERNEL --memory 99999999999999999999G", "'99999999999999999999G' is no size"),
        ("--kernel KERNEL --memory 512M,share=on", "'share=on' is not known: shared=on, shared=off, hugepages=2M"),
        ("--kernel KERNEL --memory 512M,hugepages=4M", "Huge pages of 4M are not known: 2M and 1G are."),
        ("--kernel KERNEL --memory 512M,hugepages=1G", "536870912 bytes are no multiple of 1024 MiB."),
        ("--kernel KERNEL --memory 2G,hugepages=2M,shared=off", "Memory in huge pages is always shared."),
        ("--kernel KERNEL --memory 100T", "102400 GiB are more than a guest can address."),
        ("--kernel KERNEL --cpus 0", "--cpus 0: 1 to 64 virtual CPUs are possible."),
        ("--kernel KERNEL --cpus 65", "--cpus 65: 1 to 64 virtual CPUs are possible."),
        ("--kernel KERNEL --cpus two", "The value 'two' is invalid for '--cpus <N>'"),
        ("--kernel KERNEL --dirty-ring 1000", "--dirty-ring 1000: powers of two from 1024 on are possible."),
        ("--kernel KERNEL --disk ,readonly", "It names no file."),
        ("--kernel KERNEL --disk KERNEL,readwrite", "'readwrite' is not known: FILE[,readonly]."),
        ("--kernel KERNEL --net nic0", "'nic0' is not known: tap=NAME[,mac=ADDRESS]."),
        ("--kernel KERNEL --net mac=52:54:00:12:34:56", "It names no tap: tap=NAME[,mac=ADDRESS]."),
        ("--kernel KERNEL --net tap=a,mac=52:54:0:12:34:56", "'52:54:0:12:34:56' is no MAC address"),
        ("--kernel KERNEL --net tap=a,mac=53:54:00:12:34:56", "53:54:00:12:34:56 is the address of a group"),
        ("--kernel KERNEL --net tap=abcdefghijklmnop", "'abcdefghijklmnop' is longer than an interface's name"),
        ("--kernel KERNEL --net tap=a --net tap=a", "--net: the tap a is given twice."),
        ("--kernel KERNEL --serial unix:", "It names no socket: unix:PATH."),
        ("--kernel KERNEL --serial unix:/\(String(repeating: "a", count: 107))", "The path has 108 bytes"),
        ("--kernel KERNEL --console stdio", "--serial and --console cannot both lead to stdio"),
        ("--kernel KERNEL --console pty,ports=32", "1 to 31 ports are possible."),
        ("--kernel KERNEL --free-page-hints", "--free-page-hints without --balloon."),
        ("--kernel KERNEL --free-page-reporting", "--free-page-reporting without --balloon."),
        (
            "--kernel KERNEL" + String(repeating: " --disk KERNEL", count: 8),
            "9 virtio devices do not fit: the machine has 8 transports."
        ),
        ("--kernel KERNEL --qmp tcp:localhost:4444", "Only unix:PATH is possible."),
        (
            "--kernel KERNEL --uuid 550e8400",
            "--uuid 550e8400 is no UUID, such as 550e8400-e29b-41d4-a716-446655440000."
        ),
        ("--incoming somewhere", "--incoming: 'somewhere' is no migration address: tcp:, unix:, fd:, exec: or file:."),
        ("--incoming tcp:host", "--incoming: 'tcp:host' lacks a port: tcp:HOST:PORT."),
        ("--kernel KERNEL --colour blue", "Unknown option '--colour'"),
    ]

    @Test(arguments: wrong) func `a wrong value is answered with what is wrong with it`(
        options: String, answer: String
    ) throws {
        let folder = CommandFolder()
        let kernel = folder.path("kernel")
        try Data("none".utf8).write(to: URL(filePath: kernel))
        let words = options.split(separator: " ").map { $0.replacingOccurrences(of: "KERNEL", with: kernel) }
        let result = try apus(["run"] + words)
        #expect(result.status == 64)
        #expect(result.errors.contains("Error: ") && result.errors.contains(answer), "\(result.errors)")
        #expect(result.output == "")
    }

    @Test func `the help names every option and shows how to begin`() throws {
        let help = try apus("run", "--help").output
        for option in [
            "--kernel", "--initrd", "--cmdline", "--memory", "--cpus", "--dirty-ring", "--disk", "--net", "--serial",
            "--console", "--no-rng", "--balloon", "--free-page-hints", "--free-page-reporting", "--rtc", "--qmp",
            "--name", "--uuid", "--paused", "--incoming", "--no-reboot",
        ] {
            #expect(help.contains("  \(option)") || help.contains("/\(option)"), "\(option)")
        }
        #expect(help.contains("apus run --kernel vmlinuz --initrd initrd.img"))
    }
}
