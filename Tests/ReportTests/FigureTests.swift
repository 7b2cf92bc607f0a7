import MigrationRecords
import QMP
import Report
import Testing

@Suite("Figures of a move") struct FigureTests {
    @Test func `are those of the record, the guest and the processes`() {
        let figures = MoveFigures(of: precopyMove())
        #expect(figures[.totalTime]?.text == "1000")
        #expect(figures[.downtime]?.text == "20")
        #expect(figures[.guestGap]?.text == "21.4")
        #expect(figures[.sent]?.text == "288.0")
        #expect(figures[.ratio]?.text == "1.13")
        #expect(figures[.passes]?.text == "2")
        #expect(figures[.guestSpeed]?.text == "50")
        #expect(figures[.lostWork]?.text == "500")
        #expect(figures[.sourceCost]?.text == "0.25")
        #expect(figures[.destinationCost]?.text == "0.10")
        #expect(figures[.checkedPages]?.text == "4711")
        #expect(figures[.bad]?.text == "0")
    }

    @Test func `what nobody measured is no number, and says why`() {
        let figure = MoveFigures(of: precopyMove())[.networkGap]
        #expect(figure?.value == nil)
        #expect(figure?.text == "-")
        #expect(figure?.json == .null)
        #expect(figure?.reason == "no network client: the guest has no network card that this host reaches")
    }

    @Test func `page requests and faults belong to post-copy`() {
        #expect(MoveFigures(of: precopyMove())[.pageRequests]?.value == nil)
        let figures = MoveFigures(of: postcopyMove())
        #expect(figures[.pageRequests]?.text == "832")
        #expect(figures[.faults]?.text == "7")
        #expect(figures[.faultMedian]?.text == "181")
        #expect(figures[.fault99]?.text == "950")
        #expect(figures[.faultMaximum]?.text == "2048")
    }

    @Test func `a monitor's distribution alone gives quantiles, as the upper ends of its buckets`() {
        var move = postcopyMove()
        move.record?.samples.removeLast()
        move.record?.samples.append(
            .init(
                time: .milliseconds(1001), side: .destination,
                answer: ["postcopy-latency-dist": [0, 0, 0, 50, 49, 0, 1]]))
        let figures = MoveFigures(of: move)
        #expect(figures[.faults]?.text == "100")
        #expect(figures[.faultMedian]?.text == "16")
        #expect(figures[.fault99]?.text == "32")
        #expect(figures[.faultMaximum]?.text == "-")
    }

    @Test func `a failed move has no total time and no downtime`() {
        var record = precopyRecord()
        record.outcome = .failed
        let figures = MoveFigures(of: Move(record))
        #expect(figures[.totalTime]?.value == nil)
        #expect(figures[.downtime]?.value == nil)
        #expect(figures[.sent]?.text == "288.0")
    }

    @Test func `medians pass over what is not known`() {
        var known = precopyMove()
        known.network = NetworkTrace(sentCount: 10, answeredCount: 9, longestGap: .milliseconds(31))
        var slower = precopyMove()
        slower.cost = ProcessorCost(source: .seconds(1), destination: .seconds(2))
        let median = MoveFigures(medianOf: [precopyMove(), known, slower].map(MoveFigures.init))
        #expect(median[.networkGap]?.text == "31.0")
        #expect(median[.sourceCost]?.text == "0.25")
        let two = MoveFigures(medianOf: [precopyMove(), slower].map(MoveFigures.init))
        #expect(two[.sourceCost]?.text == "0.63")
    }

    @Test(arguments: [
        (0.0, "0.0"), (0.04, "0.0"), (0.05, "0.1"), (12.34, "12.3"), (-0.04, "0.0"), (-3.26, "-3.3"), (99.96, "100.0"),
    ]) func `are rounded once`(value: Double, text: String) {
        var move = precopyMove()
        move.network = NetworkTrace(sentCount: 1, answeredCount: 1, longestGap: .milliseconds(value))
        #expect(MoveFigures(of: move)[.networkGap]?.text == text)
    }

    @Test func `a mode is what happened, not what was allowed`() {
        #expect(Move(precopyRecord()).mode == .precopy)
        #expect(Move.Mode(of: postcopyMove().record ?? precopyRecord()) == .hybrid)
        var record = precopyRecord()
        record.samples.removeSubrange(1...1)
        record.notices.insert(notice(at: 50, .source, "MIGRATION", ["status": "postcopy-active"]), at: 2)
        #expect(Move.Mode(of: record) == .postcopy)
    }

    @Test func `numbers of a monitor that cannot be true do no harm`() {
        var record = precopyRecord()
        for number: QMPValue in [.number(.infinity), .number(.nan), .number(-1e300), .unsigned(.max), .integer(.min)] {
            let memory: QMPObject = [
                "transferred": number, "remaining": number, "total": number, "dirty-sync-count": number,
                "normal": number, "duplicate": number, "dirty-pages-rate": number, "page-size": number,
            ]
            let answer: QMPValue = [
                "status": "completed", "total-time": number, "downtime": number, "ram": .object(memory),
                "downtime-parts": ["pause": number], "postcopy-latency-dist": [number, number],
                "postcopy": ["faults": number, "latency": ["p50": number], "latency-counts": [number]],
            ]
            record.samples.append(.init(time: .milliseconds(1000), side: .source, answer: answer))
            record.samples.append(.init(time: .milliseconds(1001), side: .destination, answer: answer))
            let page = ReportPage(Comparison(record)).html
            #expect(page.hasSuffix("</html>\n"))
            #expect(Comparison(record).json.text.isEmpty == false)
        }
    }
}
