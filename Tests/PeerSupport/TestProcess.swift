import Foundation
import Glibc
import LinuxSystem

/// A child process that does not outlive the tests.
///
/// The kernel kills it when the thread that started it ends, so all are started by one thread that lives as long as
/// the tests do (`setpriv --pdeathsig`). Another thread waits for each, so that its end is an event.
final class TestProcess: Sendable {
    let name: String
    let id: pid_t
    private let status = Watched<Int32?>(nil)

    /// Starts `arguments[0]`, found in PATH.
    ///
    /// - Parameters:
    ///   - input, output: descriptors to be its standard input and output; otherwise /dev/null.
    ///   - errors: a file to which its standard error is appended.
    ///   - ended: called once, on a thread of its own, when the process has ended.
    init(
        _ arguments: [String], input: Int32? = nil, output: Int32? = nil, errors: String,
        ended: @escaping @Sendable () -> Void = {}
    ) throws {
        name = URL(fileURLWithPath: arguments[0]).lastPathComponent
        let guarded = ["setpriv", "--pdeathsig", "KILL", "--"] + arguments
        id = try Spawner.shared.run { try spawn(guarded, input: input, output: output, errors: errors) }
        let (id, status) = (id, status)
        Thread.detachNewThread {
            var code: Int32 = 0
            while waitpid(id, &code, 0) < 0 && errno == EINTR {}
            status.change { $0 = code }
            ended()
        }
    }

    var hasEnded: Bool { status.current != nil }

    /// Ends it at once, and waits until it is gone.
    func killAndWait() {
        if !hasEnded { kill(id, SIGKILL) }
        _ = status.wait(until: .seconds(10)) { $0 }
    }

    func signal(_ number: Int32) { if !hasEnded { kill(id, number) } }
    func interrupt() { signal(SIGINT) }

    /// Whether it ends within so many seconds; its exit status then.
    func waitForExit(for seconds: Double) throws -> Int32? {
        status.wait(until: .seconds(seconds), { $0 }) == nil ? nil : try waitForExit(within: .seconds(1))
    }

    /// Waits for its end and returns the exit status; a signal is 128 + its number.
    func waitForExit(within limit: TimeLimit) throws -> Int32 {
        guard let code = status.wait(until: limit, { $0 }) else {
            throw PeerError("\(name) (process \(id)) did not end in time.")
        }
        return code & 0x7F == 0 ? code >> 8 & 0xFF : 128 + (code & 0x7F)
    }
}

private func spawn(_ arguments: [String], input: Int32?, output: Int32?, errors: String) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if let input {
        posix_spawn_file_actions_adddup2(&actions, input, 0)
    } else {
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    }
    if let output {
        posix_spawn_file_actions_adddup2(&actions, output, 1)
    } else {
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    }
    posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var defaults = sigset_t()
    sigemptyset(&defaults)
    sigaddset(&defaults, SIGPIPE)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
    var strings = arguments.map { strdup($0) }
    strings.append(nil)
    defer { for string in strings { free(string) } }
    var id: pid_t = 0
    let code = posix_spawnp(&id, arguments[0], &actions, &attributes, strings, environ)
    guard code == 0 else {
        throw SystemError(call: "posix_spawnp", subject: arguments.joined(separator: " "), number: code)
    }
    return id
}

/// The thread that starts all child processes, and never ends.
private final class Spawner: Sendable {
    static let shared = Spawner()
    private let jobs = Watched<[@Sendable () -> Void]>([])

    private init() {
        let jobs = jobs
        Thread.detachNewThread {
            while true {
                let job = jobs.wait(until: .seconds(86400)) { $0.isEmpty ? nil : $0.removeFirst() }
                job?()
            }
        }
    }

    func run(_ body: @escaping @Sendable () throws -> pid_t) throws -> pid_t {
        let result = Watched<Result<pid_t, any Error>?>(nil)
        jobs.change { $0.append { result.change { $0 = Result(catching: body) } } }
        guard let result = result.wait(until: .seconds(30), { $0 }) else {
            throw PeerError("The spawning thread hangs.")
        }
        return try result.get()
    }
}
