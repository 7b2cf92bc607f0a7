import CWorkload
import Glibc
import Synchronization

/// What the guest answers on the network: ports 7000 (a numbered line with the guest's clock in microseconds every
/// 20 ms), 7001 (bytes echoed, TCP) and 7002 (datagrams echoed, UDP).
func serveNetwork(_ counters: Counters) {
    startThread { acceptConnections(on: 7000) { streamLines(to: $0, counters) } }
    startThread { acceptConnections(on: 7001) { echo($0, counters) } }
    startThread {
        let descriptor = workload_bind_datagrams(7002)
        guard descriptor >= 0 else { return say("workload: cannot bind port 7002, error \(-descriptor)") }
        while true {
            if workload_echo_datagram(descriptor) >= 0 { counters.datagrams.add(1, ordering: .relaxed) }
        }
    }
}

private func acceptConnections(on port: UInt16, _ serve: @escaping @Sendable (Int32) -> Void) {
    let listener = workload_listen(port)
    guard listener >= 0 else { return say("workload: cannot listen on port \(port), error \(-listener)") }
    while true {
        let connection = workload_accept(listener)
        guard connection >= 0 else { continue }
        startThread {
            serve(connection)
            close(connection)
        }
    }
}

private func streamLines(to connection: Int32, _ counters: Counters) {
    var number = 0
    while writeAll("\(number) \(now() / 1000)\n", to: connection) {
        number += 1
        counters.linesSent.add(1, ordering: .relaxed)
        sleep(nanoseconds: 20_000_000)
    }
}

private func echo(_ connection: Int32, _ counters: Counters) {
    var bytes = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = read(connection, &bytes, bytes.count)
        guard count > 0, writeAll(bytes[..<count], to: connection) else { return }
        counters.linesEchoed.add(1, ordering: .relaxed)
    }
}
