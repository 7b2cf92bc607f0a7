internal import CLinux

/// Where the parts of an XSAVE area lie on this host, in the standard format (CPUID leaf 13).
struct XSaveLayout: Sendable {
    /// A part by the number of its bit in XCR0.
    enum Part: Int, CaseIterable {
        case avx = 2
        case boundRegisters = 3
        case boundControl = 4
        case opmask = 5
        /// Bits 256 to 511 of registers 0 to 15.
        case zmmHigh = 6
        /// Registers 16 to 31.
        case zmmUpper = 7
        case protectionKeys = 9
        case tileConfiguration = 17
        case tileData = 18

        var byteCount: Int {
            switch self {
            case .avx: 256
            case .boundRegisters: 64
            case .boundControl: 16
            case .opmask: 64
            case .zmmHigh: 512
            case .zmmUpper: 1024
            case .protectionKeys: 4
            case .tileConfiguration: 64
            case .tileData: 8192
            }
        }
    }

    // The legacy region and the header are at fixed places.
    static let controlWord = 0
    static let statusWord = 2
    static let tagWord = 4
    static let opcode = 6
    static let instructionPointer = 8
    static let dataPointer = 16
    static let mxcsr = 24
    static let x87Registers = 32
    static let xmmRegisters = 160
    static let stateBits = 512

    private let offsets: [Part: Int]
    /// The bits that an address of guest memory can have: no part of the area, but a fact of the processor as well.
    let physicalAddressMask: UInt64

    /// - Parameter cpuid: what the host supports; leaf 13 says where each part is.
    init(cpuid: [kvm_cpuid_entry2]) {
        var offsets: [Part: Int] = [:]
        for entry in cpuid where entry.function == 13 && entry.index >= 2 {
            guard let part = Part(rawValue: Int(entry.index)), Int(entry.eax) >= part.byteCount else { continue }
            offsets[part] = Int(entry.ebx)
        }
        self.offsets = offsets
        let width = cpuid.first { $0.function == 0x8000_0008 }.map { UInt64($0.eax & 0xFF) } ?? 36
        physicalAddressMask = (1 << min(max(width, 32), 52)) - 1
    }

    /// Where `part` begins in an area of `byteCount` bytes; nil if this host does not have it.
    func offset(of part: Part, in byteCount: Int) -> Int? {
        guard let offset = offsets[part], offset + part.byteCount <= byteCount else { return nil }
        return offset
    }
}

/// Little-endian loads and stores in the bytes of a register area.
extension [UInt8] {
    func load<Value: FixedWidthInteger>(_ type: Value.Type, at offset: Int) -> Value {
        withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self)) }
    }

    mutating func store<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        withUnsafeMutableBytes { $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self) }
    }
}
