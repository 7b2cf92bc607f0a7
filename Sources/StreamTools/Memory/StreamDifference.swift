import LinuxSystem
public import MigrationStream

/// In what the guests of two streams differ: memory page by page, and device state field by field.
///
/// Not how the streams tell it: passes, kinds of page records, sections' order and numbers make no difference.
public struct StreamDifference: Sendable {
    /// The pages of one block that differ.
    public struct Block: Sendable {
        public var name: String
        /// Bytes in use on either side; nil where the block is missing.
        public var leftByteCount: Int?
        public var rightByteCount: Int?
        /// Pages that differ, in runs: the first `maximumRangeCount` of them, as byte ranges in the block.
        public var ranges: [Range<Int>] = []
        public var pageCount = 0

        var isEmpty: Bool { leftByteCount == rightByteCount && pageCount == 0 }
    }

    /// The fields of one device that differ.
    public struct Device: Sendable {
        public var name: String
        public var instance: UInt32
        /// Why there are no fields to compare; nil if there are.
        public var reason: String?
        public var fields: [StateDifference] = []
    }

    /// The machines' names, if they differ.
    public var machines: (left: String, right: String)?
    /// Blocks that differ.
    public var blocks: [Block] = []
    /// Devices that differ.
    public var devices: [Device] = []

    /// Runs of pages that are kept for a block.
    public static let maximumRangeCount = 10_000

    public var isEmpty: Bool { machines == nil && blocks.isEmpty && devices.isEmpty }

    /// Compares two streams.
    ///
    /// The memory of both goes into files in `folder`, sparse and without names: they are gone when this returns.
    ///
    /// - Throws: `SideError` with the side, and why it cannot be read to its end.
    public init(
        left: StreamSource, right: StreamSource, temporaryFolder folder: String, report: StreamInput.Report? = nil
    ) throws {
        let leftSide = try Side(left, folder, report)
        let rightSide = try Side(right, folder, report)
        if leftSide.machine != rightSide.machine { machines = (leftSide.machine, rightSide.machine) }
        try compareMemory(leftSide, rightSide)
        compareDevices(leftSide, rightSide)
    }

    private mutating func compareMemory(_ left: Side, _ right: Side) throws {
        for block in left.blocks {
            let other = right.blocks.first { $0.name == block.name }?.file
            var difference = Block(
                name: block.name, leftByteCount: block.file?.byteCount, rightByteCount: other?.byteCount)
            if let file = block.file, let other { try difference.compare(file, other) }
            if !difference.isEmpty { blocks.append(difference) }
        }
        for block in right.blocks where !left.blocks.contains(where: { $0.name == block.name }) {
            blocks.append(Block(name: block.name, rightByteCount: block.file?.byteCount))
        }
    }

    private mutating func compareDevices(_ left: Side, _ right: Side) {
        for device in left.devices {
            let (name, instance) = (device.section.name, device.section.instance)
            var difference = Device(name: name, instance: instance)
            let other = right.devices.first { $0.section.name == name && $0.section.instance == instance }
            if let other {
                if let values = device.values, let otherValues = other.values {
                    difference.fields = values.differences(from: otherValues)
                } else if device.bytes != other.bytes {
                    difference.reason = "nothing says what it holds, and its bytes differ"
                }
            } else {
                difference.reason = "only the first stream has it"
            }
            if difference.reason != nil || !difference.fields.isEmpty { devices.append(difference) }
        }
        for device in right.devices {
            let (name, instance) = (device.section.name, device.section.instance)
            if left.devices.contains(where: { $0.section.name == name && $0.section.instance == instance }) {
                continue
            }
            devices.append(Device(name: name, instance: instance, reason: "only the second stream has it"))
        }
    }
}

/// One of the two streams that are compared, and why it cannot be read.
public struct SideError: Error, CustomStringConvertible {
    public let path: String
    public let reason: any Error

    public init(path: String, reason: any Error) {
        self.path = path
        self.reason = reason
    }

    public var description: String { "\(path): \(reason)" }
}

/// One stream, loaded.
private struct Side {
    let machine: String
    let blocks: [MemoryLoader.Block]
    let devices: [DeviceStates.Device]

    /// What the elements tell besides memory.
    private final class Notes {
        var machine = ""
        var states = DeviceStates()
        var description: [UInt8]?

        func see(_ element: StreamElement, at offset: Int, _ bytes: RawSpan) {
            switch element {
            case .configuration(let name): machine = name
            case .deviceState(let payload): states.append(payload, bytes: bytes, offset: offset, isPackaged: false)
            case .description(let json): description = bytes.copy(json)
            default: break
            }
        }
    }

    init(_ source: StreamSource, _ folder: String, _ report: StreamInput.Report?) throws {
        let notes = Notes()
        do {
            var loader = MemoryLoader(report: report) { element, offset, bytes in
                notes.see(element, at: offset, bytes)
            } _: { description in
                try BlockFile(OwnedDescriptor(temporaryIn: folder), byteCount: description.usedByteCount ?? 0)
            }
            try loader.load(source)
            blocks = loader.blocks
        } catch {
            throw SideError(path: source.path, reason: error)
        }
        notes.states.resolve(description: notes.description, keepsUnreadableBytes: true)
        machine = notes.machine
        devices = notes.states.devices
    }
}

extension StreamDifference.Block {
    private static let pageByteCount = 4096
    private static let chunkByteCount = 1 << 20

    /// Compares what is no hole in either file.
    fileprivate mutating func compare(_ left: BlockFile, _ right: BlockFile) throws {
        let end = max(left.byteCount, right.byteCount)
        var leftBytes = [UInt8](repeating: 0, count: Self.chunkByteCount)
        var rightBytes = leftBytes
        var offset = 0
        while offset < end {
            let starts = [try left.data(from: offset)?.lowerBound, try right.data(from: offset)?.lowerBound]
            guard let start = starts.compactMap({ $0 }).min() else { return }
            offset = max(offset, start - start % Self.pageByteCount)
            let range = offset..<min(end, offset + Self.chunkByteCount)
            try left.read(range, into: &leftBytes)
            try right.read(range, into: &rightBytes)
            for page in stride(from: 0, to: range.count, by: Self.pageByteCount) {
                let part = page..<min(range.count, page + Self.pageByteCount)
                if leftBytes.span.bytes.extracting(part).equals(rightBytes.span.bytes.extracting(part)) { continue }
                add(range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound)
            }
            offset = range.upperBound
        }
    }

    private mutating func add(_ page: Range<Int>) {
        pageCount += 1
        if let last = ranges.last, last.upperBound == page.lowerBound {
            ranges[ranges.count - 1] = last.lowerBound..<page.upperBound
        } else if ranges.count < StreamDifference.maximumRangeCount {
            ranges.append(page)
        }
    }
}
