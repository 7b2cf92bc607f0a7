internal import Synchronization

/// Little-endian fields that the guest reads and writes at the same time: the indexes of a virtqueue.
///
/// Each is one load or store of the machine, at an address that is a multiple of its size; ordinary copies could tear
/// or be moved across one another by the compiler.
extension GuestAddressSpace {
    /// Loads a field that the driver publishes; what the driver wrote before it is visible afterwards.
    public func loadAcquiring16(at address: GuestAddress) throws(GuestMemoryError) -> UInt16 {
        UInt16(littleEndian: try field16(at: address, forWriting: false).pointer.pointee.load(ordering: .acquiring))
    }

    /// Stores a field that the driver waits for; what was written before it is visible to who sees it.
    public func storeReleasing16(_ value: UInt16, at address: GuestAddress) throws(GuestMemoryError) {
        let field = try field16(at: address, forWriting: true)
        field.pointer.pointee.store(value.littleEndian, ordering: .releasing)
        field.slice.markDirty()
    }

    private func field16(
        at address: GuestAddress, forWriting: Bool
    ) throws(GuestMemoryError) -> (pointer: UnsafeMutablePointer<Atomic<UInt16>>, slice: GuestMemorySlice) {
        guard address.value & 1 == 0 else { throw .misaligned(address: address, alignment: 2) }
        let slice = try slice(at: address, byteCount: 2, forWriting: forWriting)
        // Safe: the address is aligned, inside the mapping, and the mapping lives as long as the block.
        return (slice.bytes.baseAddress!.assumingMemoryBound(to: Atomic<UInt16>.self), slice)
    }

    /// Orders everything before it against everything after it, also a store against a later load: needed between
    /// publishing an index and reading whether the other side wants to be told.
    public func fence() { atomicMemoryFence(ordering: .sequentiallyConsistent) }

    /// Copies an integer out; not atomic, for what the driver does not change at the same time.
    public func readUInt16(at address: GuestAddress) throws(GuestMemoryError) -> UInt16 {
        var value: UInt16 = 0
        try withUnsafeMutableBytes(of: &value) { (bytes) throws(GuestMemoryError) in try read(at: address, into: bytes)
        }
        return UInt16(littleEndian: value)
    }

    /// Copies an integer out; see `readUInt16`.
    public func readUInt32(at address: GuestAddress) throws(GuestMemoryError) -> UInt32 {
        var value: UInt32 = 0
        try withUnsafeMutableBytes(of: &value) { (bytes) throws(GuestMemoryError) in try read(at: address, into: bytes)
        }
        return UInt32(littleEndian: value)
    }

    /// Copies an integer out; see `readUInt16`.
    public func readUInt64(at address: GuestAddress) throws(GuestMemoryError) -> UInt64 {
        var value: UInt64 = 0
        try withUnsafeMutableBytes(of: &value) { (bytes) throws(GuestMemoryError) in try read(at: address, into: bytes)
        }
        return UInt64(littleEndian: value)
    }

    /// Copies an integer in and marks its page dirty.
    public func write(_ value: UInt32, at address: GuestAddress) throws(GuestMemoryError) {
        try withUnsafeBytes(of: value.littleEndian) { (bytes) throws(GuestMemoryError) in try write(bytes, at: address)
        }
    }

    /// Copies an integer in and marks its page dirty.
    public func write(_ value: UInt64, at address: GuestAddress) throws(GuestMemoryError) {
        try withUnsafeBytes(of: value.littleEndian) { (bytes) throws(GuestMemoryError) in try write(bytes, at: address)
        }
    }
}
