internal import LinuxSystem
internal import Report
internal import Synchronization

/// Asks the guest for an answer every 20 ms (`ping`), and notes when answers come.
final class NetworkClient: Sendable {
    private static let period = Duration.milliseconds(20)

    private struct State {
        var answers: [ContinuousClock.Instant] = []
        var lastSequence = 0
    }
    private let process: ChildProcess
    private let state = Mutex(State())

    init(asking address: String) throws {
        let pipe = try OwnedDescriptor.pipe()
        let nothing = try OwnedDescriptor(opening: "/dev/null", for: .readingAndWriting)
        process = try ChildProcess(
            program: "ping", arguments: ["-n", "-i", "0.02", address],
            descriptors: [
                .init(nothing.number, as: 0), .init(pipe.writing.number, as: 1), .init(nothing.number, as: 2),
            ], endsWithThisProcess: true)
        let stream = try StreamDescriptor(adopting: try pipe.reading.duplicate())
        _ = try BlockingThread(name: "ping") { [self] in
            var buffer = [UInt8](repeating: 0, count: 4096)
            var text = ""
            while let count = try? buffer.withUnsafeMutableBytes({ try stream.receive(into: $0) }), count > 0 {
                text += String(decoding: buffer.prefix(count), as: UTF8.self)
                while let end = text.firstIndex(of: "\n") {
                    take(text[..<end])
                    text = String(text[text.index(after: end)...])
                }
            }
        }
    }

    /// `64 bytes from 10.0.0.2: icmp_seq=12 ttl=64 time=0.2 ms`
    private func take(_ line: Substring) {
        guard let word = line.split(separator: " ").first(where: { $0.hasPrefix("icmp_seq=") }),
            line.contains("time="), let sequence = Int(word.dropFirst("icmp_seq=".count))
        else { return }
        state.withLock { state in
            state.answers.append(.now)
            state.lastSequence = max(state.lastSequence, sequence)
        }
    }

    var answeredCount: Int { state.withLock { $0.answers.count } }

    /// Ends it; what was seen. Nil when the guest never answered.
    func end() -> NetworkTrace? {
        process.kill()
        return state.withLock { state in
            guard state.answers.count > 1 else { return nil }
            let gaps = zip(state.answers, state.answers.dropFirst()).map { $1 - $0 }
            return NetworkTrace(
                sentCount: state.lastSequence, answeredCount: state.answers.count,
                longestGap: max(.zero, (gaps.max() ?? .zero) - Self.period))
        }
    }
}
