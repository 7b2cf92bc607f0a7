internal import CLinux

/// SIGINT, SIGTERM and SIGHUP as a call: the process ends when it has put things in order, not at once.
///
/// For the main program, once. SIGPIPE and SIGXFSZ are ignored from then on, too: a write that the other side or a
/// limit refuses is an error of that write.
public final class TerminationSignals: Sendable {
    private let thread: BlockingThread

    /// Calls `handler` with the signal's number, on a thread of its own, each time one comes.
    public init(_ handler: @escaping @Sendable (Int32) -> Void) throws(SystemError) {
        clinux_ignore_write_signals()
        let pipe = try OwnedDescriptor.pipe()
        let writing = try pipe.writing.duplicate()
        let reading = try pipe.reading.duplicate()
        _ = try check(clinux_report_termination(writing.release()), "sigaction")
        let source = SharedDescriptor(reading)
        thread = try BlockingThread(name: "signals") {
            var byte: UInt8 = 0
            while let count = try? withUnsafeMutableBytes(of: &byte, { try source.descriptor.read(into: $0) }),
                count == 1
            {
                handler(Int32(byte))
            }
        }
    }
}

/// A descriptor in a place of its own, for closures.
private final class SharedDescriptor: Sendable {
    let descriptor: OwnedDescriptor
    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}
