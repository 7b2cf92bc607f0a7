internal import CLinux
internal import KVM
internal import LinuxSystem

/// What /dev/kvm is, found out by running a few instructions in it.
struct KVMCheck {
    let ground: Ground
    let findings: [Finding]

    init() {
        let system: KVMSystem
        do { system = try KVMSystem() } catch {
            ground = .anywhere
            findings = [Self.unusable(error)] + Self.unknown(because: "there is no usable KVM")
            return
        }
        let trial: KVMTrial
        do { trial = try KVMTrial(system) } catch {
            ground = .anywhere
            findings =
                [
                    Finding(
                        "kvm", "KVM", .missing, "a virtual machine cannot run: \(error)",
                        remedy: "look at the kernel's log", isEssential: true)
                ] + Self.unknown(because: "a virtual machine cannot run")
            return
        }
        ground = trial.runsKernelCode ? .linuxGuests : .smallGuests
        findings = [
            Self.kind(trial), Self.linuxGuests(trial), Self.dirtyLog(system), Self.dirtyRing(system),
        ]
    }

    private static func unusable(_ error: SystemError) -> Finding {
        let remedy =
            switch error.number {
            case 2: "enable virtualisation in the firmware and load kvm_amd or kvm_intel"
            case 13, 1: "add the user to the group kvm"
            default: "load kvm_amd or kvm_intel"
            }
        return Finding("kvm", "KVM", .missing, "\(error)", remedy: remedy, isEssential: true)
    }

    private static func unknown(because reason: String) -> [Finding] {
        [("linux-guests", "Linux guests"), ("dirty-log", "Dirty log"), ("dirty-ring", "Dirty ring")].map {
            Finding($0.0, $0.1, .missing, reason, isEssential: $0.0 == "dirty-log")
        }
    }

    private static func kind(_ trial: KVMTrial) -> Finding {
        let tenths = trial.instructionsPerSecond / 100_000
        let speed = "\(tenths / 10).\(tenths % 10) million instructions/s at level 0"
        if trial.runsKernelCode { return Finding("kvm", "KVM", .good, "\(hardware()), \(speed)", isEssential: true) }
        let registers = trial.hasVectorInstructions ? "" : ", no SSE arithmetic there"
        return Finding(
            "kvm", "KVM", .limited, "emulates guest kernel code (\(speed)\(registers)); level 3 runs natively",
            remedy: "for hardware virtualisation use a host with AMD-V or VT-x, or nested virtualisation",
            isEssential: true)
    }

    /// Which module answers.
    private static func hardware() -> String {
        if FileSystem.exists("/sys/module/kvm_amd") { return "hardware, AMD-V" }
        if FileSystem.exists("/sys/module/kvm_intel") { return "hardware, VT-x" }
        let flags = FileSystem.text(of: "/proc/cpuinfo") ?? ""
        if flags.contains(" svm") { return "hardware, AMD-V" }
        return flags.contains(" vmx") ? "hardware, VT-x" : "native"
    }

    private static func linuxGuests(_ trial: KVMTrial) -> Finding {
        guard !trial.runsKernelCode else {
            return Finding("linux-guests", "Linux guests", .good, "a kernel's instructions run natively")
        }
        return Finding(
            "linux-guests", "Linux guests", .missing,
            trial.hasVectorInstructions
                ? "a kernel would run, but far too slowly"
                : "a kernel's instructions are emulated, and not all of them",
            remedy: "the built-in guest runs here; for Linux guests use Scripts/lab")
    }

    private static func dirtyLog(_ system: KVMSystem) -> Finding {
        let flags = system.value(of: .manualDirtyLogProtection)
        switch flags & 3 {
        case 3:
            return Finding("dirty-log", "Dirty log", .good, "manual protection, initially all set", isEssential: true)
        case 1:
            return Finding(
                "dirty-log", "Dirty log", .limited, "manual protection, but not initially all set",
                remedy: "Linux 5.7 or newer starts a migration without a stall", isEssential: true)
        default:
            return Finding(
                "dirty-log", "Dirty log", .limited, "no manual protection: each sync protects all memory again",
                remedy: "Linux 5.2 or newer", isEssential: true)
        }
    }

    private static func dirtyRing(_ system: KVMSystem) -> Finding {
        let byteCount = system.value(of: .dirtyRing)
        guard byteCount > 0 else {
            return Finding(
                "dirty-ring", "Dirty ring", .missing, "the kernel has none",
                remedy: "Linux 5.11 or newer; the dirty log does without")
        }
        return Finding(
            "dirty-ring", "Dirty ring", .good, "up to \(byteCount / DirtyRing.entryByteCount) entries a virtual CPU")
    }
}
