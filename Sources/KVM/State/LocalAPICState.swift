internal import CLinux

/// The registers of a LAPIC: 1 KiB, a 32-bit register every 16 bytes.
public struct LocalAPICState: Equatable, Sendable {
    /// 1024 bytes as the kernel gives them.
    public private(set) var bytes: [UInt8]

    public static let byteCount = 1024

    /// The register at `offset` (0x20 id, 0x80 task priority, 0xF0 spurious vector, ...).
    public subscript(offset: Int) -> UInt32 {
        get {
            precondition(offset % 16 == 0, "no register at \(offset)")
            return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) }
        }
        set {
            precondition(offset % 16 == 0, "no register at \(offset)")
            bytes.withUnsafeMutableBytes { $0.storeBytes(of: newValue, toByteOffset: offset, as: UInt32.self) }
        }
    }

    public init() { bytes = [UInt8](repeating: 0, count: Self.byteCount) }

    init(_ state: kvm_lapic_state) { bytes = withUnsafeBytes(of: state) { Array($0) } }

    var state: kvm_lapic_state {
        var state = kvm_lapic_state()
        withUnsafeMutableBytes(of: &state) { $0.copyBytes(from: bytes) }
        return state
    }
}
