internal import BuiltInGuest
internal import KVM
internal import LinuxSystem

/// What both monitors are started with.
struct TrialCommands {
    var source: [String]
    var destination: [String]

    init(_ plan: TrialPlan, _ folder: TemporaryFolder) throws {
        let machine = ["--memory", "\(plan.memoryMebibytes)M", "--cpus", "\(plan.cpuCount)"]
        (source, destination) = (machine, machine + ["--incoming", "defer"])
        if let tap = plan.taps.first, let second = plan.taps.last {
            source += ["--net", "tap=\(tap)"]
            destination += ["--net", "tap=\(second)"]
        }
        switch plan.guest {
        case .builtIn:
            let image = folder.file("guest.elf")
            let file = try OwnedDescriptor(opening: image, for: .replacing)
            try BuiltInGuestImage.bytes.withUnsafeBytes { try file.write(all: $0) }
            source += ["--kernel", image, "--cmdline", plan.builtInParameters.commandLine]
        case .linux(let kernel, let initrd, let commandLine):
            source += ["--kernel", kernel, "--cmdline", commandLine]
            if let initrd { source += ["--initrd", initrd] }
        }
    }
}

extension TrialPlan {
    /// What the built-in guest writes to and checks, in MiB: its memory without itself.
    public var regionMebibytes: Int {
        var region = memoryMebibytes - 4
        while region > 0, BuiltInGuestImage.memorySize(regionByteCount: region << 20) > memoryMebibytes << 20 {
            region -= 1
        }
        return region
    }

    var builtInParameters: BuiltInGuestParameters {
        var parameters = BuiltInGuestParameters()
        parameters.regionMebibytes = regionMebibytes
        parameters.dirtyRate = .mebibytesPerSecond(workload.writeRate)
        parameters.checkRate = workload.readRate.map { .mebibytesPerSecond($0) } ?? .unlimited
        parameters.pattern = .hot(mebibytes: min(regionMebibytes, workload.hotMebibytes ?? memoryMebibytes / 4))
        parameters.cpuCount = cpuCount
        parameters.period = 50
        // Measured against the PIT on a busy host it is wrong by a third, and so would be the guest's gaps.
        parameters.tscFrequency = try? KVMSystem().makeVirtualMachine().makeVirtualCPU(index: 0).getTSCFrequency()
        return parameters
    }
}
