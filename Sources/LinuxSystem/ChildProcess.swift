internal import CLinux
internal import Glibc
internal import Synchronization

/// A process that this one started and waits for.
///
/// It gets exactly the descriptors named, signals at their defaults, and a process group of its own, so that a terminal's
/// interrupt does not reach it behind our back. One that is never waited for is killed and reaped in `deinit`.
public final class ChildProcess: Sendable {
    /// How a process ended.
    public enum Ending: Equatable, Sendable {
        case exited(status: Int32)
        case signalled(number: Int32)
    }

    /// A descriptor of ours (`source`) that becomes the child's number `target`.
    public struct Descriptor: Sendable {
        public let source: Int32
        public let target: Int32
        public init(_ source: Int32, as target: Int32) {
            self.source = source
            self.target = target
        }
    }

    /// The process id, meaningful until the process was waited for.
    public let processID: Int32
    private let ending: Mutex<Ending?>
    /// With the thread that starts it the child is killed: it lives as long as the child.
    private let guardian: BlockingThread?

    /// Starts `program`, looked up in PATH if it has no slash.
    ///
    /// `arguments` go without the program's name. `environment` nil: this process's own; else `NAME=value` entries.
    /// The child has `descriptors` and nothing else; a standard stream that is not named is closed, so name all three.
    /// With `endsWithThisProcess` the kernel kills it when this process ends in whatever way, SIGKILL included.
    ///
    /// - Throws: `SystemError` if the program cannot be run (ENOENT, EACCES).
    public init(
        program: String, arguments: [String], descriptors: [Descriptor], environment: [String]? = nil,
        endsWithThisProcess: Bool = false
    ) throws(SystemError) {
        let spawn: @Sendable () -> Int32 = {
            withCStringArray([program] + arguments) { arguments in
                withCStringArray(environment ?? []) { variables in
                    clinux_spawn(
                        program, program.contains("/") ? 0 : 1, arguments, environment == nil ? nil : variables,
                        descriptors.map(\.source), descriptors.map(\.target), Int32(descriptors.count), 1,
                        endsWithThisProcess ? 1 : 0)
                }
            }
        }
        var result: Int32 = 0
        (result, guardian) = endsWithThisProcess ? try Self.startGuarded(spawn) : (spawn(), nil)
        processID = try check(result, "posix_spawn", program)
        ending = Mutex(nil)
    }

    /// Calls `spawn` on a thread that then stays until the child has ended.
    private static func startGuarded(
        _ spawn: @escaping @Sendable () -> Int32
    ) throws(SystemError) -> (Int32, BlockingThread?) {
        let result = Atomic<Int32>(0)
        let isStarted = Gate()
        let thread = try BlockingThread(name: "child") {
            let process = spawn()
            // Opened before anybody can have waited for the child.
            let descriptor = process < 0 ? process : clinux_pidfd(process)
            result.store(process, ordering: .releasing)
            isStarted.open()
            guard descriptor >= 0 else { return }
            let child = OwnedDescriptor(adopting: descriptor)
            var entry = pollfd(fd: child.number, events: Int16(POLLIN), revents: 0)
            _ = clinux_poll(&entry, 1, -1)
        }
        isStarted.wait()
        return (result.load(ordering: .acquiring), thread)
    }

    deinit {
        let isRunning = ending.withLock { $0 == nil }
        if isRunning {
            var status: Int32 = 0
            _ = clinux_signal_process(processID, SIGKILL)
            _ = clinux_wait(processID, 1, &status)
        }
        guardian?.join()
    }

    /// Sends a signal; nothing happens once the process was waited for.
    public func signal(_ number: Int32) {
        ending.withLock { if $0 == nil { _ = clinux_signal_process(processID, number) } }
    }

    /// Asks the process to end (SIGTERM).
    public func terminate() { signal(SIGTERM) }

    /// Ends the process at once (SIGKILL).
    public func kill() { signal(SIGKILL) }

    /// How it ended, nil while it runs. Does not wait.
    public func poll() -> Ending? {
        ending.withLock { ending in
            if ending == nil {
                var status: Int32 = 0
                if clinux_wait(processID, 0, &status) == 1 { ending = Ending(status: status) }
            }
            return ending
        }
    }

    /// Waits until it ended or `limit` has gone by (nil: for ever); nil when the time was up.
    public func wait(for limit: Duration? = nil) throws(SystemError) -> Ending? {
        if let ending = poll() { return ending }
        let descriptor = clinux_pidfd(processID)
        if descriptor == -ESRCH { return poll() }
        let process = OwnedDescriptor(adopting: try check(descriptor, "pidfd_open"))
        var entry = pollfd(fd: process.number, events: Int16(POLLIN), revents: 0)
        _ = try check(clinux_poll(&entry, 1, milliseconds(limit)), "poll")
        return poll()
    }
}

extension ChildProcess.Ending {
    fileprivate init(status: Int32) {
        self = status >= 1000 ? .signalled(number: status - 1000) : .exited(status: status)
    }
}

private func withCStringArray<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    var pointers = strings.map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    return pointers.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress else { preconditionFailure("an array with a nil at its end is not empty") }
        return body(base)
    }
}
