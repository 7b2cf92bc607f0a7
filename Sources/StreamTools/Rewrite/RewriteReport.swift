/// What passed through while a channel was decoded and encoded again.
public struct RewriteReport: Equatable, Sendable {
    public var readByteCount = 0
    public var writtenByteCount = 0
    /// Elements of a main channel, packets of a multifd channel, messages of a return path.
    public var elementCount = 0
    public var plainPageCount = 0
    public var zeroPageCount = 0
    public var xbzrlePageCount = 0
    public var compressedPageCount = 0
    /// Plain pages that became zero records.
    public var convertedPageCount = 0
    /// Multifd syncs, or flush records of the main channel.
    public var syncCount = 0
    /// Page requests of a return path.
    public var pageRequestCount = 0
    /// Devices whose state was loaded and saved again.
    public var encodedDeviceCount = 0
    /// Devices whose state was passed on: only the description, which comes last, knows them.
    public var copiedDeviceCount = 0
    /// Elements that were encoded differently than they came. Nothing but conversions should do that.
    public var changedElementCount = 0
    /// Whether the stream's end mark, or the return path's last message, has come.
    public var hasEndMark = false

    public init() {}
}
