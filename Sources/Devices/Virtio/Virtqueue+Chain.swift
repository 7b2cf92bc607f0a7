internal import GuestMemory

/// Walking the driver's descriptors.
extension Virtqueue {
    /// A descriptor as it was when it was copied.
    private struct Descriptor {
        let address: GuestAddress
        let byteCount: UInt32
        let flags: UInt16
        let next: UInt16

        var hasNext: Bool { flags & 1 != 0 }
        var isWritable: Bool { flags & 2 != 0 }
        var isIndirect: Bool { flags & 4 != 0 }
    }

    /// Copies and checks the chain that begins at `head`.
    ///
    /// A chain has at most as many descriptors as its table: more means a loop. Through an indirect table a chain may be
    /// longer than the queue, up to `largestSize`.
    func chain(at head: UInt16, in memory: GuestAddressSpace) throws(VirtioError) -> DescriptorChain {
        var chain = DescriptorChain(head: head, queue: index)
        var table = descriptorTable
        var tableSize = UInt32(size)
        var number = UInt32(head)
        var isInside = false
        var limit = Int(size)
        var count = 0
        while true {
            guard number < tableSize else {
                throw .descriptorIndex(queue: index, index: number, tableSize: tableSize)
            }
            let descriptor = try descriptor(number, of: table, in: memory)
            if descriptor.isIndirect {
                guard !isInside, !descriptor.hasNext else {
                    throw .nestedIndirect(queue: index, head: head)
                }
                guard descriptor.byteCount > 0, descriptor.byteCount % 16 == 0,
                    descriptor.byteCount / 16 <= UInt32(Self.largestSize)
                else { throw .indirectTable(queue: index, byteCount: descriptor.byteCount) }
                isInside = true
                table = descriptor.address
                tableSize = descriptor.byteCount / 16
                limit = count + Int(tableSize)
                number = 0
                continue
            }
            count += 1
            guard count <= limit else { throw .chainTooLong(queue: index, head: head, limit: limit) }
            try append(descriptor, to: &chain, in: memory)
            guard descriptor.hasNext else { return chain }
            number = UInt32(descriptor.next)
        }
    }

    private func append(
        _ descriptor: Descriptor, to chain: inout DescriptorChain, in memory: GuestAddressSpace
    ) throws(VirtioError) {
        guard descriptor.byteCount > 0 else { throw .emptyBuffer(queue: index, head: chain.head) }
        guard descriptor.isWritable || chain.writable.isEmpty else {
            throw .readableAfterWritable(queue: index, head: chain.head)
        }
        let slice = try read { () throws(GuestMemoryError) in
            try memory.slice(
                at: descriptor.address, byteCount: Int(descriptor.byteCount), forWriting: descriptor.isWritable)
        }
        if descriptor.isWritable { chain.writable.append(slice) } else { chain.readable.append(slice) }
    }

    private func descriptor(
        _ number: UInt32, of table: GuestAddress, in memory: GuestAddressSpace
    ) throws(VirtioError) -> Descriptor {
        guard let address = table.advanced(by: UInt64(number) * 16) else {
            throw .memory(queue: index, .notMemory(address: table, byteCount: 16))
        }
        var words: (UInt64, UInt64) = (0, 0)
        try withUnsafeMutableBytes(of: &words) { (bytes) throws(VirtioError) in
            try read { () throws(GuestMemoryError) in try memory.read(at: address, into: bytes) }
        }
        return Descriptor(
            address: GuestAddress(UInt64(littleEndian: words.0)),
            byteCount: UInt32(truncatingIfNeeded: UInt64(littleEndian: words.1)),
            flags: UInt16(truncatingIfNeeded: UInt64(littleEndian: words.1) >> 32),
            next: UInt16(truncatingIfNeeded: UInt64(littleEndian: words.1) >> 48))
    }
}
