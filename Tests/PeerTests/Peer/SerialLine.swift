import Foundation
import LinuxSystem

/// Everything a guest has written on its serial line, as it comes.
final class SerialLine: Sendable {
    private struct State: Sendable {
        var bytes = Data()
        var hasEnded = false
    }

    private let state = Watched(State())

    init(_ socket: consuming Socket) {
        let shared = SharedSocket(socket)
        let state = state
        Thread.detachNewThread {
            while let bytes = shared.receive() { state.change { $0.bytes.append(bytes) } }
            state.change { $0.hasEnded = true }
        }
    }

    var bytes: Data { state.current.bytes }
    var text: String { String(decoding: bytes, as: UTF8.self) }

    /// Waits until the guest has written the whole line `text`.
    func wait(forLine text: String, within limit: TimeLimit) throws {
        let line = Data((text + "\n").utf8)
        let found = state.wait(until: limit) { state -> Bool? in
            if state.bytes.range(of: line) != nil { return true }
            return state.hasEnded ? false : nil
        }
        if found != true {
            throw PeerError("The guest did not write '\(text)'; its last words: \(self.text.suffix(300))")
        }
    }

    /// Waits for the end of the line: what was written is then complete.
    func waitForEnd(within limit: TimeLimit) throws {
        if state.wait(until: limit, { $0.hasEnded ? true : nil }) != true {
            throw PeerError("The serial line did not end in time.")
        }
    }
}

/// The numbers N of the lines "count N" in `text`; a last line that is not finished is left out.
func counts(in text: String) -> [Int] {
    text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().compactMap { line in
        line.hasPrefix("count ") ? Int(line.dropFirst(6).trimmingCharacters(in: .whitespaces)) : nil
    }
}
