import Glibc
import GuestMemory
import LinuxSystem
import Migration
import Synchronization
import Transports

/// How fast memory moves through the engine and a local socket, next to bare sockets with the same content.
///
///     migration-benchmark [MEBIBYTES] [RUNS] [tcp|unix]
@main enum MigrationBenchmark {
    static func main() throws {
        let arguments = CommandLine.arguments
        let mebibytes = arguments.count > 1 ? Int(arguments[1]) ?? 1024 : 1024
        let runs = arguments.count > 2 ? Int(arguments[2]) ?? 5 : 5
        let kind = arguments.count > 3 ? arguments[3] : "tcp"
        let source = try BenchmarkMachine(mebibytes: mebibytes, fills: true)
        let destination = try BenchmarkMachine(mebibytes: mebibytes, fills: false)
        var results: [String: [Double]] = [:]
        var processor: [String: [Double]] = [:]
        for _ in 0..<runs {
            for channels in [0, 1, 2, 4] {
                try destination.warm()
                let name = channels == 0 ? "engine, one stream" : "engine, \(channels) channels"
                var before = processorSeconds()
                results[name, default: []].append(try migrate(source, destination, kind, channels: channels))
                processor[name, default: []].append(processorSeconds() - before)
                try destination.warm()
                let bare = "bare sockets, \(max(1, channels))"
                if channels == 1 { continue }
                before = processorSeconds()
                results[bare, default: []].append(try copy(source, destination, kind, count: max(1, channels)))
                processor[bare, default: []].append(processorSeconds() - before)
            }
        }
        print(
            "\(mebibytes) MiB, half random and half zero, \(kind), \(runs) runs; seconds: median, least · processor, median"
        )
        for (name, times) in results.sorted(by: { $0.key < $1.key }) {
            let sorted = times.sorted()
            let used = processor[name]?.sorted() ?? [0]
            print(
                "  \(name): \(rounded(sorted[sorted.count / 2])) \(rounded(sorted[0])) · \(rounded(used[used.count / 2]))"
            )
        }
    }

    static func rounded(_ value: Double) -> Double { Double(Int(value * 10_000)) / 10_000 }

    /// A migration that failed has no speed.
    static func stop(_ reason: String) -> Never {
        print(reason)
        exit(1)
    }

    /// Processor time of this process so far, both sides together.
    static func processorSeconds() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
            + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6
    }

    static func listener(_ kind: String) throws -> any MigrationListener {
        let text = kind == "unix" ? "unix:/tmp/apus-benchmark-\(getpid())" : "tcp:127.0.0.1:0"
        return try Transports.listener(for: try MigrationAddress(parsing: text))
    }

    /// Seconds of a whole migration.
    static func migrate(
        _ source: BenchmarkMachine, _ destination: BenchmarkMachine, _ kind: String, channels: Int
    ) throws -> Double {
        var options = MigrationOptions()
        options.dialect.channelCount = channels
        let listener = try listener(kind)
        let connector = try Transports.connector(for: try MigrationAddress(parsing: listener.address))
        let incoming = IncomingMigration(machine: destination, listener: listener, dialect: options.dialect)
        let outgoing = OutgoingMigration(machine: source, connector: connector, options: options)
        let start = ContinuousClock.now
        let thread = try BlockingThread(name: "destination") {
            if case .failed(let error, _) = incoming.run(PausedGuest()) { stop("destination: \(error)") }
        }
        if case .failed(let error, _) = outgoing.run(.running(RunningGuest())) { stop("source: \(error)") }
        thread.join()
        let time = ContinuousClock.now - start
        return Double(time.components.seconds) + Double(time.components.attoseconds) * 1e-18
    }

    /// Seconds for the bytes that are not zero, through `count` sockets, straight from and to memory.
    static func copy(
        _ source: BenchmarkMachine, _ destination: BenchmarkMachine, _ kind: String, count: Int
    ) throws -> Double {
        let listener = try listener(kind)
        let connector = try Transports.connector(for: try MigrationAddress(parsing: listener.address))
        let pairs = try (0..<count).map { _ in (try connector.open(), try listener.accept()) }
        let parts = source.regions[0].block.byteCount >> 21
        let start = ContinuousClock.now
        var threads: [BlockingThread] = []
        for (index, pair) in pairs.enumerated() {
            threads.append(
                try BlockingThread(name: "bare-send") {
                    for part in stride(from: index, to: parts, by: count) {
                        var vectors = MemoryVectors()
                        vectors.append(
                            UnsafeRawBufferPointer(source.regions[0].block.bytes(at: part << 21, count: 1 << 20)))
                        _ = try? pair.0.send(&vectors)
                    }
                })
            threads.append(
                try BlockingThread(name: "bare-receive") {
                    for part in stride(from: index, to: parts, by: count) {
                        var vectors = MemoryVectors()
                        let target = destination.regions[0].block.bytes(at: part << 21, count: 1 << 20)
                        vectors.append(UnsafeRawBufferPointer(target))
                        try? pair.1.receive(all: &vectors)
                    }
                })
        }
        for thread in threads { thread.join() }
        let time = ContinuousClock.now - start
        listener.cancel()
        return Double(time.components.seconds) + Double(time.components.attoseconds) * 1e-18
    }
}
