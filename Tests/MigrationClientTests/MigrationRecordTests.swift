import MigrationRecords
import QMP
import Testing

@Suite("Records of migrations") struct MigrationRecordTests {
    /// Two samples of each side, of a guest with 64 MiB.
    private func record() -> MigrationRecord {
        var record = MigrationRecord(
            start: Event.Timestamp(seconds: 1_700_000_000, microseconds: 250_000), address: "tcp:other:4444",
            source: .init(program: "apus 0.1.0", socket: "/run/a", guest: "web", virtualCPUCount: 2),
            destination: .init(program: "QEMU 7.2.22", socket: "/run/b", virtualCPUCount: 2))
        record.capabilities = ["events", "multifd"]
        record.parameters = ["max-bandwidth": .unsigned(.max), "downtime-limit": 300]
        record.samples = [
            sample(
                .milliseconds(100), .source, "active", ["transferred": 1000, "total": 67_108_864, "remaining": 500]),
            sample(.milliseconds(110), .destination, "active", nil),
            sample(
                .milliseconds(900), .source, "completed",
                [
                    "transferred": 33_554_432, "total": 67_108_864, "remaining": 0, "dirty-sync-count": 4,
                    "normal": 8000,
                    "duplicate": 8384,
                ]),
        ]
        record.notices = [
            notice(.milliseconds(850), .source, "STOP", 1_700_000_001, 100_000),
            notice(.milliseconds(890), .destination, "RESUME", 1_700_000_001, 112_500),
        ]
        record.outcome = .completed
        record.reasons = ["A sentence."]
        record.duration = .microseconds(912_345)
        return record
    }

    private func sample(
        _ time: Duration, _ side: MigrationRecord.Side, _ status: String, _ memory: QMPObject?
    ) -> MigrationRecord.Sample {
        var answer: QMPObject = ["status": .string(status), "total-time": 800, "downtime": 12]
        answer["ram"] = memory.map(QMPValue.object)
        return MigrationRecord.Sample(time: time, side: side, answer: .object(answer))
    }

    private func notice(
        _ time: Duration, _ side: MigrationRecord.Side, _ name: String, _ seconds: Int64, _ microseconds: Int64
    ) -> MigrationRecord.Notice {
        .init(
            time: time, side: side,
            event: Event(name, at: Event.Timestamp(seconds: seconds, microseconds: microseconds)))
    }

    @Test func `are the same after a round trip through JSON`() throws {
        #expect(try MigrationRecord(parsing: record().value.text) == record())
    }

    @Test(arguments: ["format", "start", "address", "source", "samples", "events", "outcome", "duration"])
    func `are refused by name when a member is missing`(name: String) throws {
        guard case .object(var object) = record().value else { return }
        object[name] = nil
        #expect(throws: RecordError(description: "The record has no '\(name)', or one of another type.")) {
            try MigrationRecord(reading: .object(object))
        }
    }

    @Test func `of another format are refused with both numbers`() throws {
        guard case .object(var object) = record().value else { return }
        object["format"] = 7
        #expect(throws: RecordError(description: "The record has format 7; this program reads format 1.")) {
            try MigrationRecord(reading: .object(object))
        }
        #expect(throws: RecordError.self) { try MigrationRecord(parsing: "{") }
    }

    @Test func `have a summary in the source's figures`() {
        let summary = MigrationSummary(of: record())
        #expect(summary.totalTime == .milliseconds(800))
        #expect(summary.downtime == .milliseconds(12))
        #expect(summary.stopToResume == .microseconds(12_500))
        #expect(summary.passCount == 3)
        #expect(summary.ratio == 0.5)
        #expect(summary.averageRate == 33_554_432 / 0.8)
        #expect((summary.normalPageCount, summary.zeroPageCount) == (8000, 8384))
    }

    @Test func `have what each side tells of a post-copy, also when a later answer leaves it out`() throws {
        var record = record()
        let waits: QMPValue = ["count": 2, "p50": 40, "p99": 90, "max": 90, "total": 130]
        let seen: QMPValue = ["faults": 3, "vcpus": .array([waits])]
        let sent: QMPValue = ["pushed-pages": 7, "requested-pages": 2]
        record.samples[0].answer = ["status": "postcopy-active", "postcopy": sent]
        record.samples[1].answer = ["status": "postcopy-active", "postcopy": seen]
        let summary = MigrationSummary(of: record)
        #expect(summary.sentPostcopy?.pushedPages == 7 && summary.sentPostcopy?.requestedPages == 2)
        #expect(summary.arrivedPostcopy?.faults == 3)
        #expect(try #require(summary.arrivedPostcopy?.virtualCPUs).map(\.total) == [.microseconds(130)])
    }

    @Test func `say nothing of a time between events in the wrong order`() {
        var record = record()
        record.notices[1] = notice(.milliseconds(890), .destination, "RESUME", 1_700_000_001, 99_000)
        #expect(MigrationSummary(of: record).stopToResume == nil)
    }
}
