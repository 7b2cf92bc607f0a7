internal import LinuxSystem

/// Whether faults of a running guest can be served, and with which operations.
func userFaultFinding() -> Finding {
    let names: [(UserFault.Features, String)] = [
        (.missingSharedMemory, "shared memory"), (.missingHugePages, "huge pages"), (.minorSharedMemory, "continue"),
        (.move, "move"), (.writeProtection, "write protection"), (.poison, "poison"),
    ]
    var failures: [String] = []
    for access in [UserFault.Access.systemCall, .device] {
        do throws(SystemError) {
            let features = try UserFault.probe(access)
            let way = access == .device ? "by /dev/userfaultfd" : "by system call"
            let present = names.filter { features.contains($0.0) }.map(\.1).joined(separator: ", ")
            let lacking = names.filter { !features.contains($0.0) }.map(\.1)
            if features.contains([.missingSharedMemory, .minorSharedMemory, .move]) {
                return Finding("userfaultfd", "Userfaultfd", .good, "\(way): \(present)", isEssential: true)
            }
            return Finding(
                "userfaultfd", "Userfaultfd", .limited,
                "\(way): \(present); without \(lacking.joined(separator: ", "))",
                remedy: "Linux 6.8 or newer has them all", isEssential: true)
        } catch { failures.append("\(error)") }
    }
    let onlyUserMode = (try? UserFault.probe(.systemCallUserModeOnly)) != nil
    let setting = FileSystem.text(of: "/proc/sys/vm/unprivileged_userfaultfd")?.prefix(1) ?? "unknown"
    let reason =
        failures.joined(separator: "; ")
        + (onlyUserMode ? "; for user space only, which a guest's memory is not enough served by" : "")
        + "; vm.unprivileged_userfaultfd is \(setting)"
    return Finding(
        "userfaultfd", "Userfaultfd", .missing, reason,
        remedy: "give access to /dev/userfaultfd, or sysctl vm.unprivileged_userfaultfd=1, or CAP_SYS_PTRACE",
        isEssential: true)
}

/// Transparent huge pages of private and shared memory, and the pools of explicit ones.
func hugePagesFinding() -> Finding {
    let base = "/sys/kernel/mm/transparent_hugepage"
    let transparent = chosen(FileSystem.text(of: "\(base)/enabled"))
    let shared = chosen(FileSystem.text(of: "\(base)/shmem_enabled"))
    let pools = (FileSystem.names(in: "/sys/kernel/mm/hugepages") ?? []).map { name in
        let size = Int(name.filter(\.isNumber)) ?? 0
        let free = number("/sys/kernel/mm/hugepages/\(name)/free_hugepages")
        let total = number("/sys/kernel/mm/hugepages/\(name)/nr_hugepages")
        return "\(size >> 10) MiB: \(free) of \(total) free"
    }
    let reason =
        "transparent: \(transparent), shared memory: \(shared); pools: "
        + (pools.isEmpty ? "none" : pools.joined(separator: ", "))
    if transparent == "always" || transparent == "madvise" {
        return Finding("huge-pages", "Huge pages", .good, reason)
    }
    return Finding(
        "huge-pages", "Huge pages", .limited, reason,
        remedy: "echo madvise > \(base)/enabled makes guests and their arrival faster")
}

/// Memory that guests could have.
func memoryFinding() -> Finding {
    let fields = (FileSystem.text(of: "/proc/meminfo") ?? "").split(separator: "\n")
    func kibibytes(_ name: String) -> Int {
        let line = fields.first { $0.hasPrefix(name + ":") } ?? ""
        return Int(line.filter(\.isNumber)) ?? 0
    }
    let available = kibibytes("MemAvailable") >> 10
    let reason = "\(available) of \(kibibytes("MemTotal") >> 10) MiB available"
    if available >= 2048 { return Finding("memory", "Memory", .good, reason) }
    return Finding(
        "memory", "Memory", available >= 512 ? .limited : .missing, reason,
        remedy: "the lab needs 3 GiB, a small guest 64 MiB on each side")
}

/// The word in brackets: "always [madvise] never".
private func chosen(_ text: String?) -> String {
    guard let text, let open = text.firstIndex(of: "["), let close = text.firstIndex(of: "]") else { return "none" }
    return String(text[text.index(after: open)..<close])
}

private func number(_ path: String) -> Int { Int((FileSystem.text(of: path) ?? "").filter(\.isNumber)) ?? 0 }
