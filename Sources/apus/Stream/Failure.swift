import ArgumentParser
import LinuxSystem
import MigrationStream

/// An error that ends a command: the input it was seen in, and one sentence.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(input: String, _ error: any Error) {
        switch error {
        case let error as StreamError: description = "\(input): \(error)"
        case let error as SystemError where !error.subject.isEmpty: description = "\(error)"
        default: description = "\(input): \(error)"
        }
    }

    init(_ description: String) { self.description = description }
}

/// Standard error, as long as the program runs.
final class StandardError: Sendable {
    static let shared = StandardError()

    let descriptor = OwnedDescriptor(adopting: 2)

    func write(_ text: String) {
        let bytes = Array(text.utf8)
        try? descriptor.write(all: bytes.span.bytes)
    }
}

/// Writes a line to standard error.
func say(_ line: String) { StandardError.shared.write(line + "\n") }

/// Writes `text` to standard output.
func write(_ text: String) throws {
    let bytes = Array(text.utf8)
    try StandardOutput.shared.descriptor.write(all: bytes.span.bytes)
}

/// Standard output, as long as the program runs.
final class StandardOutput: Sendable {
    static let shared = StandardOutput()

    let descriptor = OwnedDescriptor(adopting: 1)
}
