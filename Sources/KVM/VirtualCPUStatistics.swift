internal import CLinux
public import LinuxSystem

/// What KVM counts of one virtual CPU (KVM_GET_STATS_FD, Linux 5.14). Read by any thread while it runs.
public final class VirtualCPUStatistics: Sendable {
    private let descriptor: OwnedDescriptor
    /// Where each value is in the file.
    private let pageFaults: Int64
    private let halts: Int64
    private let blocking: Int64

    public struct Values: Equatable, Sendable {
        /// Page faults of the guest that KVM has been called for.
        public var pageFaultCount: UInt64
        /// Times that the guest halted.
        public var haltCount: UInt64
        /// Whether its thread sleeps in the kernel now.
        public var isBlocked: Bool

        public init(pageFaultCount: UInt64, haltCount: UInt64, isBlocked: Bool) {
            self.pageFaultCount = pageFaultCount
            self.haltCount = haltCount
            self.isBlocked = isBlocked
        }
    }

    /// The header is six 32-bit words: flags, bytes of a name, count of descriptions, and where the file has its name,
    /// the descriptions and the values. A description is
    ///
    ///     offset  size  field
    ///          0     8  flags, exponent, count of values
    ///          8     4  offset of the value behind the first one
    ///         12     4  size of a bucket
    ///         16     n  name, ends with a zero
    ///
    /// See the kernel's Documentation/virt/kvm/api.rst, 4.133.
    ///
    /// - Throws: `SystemError` if the kernel has none, or not these values.
    init(descriptor: consuming OwnedDescriptor) throws(SystemError) {
        let header = try Self.read(descriptor, 24, at: 0)
        let word = { (bytes: [UInt8], offset: Int) in
            UInt32(littleEndian: bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) })
        }
        let size = 16 + Int(min(word(header, 4), Self.longestName))
        let count = Int(min(word(header, 8), Self.mostDescriptions))
        let descriptions = try Self.read(descriptor, count * size, at: Int64(word(header, 16)))
        var places: [String: Int64] = [:]
        for start in stride(from: 0, to: descriptions.count, by: size) {
            let name = String(decoding: descriptions[start + 16..<start + size].prefix { $0 != 0 }, as: UTF8.self)
            places[name] = Int64(word(header, 20)) + Int64(word(descriptions, start + 8))
        }
        guard let pageFaults = places["pf_taken"], let halts = places["halt_exits"], let blocking = places["blocking"]
        else { throw SystemError(call: "KVM_GET_STATS_FD", subject: "\(count) values", number: 61) }
        (self.pageFaults, self.halts, self.blocking) = (pageFaults, halts, blocking)
        self.descriptor = descriptor
    }

    /// More than these no kernel has.
    private static let longestName: UInt32 = 256
    private static let mostDescriptions: UInt32 = 4096

    public func read() throws(SystemError) -> Values {
        Values(
            pageFaultCount: try value(at: pageFaults), haltCount: try value(at: halts),
            isBlocked: try value(at: blocking) != 0)
    }

    private func value(at offset: Int64) throws(SystemError) -> UInt64 {
        var value: UInt64 = 0
        let count = try withUnsafeMutableBytes(of: &value) { (bytes) throws(SystemError) in
            try descriptor.read(into: bytes, at: offset)
        }
        guard count == 8 else { throw SystemError(call: "pread", subject: "KVM's statistics", number: 5) }
        return UInt64(littleEndian: value)
    }

    private static func read(
        _ descriptor: borrowing OwnedDescriptor, _ count: Int, at offset: Int64
    ) throws(SystemError) -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
        defer { buffer.deallocate() }
        let found = try descriptor.read(into: buffer, at: offset)
        guard found == count else {
            throw SystemError(call: "pread", subject: "KVM's statistics, \(found) of \(count) bytes", number: 5)
        }
        return Array(buffer)
    }
}

extension KVMVirtualCPU {
    /// What KVM counts of it.
    ///
    /// - Throws: `SystemError` if the kernel does not tell (before Linux 5.14).
    public func openStatistics() throws(SystemError) -> VirtualCPUStatistics {
        let number = clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_GET_STATS_FD), 0)
        return try VirtualCPUStatistics(descriptor: OwnedDescriptor(adopting: try check(number, "KVM_GET_STATS_FD")))
    }
}
