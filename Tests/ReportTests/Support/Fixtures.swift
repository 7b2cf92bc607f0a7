import MigrationRecords
import QMP
import Report

/// A pre-copy of a guest with 256 MiB that takes a second, with two passes and 20 ms of downtime.
func precopyRecord() -> MigrationRecord {
    var record = MigrationRecord(
        start: Event.Timestamp(seconds: 1_700_000_000, microseconds: 0), address: "tcp:other:4444",
        source: .init(program: "apus 0.1.0", socket: "/run/a", guest: "web", virtualCPUCount: 2))
    record.samples = [
        sample(at: 100, "active", transferred: 25_000_000, remaining: 240_000_000, syncs: 1, normal: 6000, zero: 100),
        sample(at: 600, "active", transferred: 270_000_000, remaining: 20_000_000, syncs: 2, normal: 60_000, zero: 400),
        sample(
            at: 1000, "completed", transferred: 301_989_888, remaining: 0, syncs: 3, normal: 70_000, zero: 500),
    ]
    record.notices = [
        notice(at: 1, .source, "MIGRATION", ["status": "setup"]),
        notice(at: 10, .source, "MIGRATION", ["status": "active"]),
        notice(at: 970, .source, "STOP"),
        notice(at: 971, .source, "MIGRATION", ["status": "device"]),
        notice(at: 990, .destination, "RESUME"),
        notice(at: 1000, .source, "MIGRATION", ["status": "completed"]),
    ]
    record.outcome = .completed
    record.duration = .milliseconds(1001)
    return record
}

func sample(
    at milliseconds: Int, _ status: String, transferred: UInt64, remaining: UInt64, syncs: Int, normal: Int, zero: Int
) -> MigrationRecord.Sample {
    MigrationRecord.Sample(
        time: .milliseconds(milliseconds), side: .source,
        answer: [
            "status": .string(status), "total-time": 1000, "downtime": 20,
            "downtime-parts": ["pause": 900, "last-pages": 12_345, "load": 4000],
            "ram": [
                "transferred": QMPValue(transferred), "remaining": QMPValue(remaining), "total": 268_435_456,
                "dirty-sync-count": QMPValue(syncs), "normal": QMPValue(normal), "duplicate": QMPValue(zero),
                "dirty-pages-rate": 5000, "page-size": 4096, "postcopy-requests": status == "postcopy-active" ? 832 : 0,
            ],
        ])
}

func notice(
    at milliseconds: Int, _ side: MigrationRecord.Side, _ name: String, _ data: QMPObject? = nil
) -> MigrationRecord.Notice {
    .init(
        time: .milliseconds(milliseconds), side: side,
        event: Event(name, data: data, at: .init(seconds: 1_700_000_000, microseconds: Int64(milliseconds) * 1000)))
}

/// A guest that does 1000 units each 100 ms before the move, half of that during its second, and stands still for 21 ms.
func guestTrace() -> GuestTrace {
    var looks: [GuestTrace.Look] = []
    var work = 0
    for step in -10...20 {
        let isMoving = step > 0 && step <= 10
        work += isMoving ? 500 : 1000
        looks.append(
            .init(time: .milliseconds(step * 100), work: work, gap: .microseconds(step == 10 ? 21_400 : 1500)))
    }
    return GuestTrace(looks: looks, badCount: 0, checkedPageCount: 4711)
}

func precopyMove() -> Move {
    var move = Move(mode: .precopy, transport: "tcp", record: precopyRecord())
    move.guest = guestTrace()
    move.cost = ProcessorCost(source: .milliseconds(254), destination: .milliseconds(96))
    return move
}

/// Another row: a post-copy with faults, as far as a monitor tells them.
func postcopyMove() -> Move {
    var record = precopyRecord()
    record.notices.insert(notice(at: 500, .source, "MIGRATION", ["status": "postcopy-active"]), at: 2)
    record.samples.insert(
        sample(
            at: 700, "postcopy-active", transferred: 280_000_000, remaining: 9_000_000, syncs: 2, normal: 65_000,
            zero: 450), at: 2)
    record.samples.append(
        .init(
            time: .milliseconds(1001), side: .destination,
            answer: [
                "status": "completed",
                "postcopy": [
                    "faults": 7, "latency": ["count": 7, "p50": 181, "p99": 950, "max": 2048],
                    "latency-counts": [0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2],
                ],
            ]))
    var move = Move(mode: .hybrid, transport: "tcp", record: record)
    move.guest = guestTrace()
    return move
}

func comparison(_ moves: [Move]) -> Comparison {
    Comparison(
        title: "Moves", date: .init(seconds: 1_700_000_000, microseconds: 0),
        conditions: [.init("Guest", "256 MiB <of> \"memory\" & more")],
        rows: moves.map { Comparison.Row(mode: $0.mode, transport: $0.transport, moves: [$0]) })
}
