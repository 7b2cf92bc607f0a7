/// The bounds that every length and count from a stream is held against before it is used.
///
/// A decoder asks its caller to hold at most `maximumElementByteCount` unread bytes at once, and its own tables stay
/// below (`maximumBlockCount` + 2 × `maximumSectionCount`) × about 400 bytes.
public struct StreamLimits: Equatable, Sendable {
    /// Bytes of a PACKAGED command's contents; QEMU's are some hundred KiB for many virtual CPUs.
    public var maximumPackageByteCount = 64 << 20
    /// Bytes of one device section's payload.
    public var maximumDeviceStateByteCount = 16 << 20
    /// Bytes of the JSON description at the end.
    public var maximumDescriptionByteCount = 16 << 20
    /// Bytes of one unknown subsection of the configuration section.
    public var maximumConfigurationByteCount = 64 << 10
    /// Bytes of one RECV_BITMAP answer: one bit for each page, so 64 MiB is a block of 2 TiB.
    public var maximumBitmapByteCount = 64 << 20
    /// Bytes of the payload of a return-path message, without a bitmap.
    public var maximumMessageByteCount = 512
    /// RAM blocks in one stream.
    public var maximumBlockCount = 4096
    /// Bytes of one RAM block, and of all of them together.
    public var maximumBlockByteCount = 1 << 52
    /// Sections that a stream may start, and device sections that it may hold.
    public var maximumSectionCount = 16384
    /// Names in `configuration/capabilities`.
    public var maximumCapabilityCount = 256
    /// Bytes of the data of one multifd packet, beyond twice its pages' size: room for incompressible pages.
    public var maximumMultifdOverheadByteCount = 64 << 10

    /// The limits that Apus uses unless told otherwise.
    public init() {}

    /// The most bytes that any element of the main stream can take, and so the most a caller needs to buffer.
    public var maximumElementByteCount: Int {
        max(maximumPackageByteCount, maximumDeviceStateByteCount, maximumDescriptionByteCount) + 1024
    }
}
