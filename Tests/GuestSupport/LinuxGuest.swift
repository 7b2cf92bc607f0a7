internal import Foundation
internal import LinuxSystem

/// The Linux guest with its workload, in QEMU with KVM: on this host if its KVM runs Linux, else in the lab.
public final class LinuxGuest: Sendable {
    public let process: GuestProcess

    public var lines: SerialLines { process.lines }

    /// Starts one. `workload` are the options of the guest's program: `rate=20 memory=64`.
    ///
    /// In the lab the first line comes after half a minute to a minute; the lab ends by itself after `limit`.
    public init(
        memoryMebibytes: Int = 256, cpuCount: Int = 1, workload: String = "rate=20 memory=64",
        limit: Duration = .seconds(300), arguments: [String] = []
    ) throws {
        let files = try Self.files()
        let words = workload.split(separator: " ").map { "workload.\($0)" }.joined(separator: " ")
        let machine =
            [
                "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-serial", "stdio", "-M", "microvm", "-accel", "kvm", "-cpu", "host", "-m", "\(memoryMebibytes)",
                "-smp", "\(cpuCount)", "-kernel", files.kernel, "-initrd", files.initramfs,
                "-append", "console=ttyS0 quiet panic=-1 reboot=t \(words)",
            ] + arguments
        if HostGround.runsLinuxGuestsHere {
            process = try GuestProcess(program: machine[0], arguments: Array(machine.dropFirst()))
        } else {
            process = try GuestProcess(
                program: GuestProcess.projectFolder + "/Scripts/lab",
                arguments: ["run", "--timeout", "\(limit.components.seconds)", "--"] + machine)
        }
    }

    public func stop() { process.stop() }

    /// A line of the workload.
    public struct Report: Equatable, Sendable {
        public let seconds: Double
        public let dirtiedPageCount: Int
        public let checkedPageCount: Int
        public let badPageCount: Int
        public let badRegisterCount: Int

        /// Nil if the line is none of the workload's reports.
        public init?(_ line: some StringProtocol) {
            guard let start = line.range(of: "workload: t=")?.lowerBound else { return nil }
            var fields: [Substring: Substring] = [:]
            for word in Substring(line[start...]).split(separator: " ") {
                let halves = word.split(separator: "=", maxSplits: 1)
                if halves.count == 2 { fields[halves[0]] = halves[1] }
            }
            guard let seconds = fields["t"].flatMap({ Double($0) }),
                let dirtied = fields["dirtied"].flatMap({ Int($0) }),
                let checked = fields["checked"].flatMap({ Int($0) }), let bad = fields["bad"].flatMap({ Int($0) }),
                let registers = fields["registers_bad"].flatMap({ Int($0) })
            else { return nil }
            self.seconds = seconds
            dirtiedPageCount = dirtied
            checkedPageCount = checked
            badPageCount = bad
            badRegisterCount = registers
        }
    }

    /// Waits for a report that satisfies `condition`.
    public func waitForReport(
        for limit: Duration, where condition: (Report) -> Bool = { _ in true }
    ) -> Report? {
        lines.wait(for: limit) { lines in
            for line in lines { if let report = Report(line), condition(report) { return report } }
            return nil
        }
    }

    private struct Failure: Error, CustomStringConvertible { let description: String }

    /// The kernel for PVH and the initramfs, as `Scripts/guest` makes them.
    private static func files() throws -> (kernel: String, initramfs: String) {
        let script = try GuestProcess(program: GuestProcess.projectFolder + "/Scripts/guest", arguments: [])
        let ending = try script.waitForEnd(for: .seconds(540))
        _ = script.lines.wait(for: .seconds(5)) { _ in script.lines.isEnded ? true : nil }
        let words = script.lines.all.map { $0.split(separator: "=", maxSplits: 1).map(String.init) }
        let values = Dictionary(words.filter { $0.count == 2 }.map { ($0[0], $0[1]) }) { first, _ in first }
        guard ending == .exited(status: 0), let kernel = values["VMLINUX"], let initramfs = values["INITRAMFS"] else {
            throw Failure(description: "Scripts/guest: \(String(describing: ending)), \(script.complaints)")
        }
        return (kernel, initramfs)
    }
}
