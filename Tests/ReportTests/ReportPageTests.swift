import Foundation
import MigrationRecords
import QMP
import Report
import Testing

@Suite("The page of a report") struct ReportPageTests {
    private let failed = Move(mode: .postcopy, transport: "tcp", failure: "The monitor said <no> & \"no\".")

    @Test func `shows in its table and its bars the numbers of the JSON, all of them`() throws {
        let comparison = comparison([precopyMove(), postcopyMove(), failed])
        let page = ReportPage(comparison).html
        let cells = page.matches(of: /data-row="(\d+)" data-figure="([a-z0-9-]+)">([^<]*)</)
        var shown: Set<String> = []
        for cell in cells {
            let (row, name, text) = (Int(cell.1) ?? -1, String(cell.2), String(cell.3))
            let value = comparison.json["rows"]?.arrayValue?[row]["figures"]?[name]
            // In bars the unit stands behind it.
            let number = text.split(separator: " ").first ?? ""
            #expect(Double(number) == value?.doubleValue, "\(name) of row \(row)")
            #expect(text == "-" || value != .null)
            shown.insert("\(row) \(name)")
        }
        for (index, row) in try #require(comparison.json["rows"]?.arrayValue).enumerated() {
            for member in row["figures"]?.objectValue?.members ?? [] where member.value != .null {
                #expect(shown.contains("\(index) \(member.name)"))
            }
        }
    }

    @Test func `has in its pictures what the JSON has for programs`() {
        var rounds = comparison([postcopyMove()])
        var slow = postcopyMove()
        slow.record?.outcome = .failed
        slow.failure = "It failed."
        rounds.rows[0].moves.insert(slow, at: 0)
        let row = rounds.json["rows"]?.arrayValue?.first
        #expect(row?["shown-round"] == 1)
        let round = row?["rounds"]?.arrayValue?.last
        #expect(round?["downtime-parts-ms"] == ["pause": 0.9, "last-pages": 12.3, "load": 4.0])
        #expect(round?["page-waits"] == [[256.0, 4], [512.0, 1], [1024.0, 2]])
        // Each of the ten looks during the move but the last, and two after it; the last had 21.4 ms.
        #expect(round?["guest-pauses"] == [[2.0, 11], [32.0, 1]])
        let page = ReportPage(rounds).html
        for text in ["last pages: 12.3 ms", "hybrid: 2 up to 1 ms", "hybrid: 11 up to 2 ms", "hybrid: 1 up to 32 ms"] {
            #expect(page.contains(text), "\(text)")
        }
    }

    @Test func `is well-formed, and every picture has a title and a description`() throws {
        let page = ReportPage(comparison([precopyMove(), postcopyMove(), failed])).html
        var checker = MarkupChecker()
        try checker.check(page)
        #expect(checker.count(of: "svg") >= 12)
        #expect(page.matches(of: /<svg [^>]*role="img"[^>]*aria-labelledby/).count == checker.count(of: "svg"))
        #expect(checker.count(of: "desc") == checker.count(of: "svg"))
        let ids = page.matches(of: /\sid="([^"]+)"/).map { String($0.1) }
        #expect(Set(ids).count == ids.count)
    }

    @Test func `has a plot beside it, with every move that there was`() throws {
        let plot = ComparisonPlot(comparison([precopyMove(), postcopyMove(), failed])).svg
        var checker = MarkupChecker()
        try checker.check(plot)
        #expect(checker.count(of: "g") == 2)
        #expect(plot.contains(">1000 ms in all, downtime 20 ms</text>"))
        #expect(plot.contains(">sent 1.13 × memory, lost 500 ms of work</text>"))
        #expect(plot.contains("256 MiB &lt;of&gt; &quot;memory&quot; &amp; more"))
        #expect(!plot.contains("<script") && !plot.contains("NaN"))
    }

    @Test func `shows of the guest's last line what it tells of the time that is shown`() {
        var move = precopyMove()
        // The move takes 1 s, the picture shows 1.15 s, and the guest is silent from 1 s to 3 s.
        move.guest?.looks.removeAll { $0.time > .seconds(1) }
        move.guest?.looks.append(.init(time: .seconds(3), work: 35_000, gap: .zero))
        let page = ReportPage(comparison([move])).html
        let path = page.firstMatch(of: /class="line speed" d="([^"]*)"/).map { String($0.1) } ?? ""
        // The right edge of the plot.
        #expect(path.split(separator: "L").last?.hasPrefix("352 ") == true, "\(path)")
    }

    @Test func `stands alone: no script, nothing from elsewhere`() {
        let page = ReportPage(comparison([precopyMove(), postcopyMove()])).html
        for word in ["<script", "http:", "https:", "url(", "@import", "<link", "<img", "NaN"] {
            #expect(!page.contains(word), "\(word)")
        }
        #expect(page.matches(of: /\son[a-z]+="/).isEmpty)
    }

    @Test func `shows what a guest or a monitor said as text, whatever it is`() throws {
        var record = precopyRecord()
        record.source.guest = "<script>alert(1)</script>"
        record.outcome = .failed
        record.reasons = ["</p><svg onload=x>\u{1B}[31m"]
        record.notices.append(notice(at: 20, .source, "MIGRATION", ["status": "\"><b>"]))
        let page = ReportPage(Comparison(record)).html
        #expect(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"))
        #expect(!page.contains("<svg onload"))
        #expect(!page.contains("\u{1B}"))
        var checker = MarkupChecker()
        try checker.check(page)
    }

    @Test func `says of a failed move that it failed, and why`() {
        let comparison = comparison([precopyMove(), failed])
        #expect(!comparison.hasSucceeded)
        let page = ReportPage(comparison).html
        #expect(page.contains("<strong>post-copy failed.</strong> The monitor said &lt;no&gt; &amp; &quot;no&quot;."))
        #expect(page.contains("<td class=\"bad\">FAILED</td>"))
        #expect(comparison.table(columns: 100).contains("FAILED"))
        #expect(comparison.notes.contains("post-copy: The monitor said <no> & \"no\"."))
        #expect(comparison.json["rows"]?.arrayValue?[1]["failure"] == "The monitor said <no> & \"no\".")
    }

    @Test func `tells phases, passes and the parts of the downtime`() {
        let page = ReportPage(comparison([postcopyMove()])).html
        #expect(page.contains("postcopy-active from 0.50 to 0.97 s"))
        #expect(page.contains("pass 1: 60000 pages with content, 400 of zeros"))
        #expect(page.contains("post-copy: 10000 pages with content, 100 of zeros"))
        #expect(page.contains("last pages: 12.3 ms"))
        #expect(page.contains("no side runs the guest for 20.0 ms"))
        #expect(page.contains("4 up to 256 µs"))
    }

    @Test func `of a monitor that tells little is a page nevertheless`() throws {
        var record = MigrationRecord(
            start: .init(seconds: 0, microseconds: 0), address: "",
            source: .init(program: "", socket: "", virtualCPUCount: 0))
        record.outcome = .completed
        var checker = MarkupChecker()
        try checker.check(ReportPage(Comparison(record)).html)
        #expect(ReportPage(Comparison(record)).html.contains("1970-01-01 00:00 UTC"))
    }

    @Test(arguments: [
        (1_700_000_000, "2023-11-14 22:13 UTC"), (951_782_400, "2000-02-29 00:00 UTC"),
        (4_102_444_799, "2099-12-31 23:59 UTC"),
    ]) func `tells the day`(seconds: Int64, text: String) {
        var comparison = comparison([precopyMove()])
        comparison.date = .init(seconds: seconds, microseconds: 0)
        #expect(ReportPage(comparison).html.contains(">\(text)<"))
    }

    @Test func `tables for terminals are as narrow as these`() {
        let rows = (0..<6).map { index in
            var move = precopyMove()
            move.transport = "transport\(index)"
            return move
        }
        let table = comparison(rows).table(columns: 80)
        #expect(table.split(separator: "\n").allSatisfy { $0.count <= 80 })
        #expect(table.contains("transport5"))
    }
}

/// Opening and closing tags, paired.
private struct MarkupChecker {
    struct Broken: Error { var text: String }
    private var counts: [String: Int] = [:]
    private static let empty: Set<String> = ["meta", "br"]

    func count(of name: String) -> Int { counts[name] ?? 0 }

    mutating func check(_ page: String) throws {
        var open: [String] = []
        let body = page.replacing(/<style>[^<]*<\/style>/, with: "")
        for tag in body.matches(of: /<(\/?)([a-zA-Z0-9]+)((?:[^"<>]|"[^"<>]*")*?)(\/?)>/) {
            let name = String(tag.2)
            if tag.1 == "/" {
                guard open.popLast() == name else { throw Broken(text: String(tag.0)) }
            } else {
                counts[name, default: 0] += 1
                if tag.4 != "/" && !Self.empty.contains(name) { open.append(name) }
            }
        }
        let rest = body.replacing(/<(\/?)([a-zA-Z0-9]+)((?:[^"<>]|"[^"<>]*")*?)(\/?)>/, with: "")
            .replacing("<!DOCTYPE html>", with: "")
        guard open.isEmpty, !rest.contains("<"), !rest.contains(">") else {
            throw Broken(text: "\(open) \(rest.split(separator: "<").dropFirst().first ?? "")")
        }
    }
}
