import Glibc
import LinuxSystem
import QMP

/// A real QEMU without a machine, which serves QMP at `path`, one client at a time.
///
/// It ends with this object, and also when this process dies: a shell holds it and waits for the end of a pipe.
final class RealQEMU: Sendable {
    let path = temporaryPath("qemu")
    private let process: ChildProcess
    private let lifeline: PassedDescriptor

    static let program = "qemu-system-x86_64"
    static var isInstalled: Bool {
        guard let folders = getenv("PATH").map({ String(cString: $0) }) else { return false }
        return folders.split(separator: ":").contains { access("\($0)/\(program)", X_OK) == 0 }
    }

    init() throws {
        // Made here, so that nobody has to wait until QEMU has made it.
        let listener = try ListeningSocket(on: .unix(path: path))
        let pipe = try OwnedDescriptor.pipe()
        let null = try OwnedDescriptor(opening: "/dev/null", for: .readingAndWriting)
        process = try ChildProcess(
            program: "/bin/sh",
            arguments: [
                "-c", #""$@" & child=$!; read -r _; kill $child; wait $child"#, "sh", Self.program, "-M", "none",
                "-nodefaults", "-display", "none", "-S", "-chardev", "socket,id=qmp,fd=3,server=on,wait=off", "-mon",
                "chardev=qmp,mode=control",
            ],
            descriptors: [
                ChildProcess.Descriptor(pipe.reading.number, as: 0), ChildProcess.Descriptor(null.number, as: 1),
                ChildProcess.Descriptor(null.number, as: 2),
                ChildProcess.Descriptor(listener.descriptor.number, as: 3),
            ])
        lifeline = PassedDescriptor(try pipe.writing.duplicate())
    }

    deinit {
        _ = lifeline.take()
        _ = try? process.wait(for: .seconds(10))
        unlink(path)
    }
}
