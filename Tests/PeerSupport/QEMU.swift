import Foundation
import LinuxSystem

/// A QEMU of the distribution, started for one test: software emulation, QMP and serial line connected.
///
/// QEMU connects to sockets on which the test listens, so that nothing needs to be waited for by trying.
final class QEMU: Sendable {
    let name: String
    let qmp: QMPConnection
    let serial: Transcript
    let process: TestProcess
    private let errors: String

    static let program = "qemu-system-x86_64"
    static var isInstalled: Bool { path(of: program) != nil }

    /// Starts QEMU as `name` with `arguments` after the common ones.
    init(_ name: String, in folder: URL, _ arguments: [String]) throws {
        self.name = name
        errors = folder.appending(path: "\(name).stderr").path
        let qmpPath = folder.appending(path: "\(name).qmp").path
        let serialPath = folder.appending(path: "\(name).serial").path
        let qmpListener = SharedListener(try ListeningSocket(on: .unix(path: qmpPath)))
        let serialListener = SharedListener(try ListeningSocket(on: .unix(path: serialPath)))
        let common = [
            "-nodefaults", "-no-user-config", "-display", "none",
            "-chardev", "socket,id=qmp,path=\(qmpPath)", "-mon", "chardev=qmp,mode=control",
            "-chardev", "socket,id=line,path=\(serialPath)", "-serial", "chardev:line",
        ]
        process = try TestProcess([Self.program] + common + arguments, errors: errors) {
            // A QEMU that ends before it has connected leaves nobody waiting.
            qmpListener.shutDown()
            serialListener.shutDown()
        }
        do {
            let qmpSocket = try qmpListener.accept()
            serial = Transcript(try serialListener.accept().descriptor.duplicate())
            qmp = try QMPConnection(qmpSocket, within: .seconds(60))
        } catch {
            process.killAndWait()
            throw PeerError("\(name) did not start (\(error)): \(Self.read(errors))")
        }
    }

    /// What it has said on standard error.
    var complaints: String { Self.read(errors) }

    func setCapabilities(_ names: [String]) throws {
        let capabilities = (["events"] + names).map { JSON.object(["capability": .string($0), "state": true]) }
        try qmp.execute("migrate-set-capabilities", ["capabilities": .array(capabilities)])
    }

    func setParameters(_ parameters: [String: JSON]) throws {
        try qmp.execute("migrate-set-parameters", parameters)
    }

    func migrate(to uri: String) throws { try qmp.execute("migrate", ["uri": .string(uri)]) }

    /// Ends it at once.
    func kill() {
        process.killAndWait()
        qmp.close()
    }

    /// Asks it to quit, and waits until it and its serial line have ended.
    func quit() throws {
        _ = try? qmp.execute("quit")
        _ = try process.waitForExit(within: .seconds(30))
        try serial.waitForEnd(within: .seconds(10))
    }

    private static func read(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }
}

/// A listening socket that one thread waits on and another may shut down.
final class SharedListener: Sendable {
    private let socket: ListeningSocket
    init(_ socket: consuming ListeningSocket) { self.socket = socket }
    func accept() throws -> Socket { try socket.accept() }
    func shutDown() { socket.shutDown() }
}

/// Where a program of PATH is; nil when it is not installed.
func path(of program: String) -> String? {
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map { "\($0)/\(program)" }
        .first { FileManager.default.isExecutableFile(atPath: $0) }
}
