internal import CLinux
internal import Glibc

/// Descriptors that travel with bytes, over a UNIX socket.
extension StreamDescriptor {
    /// Whether descriptors can travel here.
    public var passesDescriptors: Bool { kind == .socket && clinux_is_unix_socket(number) == 1 }

    /// Sends all of `bytes`, `descriptors` with the first of them; they stay open here.
    ///
    /// - Precondition: there are bytes, and `passesDescriptors`.
    public func send(_ bytes: [UInt8], passing descriptors: [PassedDescriptor]) throws(SystemError) {
        precondition(bytes.count > 0 && passesDescriptors, "descriptors travel with bytes over a UNIX socket")
        let numbers = descriptors.map(\.number)
        while true {
            let result = bytes.withUnsafeBytes {
                clinux_send_descriptors(number, $0.baseAddress, $0.count, numbers, Int32(numbers.count))
            }
            if result == -Int(EAGAIN) {
                try wait(for: Int16(POLLOUT), call: "send")
                continue
            }
            let sent = try check(result, "sendmsg")
            // The kernel needs the numbers until here.
            withExtendedLifetime(descriptors) {}
            if sent < bytes.count { try sendRest(Array(bytes[sent...])) }
            return
        }
    }

    private func sendRest(_ bytes: [UInt8]) throws(SystemError) {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { copy.deallocate() }
        copy.copyBytes(from: bytes)
        var vectors = MemoryVectors(capacity: 1)
        vectors.append(UnsafeRawBufferPointer(copy))
        _ = try send(&vectors)
    }

    /// Receives at most `buffer.count` bytes and the descriptors that came with them, which are added to `descriptors`.
    ///
    /// - Returns: 0 when the peer has ended.
    public func receive(
        into buffer: UnsafeMutableRawBufferPointer, descriptors: inout [PassedDescriptor]
    ) throws(SystemError) -> Int {
        while true {
            var numbers = [Int32](repeating: -1, count: Self.maximumDescriptorCount)
            var count = Int32(numbers.count)
            var truncated: Int32 = 0
            let result = clinux_receive_descriptors(
                number, buffer.baseAddress, buffer.count, 0, &numbers, &count, &truncated)
            if result == -Int(EAGAIN) {
                try wait(for: Int16(POLLIN), call: "receive")
                continue
            }
            let byteCount = try check(result, "recvmsg")
            for number in numbers.prefix(Int(count)) {
                // One who sends more than anybody needs gets them closed.
                let descriptor = OwnedDescriptor(adopting: number)
                if descriptors.count < Self.maximumDescriptorCount { descriptors.append(PassedDescriptor(descriptor)) }
            }
            return byteCount
        }
    }

    private static let maximumDescriptorCount = 16
}
