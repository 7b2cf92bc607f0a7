import Foundation

/// A QEMU with the built-in guest's machine; killed with this value.
final class QEMUProcess {
    let socket: String
    private let serial: String
    private let process = Process()

    init(_ folder: CompareFolder, _ name: String, _ arguments: [String]) throws {
        (socket, serial) = (folder.path("\(name).qmp"), folder.path("\(name).serial"))
        process.executableURL = URL(filePath: "/usr/bin/qemu-system-x86_64")
        process.arguments =
            [
                "-M", "microvm,acpi=off", "-accel", "kvm", "-cpu", "host,arch-capabilities=off", "-m", "64",
                "-nodefaults",
                "-display", "none", "-no-reboot", "-serial", "file:\(serial)", "-qmp",
                "unix:\(socket),server=on,wait=off",
            ] + arguments
        process.standardInput = FileHandle.nullDevice
        try process.run()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    /// Waits until the guest has said so many lines; false when it has not within a minute.
    func waitForLines(_ count: Int) -> Bool {
        let end = Date(timeIntervalSinceNow: 60)
        while Date() < end, process.isRunning {
            let text = (try? String(contentsOfFile: serial, encoding: .utf8)) ?? ""
            if text.split(separator: "\n").count > count { return true }
            usleep(20_000)
        }
        return false
    }
}
