/// What one peer may make the other keep, compared before anything is kept.
///
/// QEMU allows 64 MiB and 2 Mi tokens; no command of a virtual machine monitor comes near, and the smaller numbers
/// bound this program's memory. The answers are QEMU's.
public struct QMPLimits: Sendable, Equatable {
    /// Bytes of one JSON text, white space between tokens not counted.
    public var textByteCount = 4 << 20
    /// Tokens of one JSON text.
    public var tokenCount = 256 << 10
    /// Objects and arrays open at one time.
    public var nestingDepth = 1024

    public init() {}
}
