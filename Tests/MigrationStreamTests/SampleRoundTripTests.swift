import Foundation
import MigrationStream
import Testing

@Suite("Streams of real QEMUs") struct SampleRoundTripTests {
    static let mainChannels =
        Fixture.names(endingIn: ".mig")
        + Fixture.names(endingIn: "ch0.c2s").filter { !$0.contains("recover") }

    @Test(arguments: mainChannels)
    func `are written again as they were read`(name: String) throws {
        let stream = try Fixture.load(name)
        let decoded = try decode(stream)
        #expect(decoded.differingElements == [])
        #expect(decoded.decoder.offset == stream.count)
    }

    @Test(arguments: ["microvm-acpioff.mig", "q10-multifd.ch0.c2s", "postcopy-early.ch0.c2s"], [97, 4096, 65536])
    func `are the same elements however the bytes come in`(name: String, chunk: Int) throws {
        let stream = try Fixture.load(name)
        let whole = try decode(stream)
        let cut = try decode(stream, chunk: chunk)
        #expect(cut.differingElements == [])
        #expect(cut.elements.map(summary).joinedRuns() == whole.elements.map(summary).joinedRuns())
    }

    @Test func `are the same elements when they come byte by byte`() throws {
        let stream = try Fixture.load("q10-multifd.ch0.c2s")
        let whole = try decode(stream)
        let cut = try decode(stream, chunk: 1)
        #expect(cut.differingElements == [])
        #expect(cut.elements.map(summary).joinedRuns() == whole.elements.map(summary).joinedRuns())
    }

    @Test(arguments: Fixture.names(endingIn: ".s2c"))
    func `are written again on the return path`(name: String) throws {
        for chunk in [1, 7, 4096, Int.max] { try expectReturnPathRoundTrip(try Fixture.load(name), chunk: chunk) }
    }

    @Test(arguments: Fixture.names(endingIn: ".c2s").filter { $0.contains("multifd.ch") && !$0.contains("ch0") })
    func `are written again on multifd channels`(name: String) throws {
        let stream = try Fixture.load(name)
        for chunk in [4096, Int.max] { try expectMultifdRoundTrip(stream, chunk: chunk) }
    }

    @Test func `go on after a recovery without a header`() throws {
        let stream = try Fixture.load("run-recover-preempt-resume.ch0.c2s")
        for chunk in [4096, Int.max] {
            let decoded = try decode(stream, options: StreamOptions(kind: .recovery), chunk: chunk)
            #expect(decoded.differingElements == [])
            #expect(decoded.elements.first == .command(.receivedBitmap(block: "microvm.ram")))
            #expect(decoded.elements.last == .endOfStream)
        }
    }

    @Test(arguments: ["run-recover.ch0.c2s", "run-recover-preempt.ch0.c2s"])
    func `that were cut are read as far as they go`(name: String) throws {
        let stream = try Fixture.load(name)
        #expect { try decode(stream) } throws: { error in
            guard case .truncated(_, let offset, let missing) = error as? StreamError else { return false }
            return offset <= stream.count && stream.count - offset <= 4096 && missing > 0
        }
    }

    @Test(arguments: ["run-recover-preempt.ch1.c2s", "run-postcopy-preempt.ch1.c2s"], [7, 4096, Int.max])
    func `are bare records on a preempt channel`(name: String, chunk: Int) throws {
        let decoded = try decode(
            try Fixture.load(name), options: StreamOptions(kind: .preempt), chunk: chunk)
        #expect(decoded.differingElements == [])
    }

    @Test func `hold packages that are streams themselves`() throws {
        let stream = try Fixture.load("postcopy-early.ch0.c2s")
        let decoded = try decode(stream)
        let packages = zip(decoded.elements, decoded.offsets).compactMap { element, offset in
            if case .package(let contents) = element {
                offset + contents.lowerBound..<offset + contents.upperBound
            } else {
                nil
            }
        }
        let contents = try #require(packages.first)
        let nested = try decode(
            Array(stream[contents]), decoder: decoded.decoder.packageDecoder(offset: contents.lowerBound))
        #expect(packages.count == 1)
        #expect(nested.differingElements == [])
        #expect(nested.elements.first == .command(.postcopyListen))
        #expect(nested.elements.last == .command(.postcopyRun))
        #expect(nested.decoder.deviceSections.map(\.name).last == "globalstate")
    }
}

/// An element without its ranges, and pages with their number, so that runs cut differently can be compared.
func summary(_ element: StreamElement) -> ElementSummary {
    switch element {
    case .pages(let run):
        ElementSummary(text: "pages \(run.content) of \(run.block.index)", first: run.blockOffset, end: run.endOffset)
    case .xbzrlePage(let page): ElementSummary(text: "xbzrle \(page.block.index) \(page.blockOffset)")
    case .compressedPage(let page): ElementSummary(text: "compressed \(page.block.index) \(page.blockOffset)")
    case .deviceState(let payload): ElementSummary(text: "device \(payload.section) \(payload.bytes.count)")
    case .package(let contents): ElementSummary(text: "package \(contents.count)")
    case .description(let json): ElementSummary(text: "description \(json.count)")
    default: ElementSummary(text: "\(element)")
    }
}

struct ElementSummary: Equatable {
    var text: String
    var first: Int?
    var end: Int?
}

extension [ElementSummary] {
    /// Runs of pages that a chunk's end had cut are made one again.
    func joinedRuns() -> [ElementSummary] {
        var joined: [ElementSummary] = []
        for summary in self {
            if let last = joined.last, last.text == summary.text, last.end != nil, last.end == summary.first {
                joined[joined.count - 1].end = summary.end
            } else {
                joined.append(summary)
            }
        }
        return joined
    }
}

func expectReturnPathRoundTrip(_ stream: [UInt8], chunk: Int) throws {
    var decoder = ReturnPathDecoder()
    var position = 0
    var available = Swift.min(chunk, stream.count)
    var isFinished = false
    while !isFinished {
        let unread = stream.span.bytes.extracting(position..<available)
        switch try decoder.next(in: unread, ended: available == stream.count) {
        case .message(let message, let byteCount):
            let written = write(byteCount: message.byteCount) { message.write(source: unread, into: &$0) }
            let isSame = unread.extracting(0..<byteCount).equals(written)
            #expect(isSame)
            position += byteCount
        case .needsMore:
            available = Swift.min(stream.count, available + chunk)
        case .finished:
            isFinished = true
        }
    }
    #expect(position == stream.count)
}

func expectMultifdRoundTrip(_ stream: [UInt8], chunk: Int) throws {
    var decoder = MultifdDecoder()
    var position = 0
    var available = Swift.min(chunk, stream.count)
    var isFinished = false
    while !isFinished {
        let unread = stream.span.bytes.extracting(position..<available)
        switch try decoder.next(in: unread, ended: available == stream.count) {
        case .element(let element, let byteCount):
            let written = write(byteCount: element.byteCount) { element.write(source: unread, into: &$0) }
            let isSame = unread.extracting(0..<byteCount).equals(written)
            #expect(isSame)
            position += byteCount
        case .needsMore:
            available = Swift.min(stream.count, available + chunk)
        case .finished:
            isFinished = true
        }
    }
    #expect(position == stream.count)
}
