import Foundation
import LinuxSystem

/// Everything that a guest or a program has written, as it comes.
final class Transcript: Sendable {
    private struct State: Sendable {
        var bytes = Data()
        var hasEnded = false
    }

    private let source: OwnedDescriptor
    private let state = Watched(State())

    /// Reads `source` to its end, on a thread of its own.
    init(_ source: consuming OwnedDescriptor) {
        self.source = source
        Thread.detachNewThread { [self] in
            while let bytes = read() { state.change { $0.bytes.append(bytes) } }
            state.change { $0.hasEnded = true }
        }
    }

    private func read() -> Data? {
        var data = Data(count: 65536)
        let count = data.withUnsafeMutableBytes { (try? source.read(into: $0)) ?? 0 }
        return count > 0 ? data.prefix(count) : nil
    }

    var bytes: Data { state.current.bytes }
    var text: String { String(decoding: bytes, as: UTF8.self) }

    /// Waits until the whole line `text` has been written.
    func wait(forLine text: String, within limit: TimeLimit) throws {
        try wait(forText: text + "\n", within: limit)
    }

    /// Waits until `text` has been written.
    func wait(forText text: String, within limit: TimeLimit) throws {
        let line = Data(text.utf8)
        let found = state.wait(until: limit) { state -> Bool? in
            if state.bytes.range(of: line) != nil { return true }
            return state.hasEnded ? false : nil
        }
        if found != true {
            throw PeerError("'\(text)' was not written; the last words were: \(self.text.suffix(300))")
        }
    }

    /// Waits for the first line, and returns it.
    func waitForFirstLine(within limit: TimeLimit) throws -> String {
        let line = state.wait(until: limit) { state -> String? in
            guard let end = state.bytes.firstIndex(of: UInt8(ascii: "\n")) else { return state.hasEnded ? "" : nil }
            return String(decoding: state.bytes[..<end], as: UTF8.self)
        }
        guard let line, !line.isEmpty else { throw PeerError("No line was written; all there is: \(text)") }
        return line
    }

    /// Waits until `found` gives a value for what has been written; nil when the time is over or the output ended.
    func waitForChange<Found>(within limit: TimeLimit, _ found: (Data) -> Found?) -> Found? {
        var count = -1
        while true {
            let next = state.wait(until: limit) { state -> (Data, Bool)? in
                state.bytes.count > count || state.hasEnded ? (state.bytes, state.hasEnded) : nil
            }
            guard let (bytes, hasEnded) = next else { return nil }
            if let value = found(bytes) { return value }
            if hasEnded { return nil }
            count = bytes.count
        }
    }

    /// Waits for the end: what was written is then complete.
    func waitForEnd(within limit: TimeLimit) throws {
        if state.wait(until: limit, { $0.hasEnded ? true : nil }) != true {
            throw PeerError("The output did not end in time.")
        }
    }
}

/// The numbers N of the lines "count N" in `text`; a last line that is not finished is left out.
func counts(in text: String) -> [Int] {
    text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().compactMap { line in
        line.hasPrefix("count ") ? Int(line.dropFirst(6).trimmingCharacters(in: .whitespaces)) : nil
    }
}
