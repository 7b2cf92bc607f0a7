import MigrationStream

/// Writes each element of a main channel over the bytes from which it was decoded.
///
/// An element and its encoding have the same length, and the bytes of a page are where they belong already: only
/// headers are written, and a stream passes through without being copied. Whatever would be encoded differently from
/// how it came is counted.
struct ElementEncoder {
    /// Elements whose encoding differs from the bytes they came from.
    private(set) var changedElementCount = 0
    /// Devices whose state was loaded and saved again.
    private(set) var encodedDeviceCount = 0
    /// Devices that nothing but the description at the stream's end knows: their state is passed on.
    private(set) var copiedDeviceCount = 0
    private var scratch: [UInt8] = []

    /// Encodes `element`, which takes `byteCount` bytes from `position` of `storage` on.
    ///
    /// - Throws: `StateError` if the state of a device is not what its layout says.
    /// - Returns: whether the encoding fits in place. If not, nothing was written, and `encoded` has it.
    mutating func encode(
        _ element: StreamElement, byteCount: Int, blocks: RAMBlockTable, in storage: inout [UInt8], at position: Int
    ) throws(StateError) -> Bool {
        switch element {
        case .pages(let run):
            encodeHeaders(of: run, blocks: blocks, in: &storage, at: position)
            return true
        case .mappedRAM:
            return true  // Nothing but bytes.
        case .deviceState(let payload) where payload.delimitation == .layout:
            let state = storage.span.bytes.extracting(position..<(position + byteCount)).copy(payload.bytes)
            guard try encodeState(state, of: payload.section) else { return true }
            return fits(byteCount, in: &storage, at: position)
        case .deviceState:
            copiedDeviceCount += 1
            return true
        default:
            write(element, blocks: blocks, source: storage.span.bytes.extracting(position..<(position + byteCount)))
            return fits(byteCount, in: &storage, at: position)
        }
    }

    /// Puts the encoding over the element's bytes if it has their length.
    private mutating func fits(_ byteCount: Int, in storage: inout [UInt8], at position: Int) -> Bool {
        guard scratch.count == byteCount else {
            changedElementCount += 1
            return false
        }
        replace(in: &storage, at: position)
        return true
    }

    /// Loads the state of a device and saves it; false for a device that is not known.
    private mutating func encodeState(_ state: [UInt8], of section: SectionHeader) throws(StateError) -> Bool {
        let encoded = try DeviceStateCatalog.reencoded(state, of: section.name, version: Int(section.version))
        guard let encoded else {
            copiedDeviceCount += 1
            return false
        }
        encodedDeviceCount += 1
        scratch = encoded
        return true
    }

    /// The encoding that did not fit.
    var encoded: [UInt8] { scratch }

    private mutating func write(_ element: StreamElement, blocks: RAMBlockTable, source: RawSpan) {
        let count = StreamEncoder.byteCount(of: element, blocks: blocks)
        scratch.removeAll(keepingCapacity: true)
        scratch.append(contentsOf: repeatElement(0, count: count))
        var elements = scratch.mutableSpan
        var writer = StreamWriter(elements.mutableBytes)
        StreamEncoder.write(element, blocks: blocks, source: source, into: &writer)
        precondition(writer.byteCount == count, "\(element) took \(writer.byteCount) bytes instead of \(count)")
    }

    private mutating func replace(in storage: inout [UInt8], at position: Int) {
        let range = position..<(position + scratch.count)
        guard !storage.span.bytes.extracting(range).equals(scratch.span.bytes) else { return }
        changedElementCount += 1
        storage.replaceSubrange(range, with: scratch)
    }

    private mutating func encodeHeaders(
        of run: PageRun, blocks: RAMBlockTable, in storage: inout [UInt8], at position: Int
    ) {
        var elements = storage.mutableSpan
        var bytes = elements.mutableBytes
        let first = position + run.records.lowerBound
        var changedCount = 0
        for index in 0..<run.pageCount {
            let start = index == 0 ? first : first + run.firstHeaderByteCount - 8 + index * run.recordByteCount
            let end = first + run.firstHeaderByteCount + index * run.recordByteCount
            // Safe: bounds checked, every bit pattern is an integer.
            let before = bytes.unsafeLoadUnaligned(fromByteOffset: start, as: UInt64.self)
            var writer = StreamWriter(bytes._mutatingExtracting(start..<end))
            StreamEncoder.writeHeader(ofPage: index, of: run, blocks: blocks, into: &writer)
            precondition(writer.byteCount == end - start, "the header of page \(index) of \(run)")
            if bytes.unsafeLoadUnaligned(fromByteOffset: start, as: UInt64.self) != before { changedCount += 1 }
        }
        if changedCount > 0 { changedElementCount += 1 }
    }
}
