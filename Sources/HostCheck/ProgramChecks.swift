internal import LinuxSystem

/// QEMU, the peer.
func qemuFinding() -> Finding {
    let name = "qemu-system-x86_64"
    guard let path = FileSystem.program(name) else {
        return Finding("qemu", "QEMU", .missing, "\(name) is not there", remedy: "apt-get install qemu-system-x86")
    }
    let text = output(of: path, ["--version"]) ?? ""
    guard let line = text.split(separator: "\n").first, let version = line.split(separator: " ").dropFirst(3).first
    else { return Finding("qemu", "QEMU", .limited, "\(path) does not say its version") }
    return Finding("qemu", "QEMU", .good, "\(path), version \(version)")
}

/// What the lab needs: a machine in software with its own KVM.
func labFinding() -> Finding {
    let needs = [
        ("qemu-system-x86_64", "qemu-system-x86"), ("busybox", "busybox-static"), ("depmod", "kmod"), ("cpio", "cpio"),
        ("dpkg-deb", "dpkg"), ("ip", "iproute2"),
    ]
    let missing = needs.filter { FileSystem.program($0.0) == nil }
    guard !missing.isEmpty else { return Finding("lab", "Lab", .good, "its programs are all here") }
    return Finding(
        "lab", "Lab", .missing, "without \(missing.map(\.0).joined(separator: ", "))",
        remedy: "apt-get install \(missing.map(\.1).joined(separator: " "))")
}

/// What a program prints within five seconds, nil if it does not end well.
private func output(of path: String, _ arguments: [String]) -> String? {
    guard let pipe = try? OwnedDescriptor.pipe(),
        let null = try? OwnedDescriptor(opening: "/dev/null", for: .readingAndWriting),
        let process = try? ChildProcess(
            program: path, arguments: arguments,
            descriptors: [
                .init(null.number, as: 0), .init(pipe.writing.number, as: 1), .init(null.number, as: 2),
            ]),
        let ending = try? process.wait(for: .seconds(5)), ending == .exited(status: 0)
    else { return nil }
    var buffer = [UInt8](repeating: 0, count: 4096)
    guard let count = try? buffer.withUnsafeMutableBytes({ try pipe.reading.read(into: $0) }) else { return nil }
    return String(decoding: buffer.prefix(count), as: UTF8.self)
}
