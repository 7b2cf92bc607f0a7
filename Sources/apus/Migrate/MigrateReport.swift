import LinuxSystem
import MigrationClient
import MigrationRecords
import QMP
import Report
import StreamTools

/// What `apus migrate` says at the end.
struct MigrateReport {
    let record: MigrationRecord
    let summary: MigrationSummary

    init(_ record: MigrationRecord) {
        self.record = record
        summary = MigrationSummary(of: record)
    }

    static func exitStatus(of outcome: MigrationRecord.Outcome) -> Int32 {
        switch outcome {
        case .completed: 0
        case .failed: 1
        case .cancelled: 3
        case .unknown: 4
        case .paused: 5
        }
    }

    private var headline: String {
        switch record.outcome {
        case .completed: "The guest is at the destination."
        case .failed: "The migration failed; the guest is at the source as before."
        case .cancelled: "The migration was cancelled; the guest is at the source as before."
        case .paused: "The post-copy is paused: both sides wait for a new link (apus migrate --resume)."
        case .unknown: "Nobody could say which side has the guest."
        }
    }

    /// Lines for a person.
    var text: String {
        var lines = [headline] + record.reasons.map { "  \($0)" }
        func row(_ name: String, _ value: String) {
            lines.append("  \(name)" + String(repeating: " ", count: max(1, 16 - name.count)) + value)
        }
        row("source", record.source.program + cpus(record.source.virtualCPUCount))
        if let destination = record.destination { row("destination", "\(destination.program) at \(record.address)") }
        row("total time", summary.totalTime.text + (summary.setupTime.map { ", of which setup \($0.text)" } ?? ""))
        if record.outcome == .completed, let downtime = summary.downtime {
            row("downtime", downtime.text + downtimeParts)
            if !record.capabilities.contains("return-path") && !record.capabilities.contains("postcopy-ram") {
                row("", "without loading and starting at the destination, which did not answer (no return path)")
            }
        }
        if record.capabilities.contains("local") {
            row("memory", "handed over on this host; what was sent is device state")
        }
        if let time = summary.stopToResume { row("stop to resume", "\(time.text) by the monitors' clocks") }
        row("passes", "\(summary.passCount)" + (summary.highestThrottle.map { ", throttled up to \($0)%" } ?? ""))
        if summary.memoryByteCount > 0 { row("sent", sent) }
        if summary.postcopyRequestCount > 0 { row("page requests", "\(summary.postcopyRequestCount)") }
        for (name, value) in postcopyRows { row(name, value) }
        return lines.joined(separator: "\n") + "\n"
    }

    /// What post-copy did, and what the guest waited for.
    private var postcopyRows: [(String, String)] {
        var rows: [(String, String)] = []
        if let sent = summary.sentPostcopy, let pushed = sent.pushedPages, let requested = sent.requestedPages,
            pushed + requested > 0
        {
            let first = sent.firstPages.map { ", \($0) needed first" } ?? ""
            rows.append(("post-copy pages", "\(pushed) pushed, \(requested) requested\(first)"))
        }
        if let arrived = summary.arrivedPostcopy, let faults = arrived.faults {
            rows.append(("faults", "\(faults)" + (arrived.latency.map { ", " + Self.waits($0) } ?? "")))
            for (index, latency) in (arrived.virtualCPUs ?? []).enumerated() where latency.count > 0 {
                let text = "stood still for \(latency.total.text) in \(latency.count) waits, "
                rows.append(("virtual CPU \(index)", text + Self.waits(latency)))
            }
            let known = (arrived.virtualCPUs ?? []).reduce(0) { $0 + $1.count }
            if let all = arrived.latency?.count, all > known {
                rows.append(("other threads", "\(all - known) waits, for whom is not known"))
            }
            if let time = arrived.timeToLastPage {
                rows.append(("last page", "\(time.text) after the guest could run at the destination"))
            }
        }
        if let blocktime = summary.postcopyBlocktime { rows.append(("all blocked", blocktime.text)) }
        return rows
    }

    private static func waits(_ latency: PostcopyInformation.Latency) -> String {
        "p50 \(latency.median.text), p99 \(latency.percentile99.text), longest \(latency.maximum.text)"
    }

    private func cpus(_ count: Int) -> String { count == 1 ? ", 1 virtual CPU" : ", \(count) virtual CPUs" }

    private var sent: String {
        var text = "\(ByteCount(Int(clamping: summary.transferredByteCount))) for "
        text += "\(ByteCount(Int(clamping: summary.memoryByteCount))) of memory"
        if let ratio = summary.ratio {
            let hundredths = Int(ratio * 100 + 0.5)
            text += " (\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100) of it)"
        }
        text += ", \(ByteCount(Int(summary.averageRate)))/s"
        return text + "; \(summary.normalPageCount) pages, \(summary.zeroPageCount) of zeros"
    }

    /// " (pause 0.2 ms, …)", the parts that are known.
    private var downtimeParts: String {
        guard let parts = summary.downtimeParts, case .object(let object) = parts.value else { return "" }
        let words = object.members.compactMap { member in
            member.value.integerValue.map { "\(member.name) \(Duration.microseconds($0).text)" }
        }
        return words.isEmpty ? "" : " (\(words.joined(separator: ", ")))"
    }

    /// One object for programs.
    var value: QMPValue {
        func milliseconds(_ duration: Duration?) -> QMPValue? { duration.map { .number($0 / .milliseconds(1)) } }
        var object: QMPObject = [
            "outcome": .string(record.outcome.rawValue), "reasons": .array(record.reasons.map(QMPValue.string)),
            "source": .string(record.source.program), "address": .string(record.address),
        ]
        object["destination"] = record.destination.map { .string($0.program) }
        object["total-ms"] = milliseconds(summary.totalTime)
        object["setup-ms"] = milliseconds(summary.setupTime)
        object["downtime-ms"] = milliseconds(summary.downtime)
        object["downtime-parts-us"] = summary.downtimeParts?.value
        object["stop-to-resume-ms"] = milliseconds(summary.stopToResume)
        object["passes"] = QMPValue(summary.passCount)
        object["sent-bytes"] = QMPValue(summary.transferredByteCount)
        object["memory-bytes"] = QMPValue(summary.memoryByteCount)
        object["ratio"] = summary.ratio.map(QMPValue.number)
        object["normal-pages"] = QMPValue(summary.normalPageCount)
        object["zero-pages"] = QMPValue(summary.zeroPageCount)
        object["highest-throttle"] = summary.highestThrottle.map { QMPValue($0) }
        object["page-requests"] = QMPValue(summary.postcopyRequestCount)
        object["source-postcopy"] = summary.sentPostcopy?.value
        object["destination-postcopy"] = summary.arrivedPostcopy?.value
        return .object(object)
    }
}

/// A file of `--report`: what it holds follows from its name.
enum ReportFile {
    /// - Throws: `PreparationError` when the file cannot be written: that is to be known before a guest moves.
    static func check(_ path: String) throws {
        do { _ = try OwnedDescriptor(opening: path, for: .replacing) } catch {
            throw PreparationError("The report cannot be written: \(error)")
        }
    }

    /// - Parameter data: What stands in a file that is neither a page (`.html`) nor a picture (`.svg`).
    static func write(_ comparison: Comparison, or data: QMPValue, to path: String) throws {
        let bytes =
            if path.hasSuffix(".html") || path.hasSuffix(".htm") {
                Array(ReportPage(comparison).html.utf8)
            } else if path.hasSuffix(".svg") {
                Array(ComparisonPlot(comparison).svg.utf8)
            } else {
                data.utf8Text + [0x0A]
            }
        try OwnedDescriptor(opening: path, for: .replacing).write(all: bytes.span.bytes)
    }
}
