/// A guest physical address.
///
/// A host address is a pointer; the two never mix.
public struct GuestAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let value: UInt64

    public init(_ value: UInt64) { self.value = value }

    /// This address moved up by `byteCount`, nil when that leaves 64 bits.
    public func advanced(by byteCount: UInt64) -> GuestAddress? {
        let (sum, overflow) = value.addingReportingOverflow(byteCount)
        return overflow ? nil : GuestAddress(sum)
    }

    public static func < (left: GuestAddress, right: GuestAddress) -> Bool { left.value < right.value }

    public var description: String { "0x" + String(value, radix: 16) }
}

/// Bytes in a page of guest memory: the unit of dirty tracking and of the migration stream.
public let pageSize = 4096

/// The number of a page within one RAM block, from 0.
public struct PageIndex: Hashable, Comparable, Sendable {
    public let value: Int

    public init(_ value: Int) { self.value = value }

    /// Where the page begins in its block.
    public var blockOffset: Int { value * pageSize }

    public static func < (left: PageIndex, right: PageIndex) -> Bool { left.value < right.value }
}

/// A run of consecutive pages of one RAM block.
public struct PageRange: Hashable, Sendable {
    public let first: PageIndex
    public let pageCount: Int

    public init(first: PageIndex, pageCount: Int) {
        precondition(first.value >= 0 && pageCount >= 0, "pages \(first.value) + \(pageCount)")
        self.first = first
        self.pageCount = pageCount
    }

    /// Every page that the bytes `blockOffset ..< blockOffset + byteCount` touch.
    public init(touching blockOffset: Int, byteCount: Int) {
        let first = blockOffset / pageSize
        let end = byteCount == 0 ? first : (blockOffset + byteCount - 1) / pageSize + 1
        self.init(first: PageIndex(first), pageCount: end - first)
    }

    /// One past the last page.
    public var end: PageIndex { PageIndex(first.value + pageCount) }
    public var isEmpty: Bool { pageCount == 0 }
    /// Where the run begins in its block.
    public var blockOffset: Int { first.blockOffset }
    public var byteCount: Int { pageCount * pageSize }
}
